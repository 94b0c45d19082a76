"""The kill matrix: one seeded run a process, which is killed again and again, and what came of it."""

from __future__ import annotations

import contextlib
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import redis

from chaos import golden, rigs, tape
from chaos.ears import Ears
from pipeline import keys
from pipeline.entry import decode
from pipeline.feed.replay import feed_name
from pipeline.feed.stream import TradeWriter
from pipeline.settings import Settings

RATE: Final = 400
"""Trades a second of event time."""
SPEED: Final = 2.0
"""Event seconds a second: minutes close twice as often under the kills."""
_SECONDS_A_KILL: Final = 60
"""How long a kill may take at most on average; the tape must not end before the last one."""
_CALM_S: Final = (0.2, 3.0)
"""Between a recovery and the next kill: before and after checkpoints, which come once a second."""
_AGAIN: Final = 0.25
"""Share of the kills that hit a process which is still starting after the one before."""
_AGAIN_AFTER_S: Final = (0.2, 4.0)
RECOVERY_WITHIN_S: Final = 180.0


@dataclass
class Row:
    """What a process's kills came to. ``fresh_s``: from each kill to the first fresh candle."""

    process: str
    kills: int = 0
    recovered: int = 0
    fresh_s: list[float] = field(default_factory=list)
    found: golden.Differences = field(default_factory=golden.Differences)
    trades: int = 0
    late: int = 0
    lost: int = 0
    rejected: int = 0

    @property
    def is_whole(self) -> bool:
        unwanted = self.found.wrong + self.late + self.lost + self.rejected
        return not unwanted and self.found.candles > 0

    def summary(self) -> str:
        """Everything that must be 0."""
        found = self.found
        return (
            f"missing {found.missing}, doubled {found.doubled}, different {found.different}, "
            f"late {self.late}, lost {self.lost}, rejected {self.rejected}"
        )

    def cells(self) -> list[str]:
        median = f"{statistics.median(self.fresh_s):.1f} s" if self.fresh_s else "-"
        longest = f"{max(self.fresh_s):.1f} s" if self.fresh_s else "-"
        found = self.found
        return [
            self.process, str(self.kills), str(self.recovered), median, longest, f"{self.trades:,}",
            f"{found.candles:,}", str(found.missing), str(found.doubled), str(found.different),
        ]  # fmt: skip


HEAD: Final = ("process", "kills", "recovered", "fresh, median", "fresh, max", "trades", "candles", "missing",
               "doubled", "different")  # fmt: skip


def run(process: str, seed: int, kills: int, folder: Path | None = None, *, seconds: int = 0) -> Row:
    """Kill ``process`` at ``kills`` seeded moments of a run, and hold its candles against the golden ones."""
    dice = random.Random(f"{seed}-{process}")  # noqa: S311  a seed, no secret
    with _folder(folder) as place:
        length_s = seconds or int(SPEED * (300 + _SECONDS_A_KILL * kills))
        trades = tape.record(place / "trades.csv", seed, length_s, RATE)
        settings = Settings(
            state_dir=place / "state", feed=f"replay:{trades.path}", replay_speed=SPEED, history_limit=0,
            symbols=tape.SYMBOLS, checkpoint_ms=1_000,
        )  # fmt: skip
        rig = rigs.RIGS[process](settings, process)
        row = Row(process)
        try:
            rig.start()
            rigs.wait_for_first_candle(rig)
            ears = rig.ears()
            try:
                _kill_again_and_again(rig, ears, dice, kills, row)
            finally:
                ears.stop()
            finish(rig, trades, row)
        finally:
            rig.stop()
        return row


def _kill_again_and_again(rig: rigs.Rig, ears: Ears, dice: random.Random, kills: int, row: Row) -> None:
    while row.kills < kills:
        time.sleep(dice.uniform(*_CALM_S))
        rig.aim(dice)
        killed_at = _kill(rig, ears)
        row.kills += 1
        while row.kills < kills and dice.random() < _AGAIN:
            # In the middle of coming back. It counts as recovered only if it comes back after the last.
            time.sleep(dice.uniform(*_AGAIN_AFTER_S))
            if ears.has_heard:
                break
            killed_at = _kill(rig, ears)
            row.kills += 1
            row.recovered += 1
        heard_at = ears.first_fresh(RECOVERY_WITHIN_S)
        if heard_at is None:
            raise TimeoutError(f"no fresh candle within {RECOVERY_WITHIN_S:.0f} s of a kill; {rig.describe()}")
        row.recovered += 1
        row.fresh_s.append(heard_at - killed_at)


def _kill(rig: rigs.Rig, ears: Ears) -> float:
    newest = newest_fed(rig)
    deadline = time.monotonic() + RECOVERY_WITHIN_S
    while rigs.kill(rig) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{rig.process} does not come back")
        time.sleep(0.02)
        newest = newest_fed(rig, newest)
    killed_at, killed_at_ms = time.monotonic(), time.time_ns() // 1_000_000
    ears.listen_for(newest_fed(rig, newest), killed_at_ms)
    return killed_at


def newest_fed(rig: rigs.Rig, known: int = 0) -> int:
    """Number of the newest trade in the stream; ``known`` where Redis is the one that is dead."""
    with contextlib.suppress(redis.RedisError), redis.Redis.from_url(rig.url, socket_timeout=1) as client:
        entries: Any = client.xrevrange(keys.trades_stream(0), count=100)
        numbers = [int((decode(fields).trades["price"] % 10**8).max(initial=0)) for _, fields in entries]
        return max([known, *numbers])
    return known


def finish(rig: rigs.Rig, trades: tape.Tape, row: Row) -> None:
    """Let the feed end well, close all candles, wait until they are written, and compare."""
    with redis.Redis.from_url(rig.url, socket_timeout=5) as client:
        _stop_feed(rig)
        name = feed_name([trades.path], ())
        writer = TradeWriter(client, rig.settings, name, source="replay")
        position = writer.resume().position or ""
        if position.startswith("{"):
            raise RuntimeError("the tape came to its end before the last kill: it must be longer")
        writer.end_of_stream()
        _wait_until_folded(client)
        fed = trades.until_line(int(position.partition(":")[2]))
        row.trades = len(fed)
        row.found = golden.compare(client, golden.golden(fed))
        progress: Any = client.hgetall(keys.progress(0))
        row.late, row.lost = (int(progress[name]) for name in (b"late", b"lost"))
        counts: Any = client.hvals(keys.REJECTED_COUNTS)
        row.rejected = sum(map(int, counts))


def _stop_feed(rig: rigs.Rig) -> None:
    deadline = time.monotonic() + RECOVERY_WITHIN_S
    while (pid := rig.feed()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError("the feed does not come back")
        time.sleep(0.05)
    time.sleep(2)  # it may have been started just now, and have no handler yet for what follows
    feed = psutil.Process(pid)
    feed.send_signal(signal.SIGTERM)
    while rigs.is_alive(feed):
        time.sleep(0.02)


def _wait_until_folded(client: redis.Redis) -> None:
    newest: Sequence[Any] = client.xrevrange(keys.trades_stream(0), count=1)  # type: ignore[assignment]
    deadline = time.monotonic() + RECOVERY_WITHIN_S
    while client.hget(keys.progress(0), "position") != newest[0][0]:
        if time.monotonic() > deadline:
            raise TimeoutError("the job does not come to the end of the stream")
        time.sleep(0.05)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="candlecast-chaos-", ignore_cleanup_errors=True) as made:
        yield Path(made)
