"""Whether a market has been silent for longer than it usually is. Pure."""

from __future__ import annotations

from typing import Final

LEAST_S: Final = 30.0
"""No market is called silent before: even busy ones pause."""
TIMES_USUAL: Final = 20.0
"""At a steady rate, a pause of 20 mean gaps comes once in e**20 gaps: never by chance."""
LONGEST_S: Final = 900.0
_WEIGHT: Final = 0.05


class Pulse:
    """Learns the usual gap between trades from :meth:`beat`. All times in s, of a monotonic clock."""

    def __init__(self, least_s: float = LEAST_S) -> None:
        self._least_s = least_s
        self._mean_s: float | None = None
        self._last_s: float | None = None
        self._patience = 1.0

    def connected(self, now_s: float) -> None:
        """Count from here: nothing could be heard before."""
        self._last_s = now_s

    def beat(self, now_s: float) -> None:
        """A trade came."""
        if self._last_s is not None:
            gap_s = now_s - self._last_s
            self._mean_s = gap_s if self._mean_s is None else self._mean_s + _WEIGHT * (gap_s - self._mean_s)
        self._last_s = now_s
        self._patience = 1.0

    def reconnected(self, now_s: float) -> None:
        """Silence had the connection made anew; if that brings nothing, the market is just quiet."""
        self._last_s = now_s
        self._patience *= 2

    def allowed_s(self) -> float:
        """How long it may be silent now."""
        usual_s = TIMES_USUAL * (self._mean_s or 0.0)
        return min(LONGEST_S, max(self._least_s, usual_s) * self._patience)

    def is_silent(self, now_s: float) -> bool:
        return self._last_s is not None and now_s - self._last_s > self.allowed_s()
