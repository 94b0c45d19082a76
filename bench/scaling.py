"""Scaling: catch-up on a local cluster with 1, 2 and 4 shards of 10, 100 and 1,000 symbols.

Each shard is read by a TaskManager of its own, one slot each, so that no two share a Python
interpreter. The job is running and idle when the streams come to it all at once (renamed from where
they were filled): 1,500,000 trades a shard, 20 a symbol and second of event time, equally many symbols
a shard. The rate is counted from that moment until the last candle of the last shard is in Redis.
``cpu_us_per_trade`` is what the TaskManagers and Redis took for that together, whatever the number of
cores; ``taskmanagers_mib`` the TaskManagers' memory (PSS) at the end. Medians of three runs, after one
on each cluster that warms the JVMs up. All of it shares this machine's cores: how many is printed.

``python -m bench.scaling`` also writes docs/scaling.svg and the table in docs/scaling.md.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import redis

from bench import scaling_report, simulated
from pipeline import entry, keys
from pipeline.cluster import JobControl, LocalCluster
from pipeline.embedded import Embedded
from pipeline.feed.stream import shard_of
from pipeline.settings import Settings

_QUICK = bool(os.environ.get("BENCH_QUICK"))
_SYMBOLS = (10, 100, 1_000)
_SHARDS = (1, 2, 4)
_TRADES_A_SHARD = 500_000 if _QUICK else 1_500_000
_RUNS = 1 if _QUICK else 3
_PER_SYMBOL_AND_SECOND = 20
_ENTRY = 500


@dataclass(frozen=True)
class Figures:
    """Of one run, or the medians of some."""

    trades_per_s: float
    cpu_us_per_trade: float
    redis_cpu_us_per_trade: float
    taskmanagers_mib: float


def run() -> dict[str, float | int | str]:
    """Every pair of symbols and shards."""
    figures: dict[str, float | int | str] = {"trades_a_shard": _TRADES_A_SHARD, "cores": os.cpu_count() or 0}
    for (symbols, shards), found in measured().items():
        name = f"symbols_{symbols}_shards_{shards}"
        figures[f"{name}_trades_per_s"] = round(found.trades_per_s)
        figures[f"{name}_cpu_us_per_trade"] = round(found.cpu_us_per_trade, 3)
        figures[f"{name}_redis_cpu_us_per_trade"] = round(found.redis_cpu_us_per_trade, 3)
        figures[f"{name}_taskmanagers_mib"] = round(found.taskmanagers_mib)
    return figures


def measured() -> dict[tuple[int, int], Figures]:
    """(symbols, shards) -> medians."""
    return {pair: found for shards in _SHARDS for pair, found in _on_a_cluster(shards).items()}


def _on_a_cluster(shards: int) -> dict[tuple[int, int], Figures]:
    with tempfile.TemporaryDirectory(prefix="candlecast-bench-", ignore_cleanup_errors=True) as folder:
        embedded = Embedded(Settings(state_dir=Path(folder)), {})
        embedded.start()
        settings = Settings(state_dir=Path(folder), redis_url=embedded.redis_url, shards=shards)
        cluster = LocalCluster(settings, taskmanagers=shards, slots=1)
        try:
            cluster.start()
            _catch_up(cluster, _SYMBOLS[0], Path(folder) / "warm-up")
            return {
                (symbols, shards): _median(
                    [
                        _catch_up(cluster, symbols, Path(folder) / f"{symbols}-{number}")
                        for number in range(_RUNS)
                    ]
                )
                for symbols in _SYMBOLS
            }
        finally:
            cluster.stop()
            embedded.stop()


def _catch_up(cluster: LocalCluster, symbols: int, state_dir: Path) -> Figures:
    settings = replace(cluster.settings, state_dir=state_dir)
    control = JobControl(settings)
    assert settings.redis_url
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        client.flushall()
        last_ids = _fill(client, symbols, settings.shards)
        redis_pid = int(client.info("server")["process_id"])  # type: ignore[index]
        pids = cluster.taskmanager_pids()
        control.submit()
        try:
            control.wait_until_running()
            before, redis_before = _cpu_s(pids), _cpu_s([redis_pid])
            began = time.monotonic()
            _hand_over(client, settings.shards)
            _wait(lambda: _is_at(client, last_ids))
            took, trades = time.monotonic() - began, _TRADES_A_SHARD * settings.shards
            spent, redis_spent = _cpu_s(pids) - before, _cpu_s([redis_pid]) - redis_before
            folded = _folded(client, settings.shards)
            assert folded == trades, f"{folded} of {trades} trades folded"
            return Figures(
                trades / took, 1e6 * (spent + redis_spent) / trades, 1e6 * redis_spent / trades, _pss_mib(pids)
            )
        finally:
            control.cancel()


def _fill(client: redis.Redis, symbols: int, shards: int) -> list[str]:
    """Write the streams where nobody reads them yet; the id of the last entry of each."""
    client.set(keys.INSTANCE, f"bench-{time.time_ns()}")
    last_ids = []
    for shard in range(shards):
        names = _names(symbols // shards + (shard < symbols % shards), shard, shards)
        trades = simulated.trades(_TRADES_A_SHARD, _PER_SYMBOL_AND_SECOND * len(names), symbols=len(names))
        ids: list[Any] = []
        for start in range(0, len(trades), 100 * _ENTRY):
            pipe = client.pipeline(transaction=False)
            for at in range(start, min(start + 100 * _ENTRY, len(trades)), _ENTRY):
                pipe.xadd(_filled(shard), entry.encode(*_compact(names, trades[at : at + _ENTRY])))
            ids = pipe.execute()
        last_ids.append(str(ids[-1]))
    return last_ids


def _filled(shard: int) -> str:
    return f"bench:filled:{shard}"


def _hand_over(client: redis.Redis, shards: int) -> None:
    with client.pipeline(transaction=True) as transaction:
        for shard in range(shards):
            transaction.rename(_filled(shard), keys.trades_stream(shard))
        transaction.execute()


def _compact(names: list[str], trades: entry.Records) -> tuple[list[str], entry.Records]:
    """As the feed writes them: an entry names only the symbols in it."""
    chunk = trades.copy()
    used, chunk["symbol"] = np.unique(chunk["symbol"], return_inverse=True)
    return [names[code] for code in used], chunk


def _names(count: int, shard: int, shards: int) -> list[str]:
    """``count`` names that live in ``shard``."""
    names: list[str] = []
    number = 0
    while len(names) < count:
        if shard_of(f"S{number:05d}", shards) == shard:
            names.append(f"S{number:05d}")
        number += 1
    return names


def _folded(client: redis.Redis, shards: int) -> int:
    counts: list[Any] = [client.hget(keys.progress(shard), "trades") for shard in range(shards)]
    return sum(int(count or 0) for count in counts)


def _is_at(client: redis.Redis, last_ids: list[str]) -> bool:
    return all(client.hget(keys.progress(shard), "position") == last for shard, last in enumerate(last_ids))


def _wait(until: Any) -> None:
    deadline = time.monotonic() + 180
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError("the job did not come to the end of the streams within 180 s")
        time.sleep(0.005)


def _cpu_s(pids: list[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(time.user + time.system for time in times)


def _pss_mib(pids: list[int]) -> float:
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 2**20


def _median(runs: list[Figures]) -> Figures:
    columns = zip(*(tuple(vars(one).values()) for one in runs), strict=True)
    return Figures(*map(statistics.median, columns))


if __name__ == "__main__":
    scaling_report.write({pair: vars(found) for pair, found in measured().items()}, _TRADES_A_SHARD, _RUNS)
