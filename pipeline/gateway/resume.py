"""What a client missed since ``?since=<epoch>:<seq>``: the closed candles, or the fact that some are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from pipeline.hub import Known
from pipeline.market import Interval
from pipeline.store import Store
from pipeline.update import Pair, Position, Update, read_updates

_FEW: Final = 16
"""Most clients were away for a moment: what they missed is among the newest few."""


class Missed:
    """Reads history. What clients that come back together need is read once."""

    def __init__(self, store: Store, history_limit: int, longest: int) -> None:
        self._store = store
        self._history_limit = history_limit
        self._longest = longest
        self._read: dict[Pair, tuple[Position, int, list[Update]]] = {}

    async def between(self, pair: Pair, since: Position, known: Known) -> list[Update] | None:
        """Closed candles after ``since``, up to what is ``known``, in order of their position.

        None if that list could have a hole. One of ``retry.RETRYABLE`` while Redis is away.
        """
        until = known.position
        if since > until:
            return None  # from another database, or invented
        if since == until:
            return []
        for count in (_FEW, self._longest + 1):
            closed = await self._newest(pair, until, count)
            if known.closed_ms >= 0 and all(update.open_time_ms != known.closed_ms for update in closed):
                return None  # history was wiped, or is of another database
            if reaches_back(closed, since, untrimmed=self._is_whole(closed, count)):
                return [update for update in closed if since < update.position <= until]
        return None

    def _is_whole(self, closed: Sequence[Update], asked: int) -> bool:
        """Whether ``closed`` is all there ever was: fewer than asked for, and fewer than are kept."""
        return len(closed) < asked and (not self._history_limit or len(closed) < self._history_limit)

    async def _newest(self, pair: Pair, until: Position, count: int) -> list[Update]:
        known = self._read.get(pair)
        if known and known[0] == until and known[1] >= count:
            return known[2]
        symbol, interval = pair
        texts = await asyncio.to_thread(self._store.history, symbol, Interval(interval), count)
        updates = sorted(read_updates([text.encode() for text in texts]), key=lambda update: update.position)
        self._read[pair] = (until, count, updates)
        return updates


def reaches_back(closed: Sequence[Update], since: Position, *, untrimmed: bool) -> bool:
    """Whether nothing that closed after ``since`` can be missing from ``closed``, in rising order.

    It holds a candle from before, so that the trimming has not reached what came after; or it is
    all there ever was of that writer's life.
    """
    if not closed:
        return untrimmed
    oldest = closed[0].position
    return oldest <= since or (untrimmed and oldest[0] == since[0])
