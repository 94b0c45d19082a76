"""An exchange's clock against ours, from the trades that it sends. Pure.

A trade's event time less the time at which it came to us is the offset of the clocks less the
trade's way. The median of that is what is shown; the slowest trades of late say how long after an
event time another trade may still come, and so how far a heartbeat may go.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Final

SAMPLES: Final = 256
SAMPLE_EVERY_MS: Final = 50
"""So the samples tell of the last 13 s at least."""
LEAST_MARGIN_MS: Final = 1_000
MOST_MARGIN_MS: Final = 10_000
"""A trade slower than this against the usual is late, like any that comes after its time."""


AGREED: Final = 20
"""Trades in a row, and none between them that is not, that are equally far in the future: a fault of one
exchange's single trade does not look like that."""


class ExchangeClock:
    """Learns from :meth:`add`. All times in ms."""

    def __init__(self) -> None:
        self._samples: deque[int] = deque(maxlen=SAMPLES)
        self._refused: list[int] = []
        self._sampled_ms = 0
        self._offset_ms: int | None = None
        self._seed_ms: int | None = None

    def seed(self, offset_ms: int) -> None:
        """What the exchange itself says its time is, less ours: good until trades come."""
        self._seed_ms = offset_ms

    def add(self, event_time_ms: int, received_ms: int) -> None:
        """A trade came. Of those that come together the newest counts: the others waited for it."""
        self._refused.clear()
        sample_ms = event_time_ms - received_ms
        if received_ms - self._sampled_ms >= SAMPLE_EVERY_MS or not self._samples:
            self._sampled_ms = received_ms
            self._samples.append(sample_ms)
        elif sample_ms > self._samples[-1]:
            self._samples[-1] = sample_ms
        else:
            return
        self._offset_ms = None

    def refused(self, event_time_ms: int, received_ms: int) -> None:
        """A trade came that cannot have happened yet. If all are like that, our clock is behind."""
        sample_ms = event_time_ms - received_ms
        if any(abs(sample_ms - other_ms) > MOST_MARGIN_MS for other_ms in self._refused):
            self._refused.clear()
        self._refused.append(sample_ms)
        if len(self._refused) >= AGREED:
            self._samples.clear()
            self._samples.extend(self._refused)
            self._refused.clear()
            self._offset_ms = None

    @property
    def offset_ms(self) -> int | None:
        """The exchange's clock less ours; None before anything was heard."""
        if self._offset_ms is None and self._samples:
            self._offset_ms = int(median(self._samples))
        return self._seed_ms if self._offset_ms is None else self._offset_ms

    def exchange_ms(self, our_ms: int) -> int:
        """What the exchange's clock showed on the trades that came at ``our_ms``."""
        return our_ms + (self.offset_ms or 0)

    def silent_until(self, heard_ms: int) -> int | None:
        """Event time before which nothing more is to come; None while nobody can say.

        ``heard_ms``: when the connection was last known to live.
        """
        if not self._samples:
            return None
        offset_ms = self.offset_ms or 0
        margin_ms = min(max(offset_ms - min(self._samples), LEAST_MARGIN_MS), MOST_MARGIN_MS)
        return heard_ms + offset_ms - margin_ms
