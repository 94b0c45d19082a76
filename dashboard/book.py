"""The newest hours of every market, kept once a process for the Markets page, however many look at it.

Minutes (the last two hours) and quarters (the last day and a bit) come from history once, and
from the hub after that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dashboard.chart import bar
from dashboard.indicators import Bar
from pipeline.candle import Candle
from pipeline.hub import Hub, Update
from pipeline.market import Interval
from pipeline.store import Store

MINUTES: Final = 121
QUARTERS: Final = 98


@dataclass
class _Bars:
    """Bars of one width, oldest first; the last one may be open."""

    keep: int
    bars: deque[Bar] = field(default_factory=deque)

    def put(self, new: Bar) -> None:
        later: list[Bar] = []
        while self.bars and self.bars[-1].open_time_ms > new.open_time_ms:
            later.append(self.bars.pop())
        if self.bars and self.bars[-1].open_time_ms == new.open_time_ms:
            self.bars.pop()
        self.bars.append(new)
        self.bars.extend(reversed(later))
        while len(self.bars) > self.keep:
            self.bars.popleft()


class Book:
    """Bars by symbol. :meth:`post` runs in the subscriber's thread, the rest in sessions'."""

    def __init__(self, hub: Hub, store: Store) -> None:
        self._lock = threading.Lock()
        self._hub = hub
        self._store = store
        self._held: dict[tuple[str, Interval], _Bars] = {}
        self._loaded: set[str] = set()
        self.close = hub.listen(self.post)

    def post(self, updates: Sequence[Update]) -> None:
        """Take a batch of revisions: the newest of each window counts."""
        newest: dict[tuple[str, str, int], Update] = {}
        for update in updates:
            if update.interval in {Interval.M1.value, Interval.M15.value}:
                newest[update.symbol, update.interval, update.open_time_ms] = update
        self._put(Candle.from_json(update.payload) for update in newest.values())

    def bars(self, symbol: str) -> tuple[list[Bar], list[Bar]]:
        """Minutes and quarters of ``symbol``; read from history the first time."""
        if symbol not in self._loaded:
            self._load(symbol)
        with self._lock:
            return list(self._of(symbol, Interval.M1).bars), list(self._of(symbol, Interval.M15).bars)

    def forget(self) -> None:
        """Read history again at the next look, e.g. after the connection to Redis was lost."""
        self._loaded.clear()

    def _load(self, symbol: str) -> None:
        for interval, keep in ((Interval.M1, MINUTES), (Interval.M15, QUARTERS)):
            texts = self._store.history(symbol, interval, keep)
            newest = self._hub.latest(symbol, interval.value)
            self._put(map(Candle.from_json, [*texts, *([newest.payload] if newest else [])]))
        self._loaded.add(symbol)

    def _put(self, candles: Iterable[Candle]) -> None:
        with self._lock:
            for candle in candles:
                self._of(candle.symbol, candle.interval).put(bar(candle))

    def _of(self, symbol: str, interval: Interval) -> _Bars:
        keep = MINUTES if interval is Interval.M1 else QUARTERS
        return self._held.setdefault((symbol, interval), _Bars(keep))
