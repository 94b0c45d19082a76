"""Recorded trades as a feed: files through the streams, at full speed or at that of their times.

The position in Redis is ``FILE:LINE``, the last line whose trades are written; at the end, the
sums. The state beside it is what the tape and the sums were at the end of some block before that
line. A replay that was killed reads on from there, and writes what lies behind the line.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from pipeline import wall_clock
from pipeline.ahead import NewestTime, contradicted
from pipeline.entry import END_OF_STREAM
from pipeline.feed.patience import FeedStopped
from pipeline.feed.plausible import FUTURE_MS
from pipeline.feed.simulator import HEARTBEAT_MS
from pipeline.feed.stream import NO_TRADES, TradeWriter
from pipeline.feed.tape import Stretch, Tape
from pipeline.market import Interval

log = logging.getLogger(__name__)

PROGRESS_S: Final = 0.1
_GATHER_S: Final = 0.01


@dataclass
class Progress:
    """How far a replay is. Sums count from the files' beginning, also after a restart."""

    trades: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Bad lines by reason."""
    event_time_ms: int = 0
    """The newest event time so far."""
    part: float = 0.0
    """How much of the files was read, 0 to 1."""
    trades_per_s: float = 0.0
    """Of this run, from its first write on."""


@dataclass(frozen=True)
class ReplayResult:
    """The sums of a whole replay: written trades, those left out as duplicates, bad lines by reason."""

    trades: int
    duplicates: int
    rejected: Mapping[str, int]
    event_time_ms: int


def feed_name(paths: Sequence[Path], where: Sequence[tuple[str, str]]) -> str:
    """The writer's name for a replay: the same files and filters go on, others begin."""
    what = json.dumps([[str(path.resolve()) for path in paths], [list(pair) for pair in where]])
    return f"replay-{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def replay(
    paths: Sequence[Path],
    where: Sequence[tuple[str, str]],
    speed: float | None,
    writer: TradeWriter,
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    is_last: bool = True,
) -> ReplayResult:
    """Write the files' trades, in the order of their lines, and close all candles at the end.

    ``where``: (column, text) pairs that a row must have. ``speed``: event seconds a second, as
    recorded where it is 1; None as fast as the job can follow. ``on_progress`` is called ten times
    a second at most. ``is_last``: whether nothing may ever follow on these streams; False closes
    the windows of these trades and no later ones. InputFileError before anything is written;
    FeedStopped if the writer's ``stop`` is set before the end.
    """
    tape = Tape(paths, where, wall_clock.now_ms() + FUTURE_MS)
    position, state = writer.resume()
    if position is not None and position.startswith("{"):
        log.info("replay: was played to its end before")
        return ReplayResult(**json.loads(position))
    run = _Replay(tape, writer, on_progress, speed)
    for stretch in run.not_written(position, state):
        run.play(stretch)
    return run.finish(is_last)


