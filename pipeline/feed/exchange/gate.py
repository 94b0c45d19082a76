"""What may leave, of all markets together: nothing outruns trades that are still being fetched. Pure.

All symbols of a shard share one watermark. While one market has a hole, its missing trades would
come too late if the others went on; so they wait, in order, for as long as it is worth it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count
from typing import Final, NamedTuple

from pipeline.feed.exchange.markets import Market
from pipeline.feed.exchange.tick import Tick

HOLD_S: Final = 20.0
"""How long one market that is being healed may hold up the others. A drop of ten seconds heals within;
what takes longer comes late for the windows that closed, and they are recorded as a gap."""


class Blocked(NamedTuple):
    """A market with something missing after ``safe_ms``, and since when (a monotonic clock, in s)."""

    safe_ms: int
    since_s: float


class Gate:
    """Holds trades back in order of event time."""

    def __init__(self) -> None:
        self._held: list[tuple[int, int, Market, Tick]] = []
        self._number = count()
        self._newest_ms: dict[Market, int] = {}
        self._left_ms = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, market: Market, ticks: Iterable[Tick]) -> None:
        """Trades of one market in its order, which stays, even where event times do not rise."""
        newest_ms = self._newest_ms.get(market, 0)
        for tick in ticks:
            newest_ms = max(newest_ms, tick.event_time_ms)
            heapq.heappush(self._held, (newest_ms, next(self._number), market, tick))
        self._newest_ms[market] = newest_ms

    def limit_ms(self, blocked: Iterable[Blocked], now_s: float) -> int | None:
        """Event time up to which trades may leave; None: all may."""
        held_by = [one.safe_ms for one in blocked if now_s - one.since_s < HOLD_S]
        return max(min(held_by), self._left_ms) if held_by else None

    def oldest_ms(self) -> int | None:
        """Of what is held."""
        return self._held[0][0] if self._held else None

    def release(self, limit_ms: int | None, most: int) -> list[tuple[Market, Tick]]:
        """At most ``most`` of those up to ``limit_ms``, oldest first."""
        out: list[tuple[Market, Tick]] = []
        while self._held and len(out) < most and (limit_ms is None or self._held[0][0] <= limit_ms):
            _, _, market, tick = heapq.heappop(self._held)
            out.append((market, tick))
            self._left_ms = max(self._left_ms, tick.event_time_ms)
        return out

    def told(self, heartbeat_ms: int) -> None:
        """A heartbeat left."""
        self._left_ms = max(self._left_ms, heartbeat_ms)
