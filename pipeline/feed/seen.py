"""Which trade ids of one market have been: so that a trade delivered twice counts once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
_NONE: Final = np.empty(0, np.int64)
LOWEST: Final = -(2**63)
"""No trade's id: every id is above it."""

MAX_HOLES: Final = 20_000
"""Holes remembered a market (320 kB). What is older than all of them counts as seen."""


class SeenIds:
    """The ids of one market, which rise, with holes where some are missing or still to come.

    An id above the highest is new, and leaves a hole where it skipped some; one below is new only
    if it lies in a hole. The first id leaves a hole below it without end. So any order of delivery
    gives the same answer: each id is new once.
    """

    def __init__(self) -> None:
        self._highest = LOWEST
        self._starts = _NONE  # holes, ascending: from starts[i] up to and including ends[i]
        self._ends = _NONE

    @property
    def holes(self) -> int:
        """How many holes are remembered: what saving costs."""
        return len(self._starts)

    def save(self) -> list[Any]:
        """All that :meth:`load` needs, for JSON."""
        return [self._highest, self._starts.tolist(), self._ends.tolist()]

    @classmethod
    def load(cls, saved: list[Any]) -> SeenIds:
        """What :meth:`save` gave."""
        seen = cls()
        seen._highest = saved[0]
        seen._starts, seen._ends = (np.array(numbers, np.int64) for numbers in saved[1:])
        return seen

    def add(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Mask, shape (n,): which of ``ids`` were not seen before, nor earlier in ``ids``."""
        rising = len(ids) < 2 or bool((ids[1:] > ids[:-1]).all())
        if rising and len(ids) and ids[0] > self._highest:
            self._rise(ids)
            return np.ones(len(ids), np.bool_)
        unique, first = np.unique(ids, return_index=True)
        split = int(np.searchsorted(unique, self._highest, side="right"))
        new = np.zeros(len(ids), np.bool_)
        new[first[:split][self._fill(unique[:split])]] = True
        if split < len(unique):
            new[first[split:]] = True
            self._rise(unique[split:])
        return new

    def _rise(self, ids: Ids) -> None:
        """Take ``ids``, ascending and all above the highest."""
        before = np.concatenate((np.array([self._highest]), ids[:-1]))
        skipped = np.flatnonzero(ids - 1 > before)
        if len(skipped):
            self._starts = np.concatenate((self._starts, before[skipped] + 1))[-MAX_HOLES:]
            self._ends = np.concatenate((self._ends, ids[skipped] - 1))[-MAX_HOLES:]
        self._highest = int(ids[-1])

    def _fill(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Take those of ``ids`` (ascending, none above the highest) that lie in holes; say which."""
        hole = np.searchsorted(self._ends, ids)
        inside = hole < len(self._ends)
        inside[inside] = ids[inside] >= self._starts[hole[inside]]
        for number in ids[inside].tolist():
            self._split(number)
        return inside

    def _split(self, number: int) -> None:
        hole = int(np.searchsorted(self._ends, number))
        start, end = int(self._starts[hole]), int(self._ends[hole])
        starts = [start] * (start < number) + [number + 1] * (number < end)
        ends = [number - 1] * (start < number) + [end] * (number < end)
        self._starts = np.concatenate(
            (self._starts[:hole], np.array(starts, np.int64), self._starts[hole + 1 :])
        )
        self._ends = np.concatenate((self._ends[:hole], np.array(ends, np.int64), self._ends[hole + 1 :]))
