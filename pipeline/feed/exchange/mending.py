"""Keeps lanes whole: sees what is missing, has it fetched, or says that it could not be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from pipeline.errors import CandlecastError
from pipeline.feed.exchange.clock import ExchangeClock
from pipeline.feed.exchange.healing import Healer
from pipeline.feed.exchange.lane import Hole, Lane, Place
from pipeline.feed.exchange.markets import Market
from pipeline.feed.exchange.reports import Reports
from pipeline.feed.exchange.tick import Tick
from pipeline.gap import Gap
from pipeline.market import Interval

GRACE_S: Final = 0.25
"""What a missing id may take to come by itself, out of order, before it is asked for."""
HEAL_MS: Final = 15 * 60_000
"""Longest absence whose trades are fetched one by one; beyond it the exchange's candles stand in."""


class Mender:
    """Of one exchange's lanes, a task for each that needs it. Runs in the session's event loop.

    ``healer`` fetches; ``clock`` is the exchange's; what cannot be had becomes a gap in ``reports``.
    """

    def __init__(
        self, healer: Healer, clock: ExchangeClock, reports: Reports, now_ms: Callable[[], int]
    ) -> None:
        self._healer = healer
        self._clock = clock
        self._reports = reports
        self._now_ms = now_ms
        self._tasks: dict[Market, asyncio.Task[None]] = {}
        self._holes: dict[Market, tuple[Hole, float]] = {}
        """The hole that each market has, and since when."""

    def see_to(self, market: Market, lane: Lane, now_s: float) -> None:
        """Begin what ``lane`` needs now, if anything. ``now_s``: of a monotonic clock."""
        if market in self._tasks:
            return
        if not lane.is_open:
            self._start(market, self._open(market, lane))
            return
        hole = lane.hole()
        known = self._holes.get(market)
        if hole is None:
            self._holes.pop(market, None)
        elif known is None or known[0].from_id != hole.from_id:
            self._holes[market] = hole, now_s
        elif now_s - known[1] > GRACE_S:
            self._start(market, self._fill(market, lane, hole))

    def _start(self, market: Market, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks[market] = task
        task.add_done_callback(lambda _: self._tasks.pop(market, None))

    def stop(self) -> None:
        """Give up what is under way: the connection is lost."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._holes.clear()

    async def close(self) -> None:
        """End all. Safe to call again."""
        tasks = list(self._tasks.values())
        self.stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, market: Market, lane: Lane) -> None:
        """After the start or a new connection: fetch what is missing up to what the stream brings."""
        place, now_ms = lane.place, self._exchange_ms(lane)
        if place is not None and now_ms - place.event_time_ms <= HEAL_MS:
            await self._go_on(market, lane, place)
        else:
            lane.forget()
            await self._begin(market, lane, now_ms, place)
        lane.is_open = True

    def _exchange_ms(self, lane: Lane) -> int:
        """What the exchange's clock shows, as far as anybody has told."""
        newest_ms = lane.newest_waiting_ms()
        if self._clock.offset_ms is None and newest_ms:
            return newest_ms
        return max(newest_ms, self._clock.exchange_ms(self._now_ms()))

    async def _begin(self, market: Market, lane: Lane, now_ms: int, before: Place | None) -> None:
        """Begin with the minute in progress; what lies before it is the exchange's history."""
        minute_ms = Interval.M1.open_time(now_ms)
        lane.leave_out(minute_ms)
        first = lane.first_waiting()
        to_id = first.trade_id - 1 if first and lane.is_dense else None
        found, why = await self._fetched(market, Hole(None, to_id, minute_ms, now_ms))
        lane.take(found)
        begins_ms = max(minute_ms, lane.oldest_ms(now_ms))
        lane.leave_out(minute_ms)
        lane.begin()
        # Without what came before, the windows of the hour are not whole. Not so those of before a
        # stop: the gap begins with it.
        from_ms = before.event_time_ms if before else Interval.H1.open_time(minute_ms)
        if from_ms < begins_ms:
            self._gap(
                market,
                from_ms,
                begins_ms - 1,
                why or ("the feed was stopped" if before else "the feed began here"),
            )

    async def _go_on(self, market: Market, lane: Lane, place: Place) -> None:
        from_id = place.trade_id + 1 if lane.is_dense else None
        found, why = await self._fetched(market, Hole(from_id, None, place.event_time_ms, None))
        lane.take(found)
        if lane.is_dense:
            return  # ids will tell what is missing still
        reaches_ms = min((tick.event_time_ms for tick in found), default=lane.newest_waiting_ms())
        if reaches_ms > place.event_time_ms:
            self._gap(
                market, place.event_time_ms + 1, reaches_ms - 1, why or "the exchange gives no older trades"
            )

    async def _fill(self, market: Market, lane: Lane, hole: Hole) -> None:
        found, why = await self._fetched(market, hole)
        lane.take(found)
        left = lane.hole()
        if left is None or left.to_id is None or hole.to_id is None or left.to_id > hole.to_id:
            return
        self._gap(market, left.from_ms, left.to_ms or left.from_ms, why or "the exchange does not list them")
        lane.skip(hole)

    async def _fetched(self, market: Market, hole: Hole) -> tuple[list[Tick], str]:
        """What could be had, and why not more."""
        try:
            return await self._healer.fetch(market, hole), ""
        except CandlecastError as error:
            return [], str(error)

    def _gap(self, market: Market, from_ms: int, to_ms: int, reason: str) -> None:
        why = f"{market.exchange}: {reason}"
        self._reports.gap(Gap(market.symbol, from_ms, max(from_ms, to_ms), why, self._now_ms()))
