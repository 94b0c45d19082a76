"""One market's trades in order: each once, and none passed while one before it is missing. Pure.

Where an exchange numbers a market's trades without holes, a jump of the id is a trade that was
missed: what follows waits until it is fetched, or given up. Elsewhere nobody can tell a hole; there
a lane waits only while it is being healed, after the start and after each new connection.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from pipeline.feed.exchange.tick import Tick

DENSE: Final = frozenset({"coinbase", "coinbaseexchange", "binance", "binanceus", "kraken"})
"""Exchanges whose trade ids rise by one within a market. Held by the recorded frames (../shared/data)
for coinbase, coinbaseexchange and binance; kraken says so of its trade_id."""
REMEMBERED: Final = 20_000
"""Newest ids by which a repeated trade is known where ids may jump: what a reconnect may repeat."""


class Place(NamedTuple):
    """How far a lane is: the last trade that was passed on.

    ``ids``: all ids passed on at its millisecond, where ids may jump.
    """

    trade_id: int
    event_time_ms: int
    ids: tuple[str, ...] = ()

    def to_list(self) -> list[Any]:
        return [self.trade_id, self.event_time_ms, *self.ids]

    @classmethod
    def from_list(cls, saved: list[Any]) -> Place:
        return cls(int(saved[0]), int(saved[1]), tuple(map(str, saved[2:])))

    def after(self, tick: Tick, is_dense: bool) -> Place:
        """The place once ``tick`` was passed on."""
        if is_dense:
            return Place(tick.trade_id, tick.event_time_ms)
        same = self.ids if tick.event_time_ms == self.event_time_ms else ()
        return Place(tick.trade_id, tick.event_time_ms, (*same, tick.id_text))


class Hole(NamedTuple):
    """What is missing: from ``from_id`` (None: not known) to ``to_id`` (None: the newest), inclusive.

    Its trades lie from ``from_ms`` to ``to_ms`` (None: now).
    """

    from_id: int | None
    to_id: int | None
    from_ms: int
    to_ms: int | None


class Lane:
    """The order of one market. ``place`` is None where there is none to go on from."""

    def __init__(self, is_dense: bool, place: Place | None) -> None:
        self.is_dense = is_dense
        self.place = place
        self.duplicates = 0
        self.is_open = False
        """Whether everything up to now is known to be here, but for a hole that ids show."""
        self._waiting: dict[Any, Tick] = {}
        self._recent: OrderedDict[str, None] = OrderedDict(dict.fromkeys(place.ids if place else ()))

    def take(self, ticks: Iterable[Tick]) -> None:
        """Add what the stream or a healer brought, in any order, repeated or not."""
        for tick in ticks:
            key = tick.trade_id if self.is_dense else tick.id_text
            if key in self._waiting or self._was_passed(tick):
                self.duplicates += 1
            else:
                self._waiting[key] = tick

    def _was_passed(self, tick: Tick) -> bool:
        if self.is_dense:
            return self.place is not None and tick.trade_id <= self.place.trade_id
        return tick.id_text in self._recent

    def ready(self) -> list[Tick]:
        """What may be passed on now, in order."""
        if not self._waiting or (not self.is_open and not (self.is_dense and self.place)):
            return []
        return self._dense_ready() if self.is_dense else self._loose_ready()

    def _dense_ready(self) -> list[Tick]:
        assert self.place is not None  # noqa: S101  open() saw to it
        ticks = []
        next_id = self.place.trade_id + 1
        while next_id in self._waiting:
            ticks.append(self._waiting.pop(next_id))
            next_id += 1
        if ticks:
            self.place = Place(ticks[-1].trade_id, ticks[-1].event_time_ms)
        return ticks

    def _loose_ready(self) -> list[Tick]:
        # Of one millisecond, by number where there is one; else as they came.
        ticks = sorted(self._waiting.values(), key=lambda tick: (tick.event_time_ms, tick.trade_id))
        self._waiting.clear()
        for tick in ticks:
            self._recent[tick.id_text] = None
            self.place = (self.place or Place(-1, 0)).after(tick, is_dense=False)
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        return ticks

    def hole(self) -> Hole | None:
        """The first stretch of ids that is missing before a trade that waits."""
        if not self.is_dense or not self._waiting or self.place is None:
            return None
        first = min(self._waiting)
        if first == self.place.trade_id + 1:
            return None
        before = self.place
        return Hole(before.trade_id + 1, first - 1, before.event_time_ms, self._waiting[first].event_time_ms)

    @property
    def has_hole(self) -> bool:
        return self.hole() is not None

    def forget(self) -> None:
        """Too long ago to go on from: what waits stays."""
        self.place = None

    def first_waiting(self) -> Tick | None:
        """The oldest trade that waits."""
        return min(self._waiting.values(), key=lambda tick: (tick.trade_id, tick.event_time_ms), default=None)

    def oldest_ms(self, otherwise_ms: int) -> int:
        """Event time of the oldest trade that waits."""
        return min((tick.event_time_ms for tick in self._waiting.values()), default=otherwise_ms)

    def newest_waiting_ms(self) -> int:
        return max((tick.event_time_ms for tick in self._waiting.values()), default=0)

    def leave_out(self, before_ms: int) -> None:
        """Trades that wait and are older are none of ours."""
        self._waiting = {key: tick for key, tick in self._waiting.items() if tick.event_time_ms >= before_ms}

    def begin(self) -> None:
        """No place to go on from: begin with the oldest trade that waits."""
        first = self.first_waiting()
        if self.is_dense and first is not None:
            self.place = Place(first.trade_id - 1, first.event_time_ms)

    def skip(self, hole: Hole) -> None:
        """Give up what is still missing of ``hole``: go on behind it."""
        now = self.hole()
        if now is not None and now.to_id is not None and hole.to_id is not None and now.to_id <= hole.to_id:
            self.place = Place(now.to_id, now.from_ms)
