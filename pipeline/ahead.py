"""What is far ahead of its stream waits until the rest of the stream has spoken. Pure.

One trade that is dated hours ahead of all others would push the watermark and make whatever follows
late. But a stream may also leap: a feed was off for a night, or files of two days follow one another.
Which it is, is decided from the stream alone, so that every run of it decides alike:

* a trade more than AHEAD_MS ahead of the newest event time so far is held;
* if a trade that is not follows, or a heartbeat that is not, the held ones are refused;
* if VOTES of them follow one another, or a heartbeat agrees, or the stream ends, they count, as if
  they had never been held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.entry import END_OF_STREAM, RECORD, Records
from pipeline.market import Interval

AHEAD_MS: Final = 3 * Interval.H1.ms
"""A stream's own steps are shorter: a replay's last heartbeat is up to two hours ahead."""
VOTES: Final = 100
"""Trades in a row that make a leap. Bad lines come in ones and twos; these are 4 kB of state."""
REASON: Final = "event time is hours ahead of the stream"
Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def contradicted(times_ms: Times, now_ms: int) -> Mask:
    """Which of ``times_ms`` are far ahead of ``now_ms``, and followed by one that is not."""
    far = times_ms > now_ms + AHEAD_MS
    near: Mask = ~far
    return far & (np.arange(len(far)) < (np.flatnonzero(near)[-1] if near.any() else 0))


class Group(NamedTuple):
    """Trades of one entry, with their indices in it."""

    entry_id: str
    trades: Records
    places: tuple[int, ...]

    def only(self, mask: Mask) -> Group:
        """The trades where ``mask`` is true."""
        places = tuple(place for place, wanted in zip(self.places, mask.tolist(), strict=True) if wanted)
        return Group(self.entry_id, self.trades[mask], places)

    @property
    def newest_ms(self) -> int:
        return int(self.trades["event_time_ms"].max())


class Verdict(NamedTuple):
    """Groups that count now, in the order of arrival, and groups that never will."""

    counted: list[Group]
    refused: list[Group]


@dataclass(slots=True)
class Ahead:
    """The held trades of one shard, oldest first. Plain values: they are part of a checkpoint."""

    held: tuple[tuple[str, bytes, tuple[int, ...]], ...] = ()

    def trades(self, group: Group, now_ms: int) -> Verdict:
        """Judge an entry's trades, one at least; ``now_ms`` is the newest event time before it (0: none)."""
        times = group.trades["event_time_ms"]
        # A stream begins when the middle of its first entry says.
        far = times > (now_ms or _middle(times)) + AHEAD_MS
        if far.all():
            return self._vote([*self._groups(), group])
        refuted = contradicted(times, now_ms or _middle(times))
        refused = [*self._groups(), group.only(refuted)]
        self._hold([group.only(far & ~refuted)])
        return Verdict([group.only(~far)], _some(refused))

    def heartbeat(self, heartbeat_ms: int) -> Verdict:
        """Judge what is held by a heartbeat that has come."""
        groups = list(self._groups())
        self._hold([])
        if heartbeat_ms == END_OF_STREAM:  # nobody is left to disagree
            return Verdict(groups, [])
        agree = [group.trades["event_time_ms"] <= heartbeat_ms + AHEAD_MS for group in groups]
        return Verdict(
            _some([group.only(mask) for group, mask in zip(groups, agree, strict=True)]),
            _some([group.only(~mask) for group, mask in zip(groups, agree, strict=True)]),
        )

    def _vote(self, groups: list[Group]) -> Verdict:
        times = np.concatenate([group.trades["event_time_ms"] for group in groups])
        if len(times) < VOTES:
            self._hold(groups)
            return Verdict([], [])
        # The middle one is right if most are; and with it all that are not far ahead of it.
        newest_ms = _middle(times)
        while (upto := int(times[times <= newest_ms + AHEAD_MS].max())) > newest_ms:
            newest_ms = upto
        counts = times <= newest_ms
        before = np.arange(len(times)) < np.flatnonzero(counts)[-1]
        masks = np.split(np.stack([counts, ~counts & before, ~counts & ~before]), _cuts(groups), axis=1)
        chosen = [
            [group.only(mask[row]) for group, mask in zip(groups, masks, strict=True)] for row in range(3)
        ]
        self._hold(chosen[2])
        return Verdict(_some(chosen[0]), _some(chosen[1]))

    def _hold(self, groups: list[Group]) -> None:
        self.held = tuple((group.entry_id, group.trades.tobytes(), group.places) for group in _some(groups))

    def _groups(self) -> Iterator[Group]:
        for entry_id, data, places in self.held:
            yield Group(entry_id, np.frombuffer(data, RECORD), places)


class NewestTime:
    """The newest event time of the trades that count, for a feed that must know what the job will say."""

    def __init__(self, newest_ms: int = 0) -> None:
        self._newest_ms = newest_ms
        self._ahead = Ahead()

    def add(self, trades: Records) -> int:
        """The newest time with ``trades``, one at least."""
        newest_ms = int(trades["event_time_ms"].max())
        if self._newest_ms and not self._ahead.held and newest_ms <= self._newest_ms + AHEAD_MS:
            return self._raise_to(newest_ms)
        group = Group("", trades, tuple(range(len(trades))))
        return self._take(self._ahead.trades(group, self._newest_ms))

    def end(self) -> int:
        """The newest time if nothing follows."""
        return self._take(self._ahead.heartbeat(END_OF_STREAM))

    def _take(self, verdict: Verdict) -> int:
        return self._raise_to(max((group.newest_ms for group in verdict.counted), default=0))

    def _raise_to(self, newest_ms: int) -> int:
        self._newest_ms = max(self._newest_ms, newest_ms)
        return self._newest_ms


def _some(groups: list[Group]) -> list[Group]:
    return [group for group in groups if len(group.trades)]


def _cuts(groups: list[Group]) -> list[int]:
    ends: list[int] = np.cumsum([len(group.trades) for group in groups]).tolist()
    return ends[:-1]


def _middle(times: Times) -> int:
    """The median; of two, the earlier."""
    half = (len(times) - 1) // 2
    return int(np.partition(times, half)[half])