class _Replay:
    """One run of a replay."""

    def __init__(
        self, tape: Tape, writer: TradeWriter, on_progress: Callable[[Progress], None], speed: float | None
    ) -> None:
        self._tape = tape
        self._writer = writer
        self._on_progress = on_progress
        self._speed = speed
        self._progress = Progress()
        self._newest = NewestTime()
        self._clock: _Clock | None = None
        self._told_at = 0.0
        self._started_at = 0.0
        self._written = 0

    def not_written(self, position: str | None, state: str | None) -> Iterator[Stretch]:
        """The tape from ``position`` on. What comes before it is counted all the same."""
        file, line = map(int, position.split(":")) if position else (0, 0)
        if position and state:
            saved = json.loads(state)
            self._tape.load(saved["tape"])
            progress = saved["sums"]
            self._progress = Progress(**progress | {"rejected": Counter(progress["rejected"])})
            self._newest = NewestTime(self._progress.event_time_ms)
        for stretch in self._tape.stretches():
            self._progress.duplicates += stretch.duplicates
            self._progress.part = stretch.part
            if (stretch.file, stretch.last_line) > (file, line):
                first = int(np.searchsorted(stretch.lines, line, side="right")) if stretch.file == file else 0
                self._count(stretch, 0, first)
                old = [bad for bad in stretch.bad if (stretch.file, bad.line) <= (file, line)]
                self._progress.rejected.update(bad.record.reason for bad in old)
                yield stretch._replace(
                    trades=stretch.trades[first:], lines=stretch.lines[first:], bad=stretch.bad[len(old) :]
                )
            else:
                self._count(stretch, 0, len(stretch.trades))
                self._progress.rejected.update(bad.record.reason for bad in stretch.bad)

    def play(self, stretch: Stretch) -> None:
        """Write a stretch in slices, each when its time has come."""
        start, bad = 0, 0
        while start < len(stretch.trades) or bad < len(stretch.bad):
            end = self._due(stretch, start)
            is_end = end == len(stretch.trades)
            line = stretch.last_line if is_end else int(stretch.lines[end - 1])
            upto = bad + sum(1 for one in stretch.bad[bad:] if one.line <= line)
            if self._speed is None:
                self._writer.wait_until_read()
            self._write(stretch, slice(start, end), slice(bad, upto), line)
            start, bad = end, upto

    def _state(self, stretch: Stretch, line: int) -> str | None:
        """What a run that begins behind this stretch must know; None elsewhere than at its end."""
        tape = self._tape.save(stretch) if line == stretch.last_line else None
        return json.dumps({"tape": tape, "sums": vars(self._progress)}) if tape else None

    def finish(self, is_last: bool) -> ReplayResult:
        """Close the candles and leave the sums as the position."""
        progress = self._progress
        progress.part = 1.0
        progress.event_time_ms = self._newest.end()
        result = ReplayResult(
            progress.trades, progress.duplicates, dict(progress.rejected), progress.event_time_ms
        )
        hour = Interval.H1
        end_ms = END_OF_STREAM if is_last else hour.open_time(progress.event_time_ms) + 2 * hour.ms
        if is_last or progress.trades:
            self._writer.write((), NO_TRADES, json.dumps(asdict(result)), heartbeat_ms=end_ms)
        self._on_progress(progress)
        return result

    def _due(self, stretch: Stretch, start: int) -> int:
        """Wait until the trade at ``start`` may leave; the end of those that may leave with it."""
        end = min(start + self._writer.bulk_trades, len(stretch.trades))
        if self._speed is None or start == end:
            return end
        times = stretch.trades["event_time_ms"][start:end].copy()
        if self._progress.event_time_ms:  # a false date among others is nothing to wait years for
            false = contradicted(times, self._progress.event_time_ms)
            times[false] = self._progress.event_time_ms
        if self._clock is None:
            self._clock = _Clock(self._speed, int(times[0]))
        silent_since = time.monotonic()
        while (now_ms := self._clock.event_time_ms()) < times[0]:
            if self._writer.stop.wait(self._clock.seconds_until(int(times[0]))):
                raise FeedStopped
            if time.monotonic() - silent_since >= HEARTBEAT_MS / 1000:
                silent_since = time.monotonic()
                self._writer.heartbeat(now_ms)
        return start + max(1, int(np.argmax(times > now_ms)) if times.max() > now_ms else len(times))

    def _write(self, stretch: Stretch, trades: slice, bad: slice, line: int) -> None:
        self._started_at = self._started_at or time.monotonic()
        rejected = [one.record for one in stretch.bad[bad]]
        self._progress.rejected.update(record.reason for record in rejected)
        self._count(stretch, trades.start, trades.stop)
        self._writer.write(
            stretch.symbols,
            stretch.trades[trades],
            f"{stretch.file}:{line}",
            state=self._state(stretch, line),
            rejected=rejected,
        )
        self._written += trades.stop - trades.start
        now = time.monotonic()
        self._progress.trades_per_s = self._written / max(now - self._started_at, 0.001)
        if now - self._told_at >= PROGRESS_S:
            self._told_at = now
            self._on_progress(self._progress)
        if self._writer.stop.is_set():
            raise FeedStopped

    def _count(self, stretch: Stretch, start: int, end: int) -> None:
        self._progress.trades += end - start
        if end > start:
            self._progress.event_time_ms = self._newest.add(stretch.trades[start:end])


class _Clock:
    """Event time that passes ``speed`` times as fast as real time."""

    def __init__(self, speed: float, start_ms: int) -> None:
        self._speed = speed
        self._start_ms = start_ms
        self._started_at = time.monotonic()

    def event_time_ms(self) -> int:
        return self._start_ms + int((time.monotonic() - self._started_at) * 1000 * self._speed)

    def seconds_until(self, event_time_ms: int) -> float:
        """Real seconds until then; at least what gathers trades, at most what a silence may last."""
        wait = (event_time_ms - self.event_time_ms()) / 1000 / self._speed
        return min(max(wait, _GATHER_S), HEARTBEAT_MS / 1000)
