"""More than a quiet machine's share: 500 symbols at 50,000 trades a second, then a burst at once.

Live: for 60 s, each 20 ms two entries of 500 trades are added, their event time the present, over 500
symbols; five intervals, every revision published. A second process runs the dashboard's own
Subscriber. Once a second is noted how much older the last entry that the job has folded is than the
last one written (``lag``); of each 1m revision that arrives, how old the trade is that it shows last
(``age``: each trade has a price of its own).

Burst: 2,000,000 trades are added as fast as Redis takes them, faster than the job can fold, until
half of the stream's capacity lies unread. ``burst_lag`` is the greatest lag, ``burst_drain`` the time from the
last XADD until it is gone, ``burst_age`` the oldest that prices became meanwhile. Memory is the
greatest resident size of the job's processes, and Redis's own figure. One run: its length is the point.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
import redis

from pipeline import entry, keys
from pipeline.embedded import COMMANDS, Embedded
from pipeline.hub import Hub
from pipeline.market import PRICE_DECIMALS
from pipeline.settings import Settings
from pipeline.subscriber import Subscriber
from pipeline.update import Update

_QUICK = os.environ.get("BENCH_QUICK") == "1"
SYMBOLS = [f"S{number:03d}" for number in range(500)]
_TICK_S = 0.020
_PER_TICK = 1_000
_ENTRY = 500
_WARM_UP_S = 10 if not _QUICK else 5
_LIVE_S = 60 if not _QUICK else 10
_BURST = 2_000_000 if not _QUICK else 400_000


def run() -> dict[str, float | int | str]:
    """Lag and age in seconds, memory in MB."""
    with tempfile.TemporaryDirectory(prefix="candlecast-bench-", ignore_cleanup_errors=True) as folder:
        embedded = Embedded(Settings(state_dir=Path(folder)), {"job": COMMANDS["job"]})
        embedded.start()
        try:
            with redis.Redis.from_url(embedded.redis_url) as client, _listening(embedded.redis_url) as ears:
                client.set(keys.INSTANCE, "bench")
                market = _Market(client)
                _wait_for_job(client, market)
                with _watching(client, embedded.steps()[-1].pid) as watch:
                    return _live(market, watch, ears) | _burst(market, watch, ears) | watch.memory()
        finally:
            embedded.stop()


class _Market:
    """Trades whose price tells their event time: price in whole units = ms since the start, plus 1."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.start_ms = time.time_ns() // 1_000_000
        self._random = np.random.default_rng(1)
        self._id = 0

    def entries(self, count: int) -> Iterator[Any]:
        """Entries with ``count`` trades of this moment."""
        records = np.zeros(count, entry.RECORD)
        now_ms = time.time_ns() // 1_000_000
        records["event_time_ms"] = now_ms
        records["price"] = (now_ms - self.start_ms + 1) * 10**PRICE_DECIMALS
        records["quantity"] = 1_000_000
        records["trade_id"] = np.arange(self._id, self._id + count)
        records["symbol"] = self._random.integers(0, len(SYMBOLS), count)
        records["side"] = records["trade_id"] % 2
        self._id += count
        for start in range(0, count, _ENTRY):
            yield entry.encode(SYMBOLS, records[start : start + _ENTRY])

    def add(self, count: int) -> bytes:
        """Write ``count`` trades; the id of the last entry."""
        with self._client.pipeline(transaction=False) as pipe:
            for fields in self.entries(count):
                pipe.xadd(keys.trades_stream(0), fields, maxlen=50_000, approximate=True)
            return bytes(pipe.execute()[-1])


def _wait_for_job(client: redis.Redis, market: _Market) -> None:
    deadline = time.monotonic() + 300
    while not client.exists(keys.progress(0)) or lag_s(client) > 0:
        if not client.exists(keys.progress(0)):
            market.add(_ENTRY)
        if time.monotonic() > deadline:
            raise TimeoutError("the job did not start within 300 s")
        time.sleep(0.25)


@dataclass
class _Watch:
    """What is seen of the job, ten times a second."""

    lags: list[float] = field(default_factory=list)
    """Seconds."""
    rss: list[int] = field(default_factory=list)
    redis_memory: list[int] = field(default_factory=list)

    def memory(self) -> dict[str, float | int | str]:
        return {
            "job_rss_max_MB": round(max(self.rss) / 1e6),
            "redis_max_MB": round(max(self.redis_memory) / 1e6),
        }


