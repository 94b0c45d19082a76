"""Ticks into one write: records with ids that cannot collide, places, and what came too late.

The position in Redis is a count of writes; the state beside it, in the same transaction, is the
last trade written of each market (``lane.Place``). A feed that starts again fetches from there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from pipeline.entry import RECORD, Records
from pipeline.feed.exchange.lane import DENSE, Place
from pipeline.feed.exchange.markets import Market
from pipeline.feed.exchange.reports import Reports
from pipeline.feed.exchange.tick import Tick
from pipeline.feed.stream import NO_TRADES, Position, Rejected
from pipeline.gap import Gap
from pipeline.market import Interval

ID_BITS: Final = 4
"""Where several exchanges go into one symbol, the low bits of a trade's id are its exchange's: ids
only order trades of one millisecond, and must not collide."""

Released = list[tuple[Market, Tick]]


class Writer(Protocol):
    """What the feed needs of ``stream.TradeWriter``."""

    stop: threading.Event

    def resume(self) -> Position: ...
    def write(
        self,
        symbols: Sequence[str],
        trades: Records,
        position: str,
        *,
        state: str | None = None,
        heartbeat_ms: int = 0,
        rejected: Sequence[Rejected] = (),
        gaps: Sequence[Gap] = (),
        about: Mapping[str, str | int] | None = None,
    ) -> None: ...
    def heartbeat(self, event_time_ms: int, about: Mapping[str, str | int] | None = None) -> None: ...
    def tell(self, about: Mapping[str, str | int]) -> None: ...


class TickWriter:
    """Writes what has left the gate into ``writer``. One call at a time, of any thread.

    ``out_of_order_ms``: how far behind the newest trade the job's watermark runs; windows close by it.
    """

    def __init__(self, writer: Writer, out_of_order_ms: int, now_ms: Callable[[], int]) -> None:
        self.newest_ms = 0
        """Event time of the newest trade written."""
        self.heartbeat_ms = 0
        """The last heartbeat written."""
        self._writer = writer
        self._out_of_order_ms = out_of_order_ms
        self._now_ms = now_ms
        self._places: dict[str, Place] = {}
        self._codes: dict[str, int] = {}
        self._writes = 0
        self._number = 0
        self._late: dict[str, int] = {}

    def resume(self, exchanges: Sequence[str]) -> Mapping[str, Place]:
        """Where the markets of ``exchanges`` go on, by Market.key: a view that moves with each write."""
        self._codes = {name: code for code, name in enumerate(exchanges)}
        found = self._writer.resume()
        self._writes = int(found.position or 0)
        saved = json.loads(found.state) if found.state else {}
        self._places = {key: Place.from_list(place) for key, place in saved.items()}
        return self._places

    def write(
        self, released: Released, heartbeat_ms: int, reports: Reports, about: Mapping[str, str | int]
    ) -> None:
        """Everything that there is to say, in one transaction. FeedStopped, PositionMoved."""
        gaps = reports.gaps + self._late_gaps(released)
        if released or reports.rejected or gaps:
            self._writes += 1
            symbols, trades = self._records(released)
            self._writer.write(
                symbols,
                trades,
                str(self._writes),
                state=json.dumps({key: place.to_list() for key, place in self._places.items()}),
                heartbeat_ms=heartbeat_ms,
                rejected=reports.rejected,
                gaps=gaps,
                about=about,
            )
        elif heartbeat_ms:
            self._writer.heartbeat(heartbeat_ms, about)
        else:
            self._writer.tell(about)
        if heartbeat_ms:
            self.heartbeat_ms = heartbeat_ms

    def _records(self, released: Released) -> tuple[list[str], Records]:
        """The symbols, and the trades by their place in them; moves the places on."""
        codes: dict[str, int] = {}
        rows = []
        for market, tick in released:
            place = self._places.get(market.key) or Place(-1, 0)
            self._places[market.key] = place.after(tick, market.exchange in DENSE)
            rows.append(
                (
                    tick.event_time_ms,
                    self._trade_id(market, tick),
                    tick.price,
                    tick.quantity,
                    codes.setdefault(market.symbol, len(codes)),
                    tick.side,
                )
            )
            self.newest_ms = max(self.newest_ms, tick.event_time_ms)
        return list(codes), np.array(rows, RECORD) if rows else NO_TRADES

    def _trade_id(self, market: Market, tick: Tick) -> int:
        number = tick.trade_id
        if number < 0:  # no number: the order in which they are written stands for it
            number = self._writes << 20 | self._next_number()
        if len(self._codes) == 1:
            return number
        return (number << ID_BITS | self._codes[market.exchange]) & (2**63 - 1)

    def _next_number(self) -> int:
        self._number = (self._number + 1) % 2**20
        return self._number

    def _late_gaps(self, released: Released) -> list[Gap]:
        """One gap a symbol and minute for trades whose second has closed without them."""
        gaps = []
        second, minute = Interval.S1, Interval.M1
        watermark_ms = max(self.newest_ms, self.heartbeat_ms) - self._out_of_order_ms
        for market, tick in released:
            opened_ms = second.open_time(tick.event_time_ms)
            if opened_ms + second.ms > watermark_ms:
                continue
            minute_ms = minute.open_time(tick.event_time_ms)
            if self._late.get(market.symbol) != minute_ms:
                self._late[market.symbol] = minute_ms
                reason = f"{market.exchange}: trades came after their candles had closed"
                gaps.append(Gap(market.symbol, minute_ms, minute_ms + minute.ms - 1, reason, self._now_ms()))
        return gaps
