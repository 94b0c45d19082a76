"""From XADD to subscriber: 5,000 trades a second over 50 symbols, through the real job.

Every 10 ms one entry with a trade of each symbol is added, its event time the present. Each trade
has a price of its own, so that the close of a 1s revision tells which trade it has seen. A second
process runs the dashboard's own Subscriber and notes when each revision arrives.

* ``trade``: from just before XADD to the first revision that holds the trade.
* ``closed``: from the XADD of the entry that moves the watermark over a second's end to the
  arrival of that second's closed candle.

One run of 30 s after 10 s of warm-up; both processes read the same monotonic clock.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import redis

from bench.simulated import SYMBOLS
from pipeline import entry, keys
from pipeline.embedded import COMMANDS, Embedded
from pipeline.hub import Hub
from pipeline.market import PRICE_DECIMALS
from pipeline.settings import Settings
from pipeline.subscriber import Subscriber
from pipeline.update import Update

_GAP_S = 0.010
_WARM_UP_S = 10
_MEASURED_S = 30


def run() -> dict[str, float | int | str]:
    """Milliseconds; CPU in percent of one core."""
    with tempfile.TemporaryDirectory(prefix="candlecast-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings(state_dir=Path(folder))
        embedded = Embedded(settings, {"job": COMMANDS["job"]})
        embedded.start()
        try:
            return _measure(embedded, settings.out_of_order_ms)
        finally:
            embedded.stop()


def _measure(embedded: Embedded, out_of_order_ms: int) -> dict[str, float | int | str]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    listener = context.Process(target=_listen, args=(embedded.redis_url, theirs))
    listener.start()
    with redis.Redis.from_url(embedded.redis_url) as client:
        client.set(keys.INSTANCE, "bench")
        _wait_for_job(client)
        ours.recv()  # subscribed
        added, cpu_percent = _feed(client, embedded.steps()[-1].pid)
    time.sleep(1)
    ours.send("stop")
    arrivals = ours.recv()
    listener.join()
    trades, closed = _latencies(added, arrivals, out_of_order_ms)
    return {
        "trades_per_s": round(len(SYMBOLS) / _GAP_S),
        "trades_measured": len(trades),
        "trade_p50_ms": _percentile(trades, 50),
        "trade_p99_ms": _percentile(trades, 99),
        "closed_measured": len(closed),
        "closed_p50_ms": _percentile(closed, 50),
        "closed_p99_ms": _percentile(closed, 99),
        "revisions_per_s": round(len(arrivals) / (_WARM_UP_S + _MEASURED_S)),
        "job_cpu_percent": cpu_percent,
    }


def _wait_for_job(client: redis.Redis) -> None:
    """Heartbeats of the past, until the job has answered one."""
    deadline = time.monotonic() + 60
    while not client.exists(keys.progress(0)):
        heartbeat = entry.encode([], np.empty(0, entry.RECORD), time.time_ns() // 1_000_000 - 60_000)
        client.xadd(keys.trades_stream(0), heartbeat)  # type: ignore[arg-type]
        if time.monotonic() > deadline:
            raise TimeoutError("the job did not start within 60 s")
        time.sleep(0.25)


def _feed(client: redis.Redis, pid: int | None) -> tuple[list[tuple[float, int]], float]:
    """Add entries at the pace; (moment before XADD, event time) of each, and the job's CPU."""
    records = np.zeros(len(SYMBOLS), entry.RECORD)
    records["symbol"] = np.arange(len(SYMBOLS))
    records["quantity"] = 1_000_000
    added: list[tuple[float, int]] = []
    start = time.monotonic()
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    spent_before = 0.0
    for number in range(int((_WARM_UP_S + _MEASURED_S) / _GAP_S)):
        time.sleep(max(0.0, start + number * _GAP_S - time.monotonic()))
        if number == int(_WARM_UP_S / _GAP_S):
            spent_before = _cpu_s(processes)
        event_time_ms = time.time_ns() // 1_000_000
        records["event_time_ms"], records["trade_id"] = event_time_ms, number
        records["price"] = (number + 1) * 10**PRICE_DECIMALS
        fields: Any = entry.encode(SYMBOLS, records)
        added.append((time.monotonic(), event_time_ms))
        client.xadd(keys.trades_stream(0), fields)
    return added, round((_cpu_s(processes) - spent_before) / _MEASURED_S * 100, 1)


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _listen(redis_url: str, pipe: Connection) -> None:
    """Note what arrives: (moment, payload), until told to stop."""
    arrivals: list[tuple[float, str]] = []

    def note(updates: Sequence[Update]) -> None:
        now = time.monotonic()
        arrivals.extend((now, update.payload) for update in updates if update.interval == "1s")

    hub = Hub()
    hub.listen(note)
    subscriber = Subscriber(redis_url, hub)
    subscriber.start()
    while not hub.connected:
        time.sleep(0.01)
    pipe.send("subscribed")
    pipe.recv()
    subscriber.stop()
    pipe.send(arrivals)


def _latencies(
    added: list[tuple[float, int]], arrivals: list[tuple[float, str]], out_of_order_ms: int
) -> tuple[list[float], list[float]]:
    first = int(_WARM_UP_S / _GAP_S)
    event_times = [event_time_ms for _, event_time_ms in added]
    next_unseen = dict.fromkeys(SYMBOLS, 0)
    trades, closed = [], []
    for moment, payload in arrivals:
        candle = json.loads(payload)
        symbol = candle["symbol"]
        if candle["is_closed"]:
            moved_by = int(np.searchsorted(event_times, candle["close_time_ms"] + out_of_order_ms))
            if first <= moved_by < len(added):
                closed.append(moment - added[moved_by][0])
            continue
        newest = int(candle["close"]) - 1
        seen = range(max(first, next_unseen[symbol]), newest + 1)
        trades.extend(moment - added[number][0] for number in seen)
        next_unseen[symbol] = max(next_unseen[symbol], newest + 1)
    return trades, closed


def _percentile(seconds: list[float], percent: int) -> float:
    return round(float(np.percentile(seconds, percent)) * 1000, 1)
