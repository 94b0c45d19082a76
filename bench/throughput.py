"""Catch-up: a job that meets a full stream, until its last candle is in Redis.

4,000,000 trades of 50 symbols, 5,000 a second of event time (100 a symbol and second), lie in one
stream; then the job starts, cold. Five intervals, exact decimals, every closed candle written and
published. The rate is counted from the first batch that is in Redis to the last; the machine
carries Redis, the JVM and the Python in it. ``profile_*`` says where the time of one batch goes,
measured on the same trades in one thread. Median of three runs.
"""

from __future__ import annotations

import pickle
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

from bench import simulated
from pipeline import entry, fold, keys
from pipeline.alerts.rules import Rules
from pipeline.alerts.watch import Watch
from pipeline.arrivals import Position
from pipeline.candle_writer import CandleWriter
from pipeline.embedded import COMMANDS, Embedded
from pipeline.intake import Intake
from pipeline.market import INTERVALS, Interval
from pipeline.revisions import Revisions
from pipeline.settings import Settings

_TRADES = 4_000_000
_PER_SECOND = 5_000
_ENTRY = 500
_RUNS = 3
_BATCH_ENTRIES = 200
_M1 = INTERVALS.index(Interval.M1)


def run() -> dict[str, float | int | str]:
    """Trades a second; the share of each step in percent."""
    rates = [_catch_up() for _ in range(_RUNS)]
    return {
        "trades": _TRADES,
        "symbols": len(simulated.SYMBOLS),
        "catch_up_trades_per_s": round(statistics.median(rates)),
        "catch_up_slowest_trades_per_s": round(min(rates)),
        **_profile(),
    }


def _entries() -> list[dict[Any, Any]]:
    trades = simulated.trades(_TRADES, _PER_SECOND)
    return [entry.encode(simulated.SYMBOLS, trades[i : i + _ENTRY]) for i in range(0, _TRADES, _ENTRY)]


def _catch_up() -> float:
    with tempfile.TemporaryDirectory(prefix="candlecast-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings(state_dir=Path(folder))
        last_id = _fill(settings)
        embedded = Embedded(settings, {"job": COMMANDS["job"]})
        embedded.start()
        try:
            with redis.Redis.from_url(embedded.redis_url, decode_responses=True) as client:
                return _rate(client, last_id)
        finally:
            embedded.stop()


def _fill(settings: Settings) -> str:
    """Write the stream while no job is there to read it; the id of its last entry."""
    embedded = Embedded(settings, {})
    embedded.start()
    try:
        with redis.Redis.from_url(embedded.redis_url, decode_responses=True) as client:
            client.set(keys.INSTANCE, "bench")
            ids: list[Any] = []
            entries = _entries()
            for i in range(0, len(entries), 100):
                pipe = client.pipeline(transaction=False)
                for fields in entries[i : i + 100]:
                    pipe.xadd(keys.trades_stream(0), fields)
                ids = pipe.execute()
            return str(ids[-1])
    finally:
        embedded.stop()


def _rate(client: redis.Redis, last_id: str) -> float:
    first: tuple[int, int] | None = None
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        progress: Any = client.hgetall(keys.progress(0))
        if progress:
            now = (int(progress["trades"]), int(progress["updated_at_ms"]))
            first = first or now
            if progress["position"] == last_id:
                return (now[0] - first[0]) / (now[1] - first[1]) * 1000
        time.sleep(0.005)
    raise TimeoutError("the job did not come to the end of the stream within 120 s")


def _profile() -> dict[str, float]:
    """Percent of the time of each step for the batches of one stretch of the same trades, in this process."""
    with tempfile.TemporaryDirectory(prefix="candlecast-bench-", ignore_cleanup_errors=True) as folder:
        embedded = Embedded(Settings(state_dir=Path(folder)), {})
        embedded.start()
        try:
            with redis.Redis.from_url(embedded.redis_url) as client:
                spent = _steps(client)
        finally:
            embedded.stop()
    total = sum(spent.values())
    return {f"profile_{step}_percent": round(100 * seconds / total, 1) for step, seconds in spent.items()}


def _steps(client: redis.Redis) -> dict[str, float]:
    stream = keys.trades_stream(0)
    for fields in _entries()[: 20 * _BATCH_ENTRIES]:
        client.xadd(stream, fields)
    spent = dict.fromkeys(("read", "fold", "hand_over", "roll_up", "alerts", "write"), 0.0)
    intake, position, windows = Intake(0, 1_000), Position(), fold.Windows()
    writer, watch = CandleWriter(client, 10_080), Watch(Rules.of(Settings()))
    for _ in range(20):
        start = time.perf_counter()
        reply: Any = client.xread({stream: position.entry_id}, _BATCH_ENTRIES)
        read = time.perf_counter()
        batch = intake.take(position, reply[0][1], True)
        folded = time.perf_counter()
        batch = pickle.loads(pickle.dumps(batch))  # noqa: S301  as the job does between operators
        handed = time.perf_counter()
        windows.add(batch.partials)
        closed = windows.close(batch.watermark_ms)
        rolled = time.perf_counter()
        alerts = tuple(watch.closed(batch.symbols, closed[_M1], batch.watermark_ms, batch.holes))
        watch.save()
        watched = time.perf_counter()
        forming = [fold.no_partials() for _ in closed]
        writer.write(Revisions(batch=batch, closed=closed, forming=forming, closed_total=0, alerts=alerts))
        end = time.perf_counter()
        moments = (start, read, folded, handed, rolled, watched, end)
        for step, before, after in zip(spent, moments, moments[1:], strict=False):
            spent[step] += after - before
    return spent