@contextmanager
def _watching(client: redis.Redis, pid: int | None) -> Iterator[_Watch]:
    watch, done = _Watch(), threading.Event()
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]

    def look() -> None:
        while not done.wait(0.1):
            watch.lags.append(lag_s(client))
            watch.rss.append(sum(process.memory_info().rss for process in processes))
            info: Any = client.info("memory")
            watch.redis_memory.append(info["used_memory"])

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield watch
    done.set()
    thread.join()


def lag_s(client: redis.Redis) -> float:
    """How much older the last entry that was folded is than the last one written, as ``status`` says it."""
    newest: Any = client.xrevrange(keys.trades_stream(0), count=1)
    folded: Any = client.hget(keys.progress(0), "position")
    return max(0, int(newest[0][0].split(b"-")[0]) - int(folded.split(b"-")[0])) / 1000


def _live(market: _Market, watch: _Watch, ears: Connection) -> dict[str, float | int | str]:
    start = time.monotonic()
    behind_s = 0.0
    for number in range(round((_WARM_UP_S + _LIVE_S) / _TICK_S)):
        due = start + number * _TICK_S
        time.sleep(max(0.0, due - time.monotonic()))
        if number == round(_WARM_UP_S / _TICK_S):
            watch.lags.clear()
            _ages(ears, market)
        behind_s = max(behind_s, time.monotonic() - due) if number * _TICK_S > _WARM_UP_S else 0.0
        market.add(_PER_TICK)
    lags, ages = watch.lags[:], _ages(ears, market)
    return {
        "live_trades_per_s": round(_PER_TICK / (_TICK_S)),
        "live_symbols": len(SYMBOLS),
        "live_s": _LIVE_S,
        "live_writer_behind_max_s": round(behind_s, 2),
        "live_lag_p50_s": _percentile(lags, 50),
        "live_lag_max_s": round(max(lags), 2),
        "live_lag_last_10_s_max_s": round(max(lags[-100:]), 2),
        "live_age_p50_s": _percentile(ages, 50),
        "live_age_p99_s": _percentile(ages, 99),
        "live_age_max_s": round(max(ages), 2),
    }


def _burst(market: _Market, watch: _Watch, ears: Connection) -> dict[str, float | int | str]:
    client = market._client
    watch.lags.clear()
    start = time.monotonic()
    for _ in range(_BURST // 20_000):
        last = market.add(20_000)
    written = time.monotonic()
    while client.hget(keys.progress(0), "position") != last:
        time.sleep(0.01)
    drained = time.monotonic()
    time.sleep(1)
    ages = _ages(ears, market)
    lost: Any = client.hget(keys.progress(0), "lost")
    return {
        "burst_trades": _BURST,
        "burst_written_per_s": round(_BURST / (written - start)),
        "burst_lag_max_s": round(max(watch.lags), 2),
        "burst_lag_after_s": watch.lags[-1],
        "burst_drain_s": round(drained - written, 2),
        "burst_age_max_s": round(max(ages), 2),
        "burst_entries_lost": int(lost),
    }


def _ages(ears: Connection, market: _Market) -> list[float]:
    """Ages in s of what has arrived since it was last asked: (arrival ms, close) pairs."""
    ears.send("tell")
    return [(arrived - market.start_ms - close + 1) / 1000 for arrived, close in ears.recv()]


@contextmanager
def _listening(redis_url: str) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    listener = context.Process(target=_listen, args=(redis_url, theirs), daemon=True)
    listener.start()
    ours.recv()
    try:
        yield ours
    finally:
        ours.send("stop")
        listener.join(10)


def _listen(redis_url: str, pipe: Connection) -> None:
    """The dashboard's way of listening, in a process of its own."""
    heard: list[tuple[int, int]] = []

    def note(updates: Sequence[Update]) -> None:
        now_ms = time.time_ns() // 1_000_000
        minutes = [update for update in updates if update.interval == "1m" and not update.is_closed]
        heard.extend((now_ms, int(orjson.loads(update.payload)["close"])) for update in minutes)

    hub = Hub()
    hub.listen(note)
    subscriber = Subscriber(redis_url, hub)
    subscriber.start()
    while not hub.connected:
        time.sleep(0.01)
    pipe.send("ready")
    while pipe.recv() == "tell":
        told, heard[:] = heard[:], []
        pipe.send(told)
    subscriber.stop()


def _percentile(values: Sequence[float], percent: float) -> float:
    return round(float(np.percentile(values, percent)), 3)
