"""A Redis and a real job without a feed: the test writes the stream, and knows what must come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import redis

from pipeline import entry, keys, seals
from pipeline.candle import Candle
from pipeline.embedded import COMMANDS, Embedded
from pipeline.entry import END_OF_STREAM, RECORD
from pipeline.market import INTERVALS, Interval
from pipeline.settings import Settings
from tests.golden import Deal, golden, golden_candle
from tests.integration.processes import wait_until
from tests.writing import unpublished

NAMES = ("BTC", "ETH", "SOL")
T0 = 1_700_000_000_000 // 3_600_000 * 3_600_000 + 1_000
PER_ENTRY = 20


def deals(start: int, end: int) -> list[Deal]:
    """Trades number ``start`` to ``end``: a quarter of a second apart, prices that never repeat in order."""
    return [
        Deal(n % 3, T0 + 250 * n, n, 10**12 + n * 7_919 % 100_003, 10**6 + n * 31 % 977, n % 2 == 0)
        for n in range(start, end)
    ]


class Job:
    """A Redis and a job in one state folder, without a feed: the test writes the stream."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.written = 0
        self.embedded: Embedded
        self.client: Any

    def start(self, job: bool = True) -> None:
        self.embedded = Embedded(self.settings, {"job": COMMANDS["job"]} if job else {})
        self.embedded.start()
        self.client = redis.Redis.from_url(self.embedded.redis_url)
        wait_until(self.answers, 20, "Redis")
        self.client.set(keys.INSTANCE, "test")

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def stop(self) -> None:
        self.client.close()
        self.embedded.stop()

    def write(self, end: int, *, last: bool = False, maxlen: int | None = None) -> None:
        for start in range(self.written, end, PER_ENTRY):
            some = deals(start, min(end, start + PER_ENTRY))
            rows = [(d.time_ms, d.id, d.price, d.quantity, d.symbol, d.is_buy) for d in some]
            self.client.xadd(
                keys.trades_stream(0),
                entry.encode(NAMES, np.array(rows, RECORD)),
                maxlen=maxlen,
                approximate=False,
            )
        self.written = end
        if last:
            self.client.xadd(keys.trades_stream(0), {"heartbeat": END_OF_STREAM})

    def is_folded(self) -> bool:
        newest = self.client.xrevrange(keys.trades_stream(0), count=1)[0][0]
        return bool(self.client.hget(keys.progress(0), "position") == newest)

    def fold(self, end: int, *, last: bool = False) -> None:
        self.write(end, last=last)
        wait_until(self.is_folded, 240, "the job to fold")

    def checkpoints(self) -> list[Path]:
        """Complete ones, newest first."""
        folder = self.settings.state_dir / "checkpoints"
        found = [metadata.parent for metadata in folder.glob("*/chk-*/_metadata")]
        return sorted(found, key=lambda path: (path / "_metadata").stat().st_mtime_ns, reverse=True)

    def sealed(self) -> list[Path]:
        """Those of them that were sealed: the very last may have come too late for that."""
        folder = self.settings.state_dir / "checkpoints"
        return [path for path in self.checkpoints() if seals.damage(folder, path) is None]

    def wait_for_checkpoints(self, count: int = 2) -> None:
        """``count`` that were begun from now on."""
        before = set(self.checkpoints())
        seen: set[Path] = set()

        def are_there() -> bool:
            seen.update(set(self.checkpoints()) - before)
            return len(seen) > count

        wait_until(are_there, 60, "checkpoints")

    def said(self) -> str:
        return (self.settings.state_dir / "logs" / "job.log").read_text()

    def candles(self, symbol: str, interval: Interval) -> list[Candle]:
        return [
            unpublished(Candle.from_json(text))
            for text in self.client.zrange(keys.history(symbol, interval.value), 0, -1)
        ]

    def assert_golden(self, count: int, rejected: int = 0) -> None:
        """Every closed candle of all intervals equals the slow fold of all trades."""
        for interval in INTERVALS:
            wanted = golden(deals(0, count), interval)
            for code, name in enumerate(NAMES):
                expected = [
                    golden_candle(name, interval, time_ms, sums)
                    for (symbol, time_ms), sums in wanted.items()
                    if symbol == code
                ]
                assert self.candles(name, interval) == expected, (name, interval)
        counted = self.client.hmget(keys.progress(0), "late", "rejected", "lost")
        assert counted == [b"0", b"%d" % rejected, b"0"]
