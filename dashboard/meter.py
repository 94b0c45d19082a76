"""Counts what the hub hears, second by second, once a process: the Pipeline page's rates."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.hub import Hub, Update

WINDOW_S: Final = 120
BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
"""Upper bounds of the latency histogram's bins; one more bin holds what took longer."""


@dataclass(slots=True)
class Second:
    """What came in one second of the wall clock (``at_s``, since 1970)."""

    at_s: int
    revisions: int = 0
    closed: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    """Revisions by the time from publishing to our hub, binned by :data:`BOUNDS_MS`."""


class Meter:
    """:meth:`post` runs in the subscriber's thread, the rest in sessions'."""

    def __init__(self, hub: Hub, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._hub = hub
        self._messages = hub.messages
        self._lock = threading.Lock()
        self._seconds: deque[Second] = deque(maxlen=WINDOW_S + 1)
        self.close = hub.listen(self.post)

    def post(self, updates: Sequence[Update]) -> None:
        """Count a batch. One that was read from history, to heal, tells nothing of latency."""
        now = self._clock()
        heard = self._hub.messages != self._messages
        self._messages = self._hub.messages
        with self._lock:
            if not self._seconds or self._seconds[-1].at_s != int(now):
                self._seconds.append(Second(int(now)))
            second = self._seconds[-1]
            for update in updates:
                second.revisions += 1
                second.closed += update.is_closed
                if heard:
                    second.latency[bisect_left(BOUNDS_MS, now * 1000 - update.published_at_ms)] += 1

    def seconds(self) -> list[Second]:
        """Whole seconds of the last two minutes, oldest first; silent ones are counted as zero."""
        now = int(self._clock())
        with self._lock:
            known = {second.at_s: second for second in self._seconds if second.at_s < now}
        first = max(min(known, default=now), now - WINDOW_S)
        return [known.get(at_s, Second(at_s)) for at_s in range(first, now)]


def quantile_ms(histogram: Sequence[int], share: float) -> float | None:
    """Upper bound of the bin in which ``share`` of the counts is reached; None without counts."""
    total = sum(histogram)
    if not total:
        return None
    reached = 0
    for bound, count in zip((*BOUNDS_MS, float("inf")), histogram, strict=True):
        reached += count
        if reached >= share * total:
            return bound
    return float("inf")
