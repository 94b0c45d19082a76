"""One exchange, connected: takes its trades into lanes, connects again, has what was missed mended."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pipeline import wall_clock
from pipeline.errors import CandlecastError, InvalidTrade, SettingsError
from pipeline.feed.exchange.client import MAKER_SIDED, open_client
from pipeline.feed.exchange.clock import ExchangeClock
from pipeline.feed.exchange.gate import Blocked
from pipeline.feed.exchange.healing import Healer
from pipeline.feed.exchange.lane import DENSE, Lane, Place
from pipeline.feed.exchange.markets import Market
from pipeline.feed.exchange.mending import Mender
from pipeline.feed.exchange.pulse import Pulse
from pipeline.feed.exchange.reports import Reports
from pipeline.feed.exchange.tick import Tick, read_tick
from pipeline.feed.plausible import check_received

log = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
STEADY_S: Final = 60.0
"""A connection that lasted so long was well: the next failure is the first."""
TOO_MANY_HELD: Final = 500_000
"""Trades that may wait (120 MB). With more, Redis is away for long: the connection is given up, and
what comes meanwhile is fetched afterwards."""
_TICK_S: Final = 0.1


class Lost(CandlecastError):
    """The connection ended, or is to be made anew; the text says why."""


class Session:
    """The markets of one exchange. Runs in one event loop; the caller awaits :meth:`run`, cancels it.

    ``places``: where the lanes go on, by Market.key. ``relay``: see ``client.through``.
    ``held``: how many trades wait to be written.
    """

    def __init__(
        self,
        exchange: str,
        places: Mapping[str, Place],
        reports: Reports,
        *,
        relay: str | None = None,
        held: Callable[[], int] = lambda: 0,
        now_ms: Callable[[], int] = wall_clock.now_ms,
    ) -> None:
        self.exchange = exchange
        self.client = open_client(exchange, relay)
        """For requests beside the stream. The session closes it."""
        self.clock = ExchangeClock()
        self.has_time = asyncio.Event()
        """Set once the clock knows the exchange's time."""
        self.lanes: dict[Market, Lane] = {}
        self.state = "connecting"
        self.is_connected = False
        self.is_loaded = False
        self._places = places
        self._reports = reports
        self._held = held
        self._now_ms = now_ms
        self._flip = exchange in MAKER_SIDED
        self._mender = Mender(Healer(self.client, exchange, reports.bad_trade), self.clock, reports, now_ms)
        self._by_name: dict[str, list[Market]] = {}
        self._pulses: dict[Market, Pulse] = {}
        self._blocked_since: dict[Market, float] = {}
        self._lost, self._heard_s = "", 0.0
        self.client.on_lost = self._note_lost
        self.client.on_bad_frame = self._bad_frame
        self.client.on_frame = self._frame

    # ---- what the writer asks

    def ready(self) -> list[tuple[Market, list[Tick]]]:
        """Trades that may leave their lanes now."""
        return [(market, ticks) for market, lane in self.lanes.items() if (ticks := lane.ready())]

    def blocked(self) -> list[Blocked]:
        """Markets with something missing."""
        blocked = []
        for market, lane in self.lanes.items():
            if lane.is_open and not lane.has_hole:
                self._blocked_since.pop(market, None)
                continue
            since_s = self._blocked_since.setdefault(market, time.monotonic())
            blocked.append(Blocked(lane.place.event_time_ms if lane.place else 0, since_s))
        return blocked

    def silent_until(self) -> int | None:
        """Event time up to which this exchange has nothing more to say; None while it cannot be heard."""
        if not self.is_connected:
            return None
        return self.clock.silent_until(self._now_ms() - int(1_000 * self._silent_for_s()))

    # ---- life

    async def load(self) -> dict[str, Any]:
        """The exchange's markets, by name. ccxt's errors."""
        listed: dict[str, Any] = await self.client.load_markets()
        self.is_loaded = True
        return listed

    def carry(self, markets: Sequence[Market]) -> None:
        """The markets to stream."""
        for market in markets:
            lane = Lane(self.exchange in DENSE, self._places.get(market.key))
            self.lanes[market] = lane
            self._by_name.setdefault(market.name, []).append(market)
            self._pulses[market] = Pulse()
        self.client.tap(list(self._by_name), self._take)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        while True:
            began_s = time.monotonic()
            try:
                await self._connection()
            except (Lost, SettingsError) as lost:
                self._disconnected(str(lost))
            if time.monotonic() - began_s > STEADY_S:
                failures = 0
            failures += 1
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures - 1, 10)) * random.uniform(0.5, 1)  # noqa: S311  jitter
            log.warning("%s: %s; connecting again in %.1f s", self.exchange, self.state, wait_s)
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """End what :meth:`run` left. Safe to call again."""
        await self._mender.close()
        await self.client.close()

    async def _connection(self) -> None:
        """One life of the connection; Lost at its end."""
        self._lost, self._heard_s = "", 0.0
        watches = self.client.watch_all(list(self._by_name))
        try:
            await self._seed_clock()
            while True:
                self._check(watches)
                await asyncio.sleep(_TICK_S)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await self.client.close_ws_clients()

    async def _seed_clock(self) -> None:
        """Ask the exchange for its time, where it tells: before the first trade nobody else does."""
        if self.clock.offset_ms is not None or not self.client.has.get("fetchTime"):
            return
        try:
            asked_ms = self._now_ms()
            told_ms = await self.client.fetch_time()
            if told_ms:
                self.clock.seed(int(told_ms) - (asked_ms + self._now_ms()) // 2)
        except Exception as error:
            # Whatever ccxt makes of the answer: trades will tell the time. The connection survives.
            log.info("%s: does not tell its time: %s", self.exchange, error)

    def _check(self, watches: list[asyncio.Future[Any]]) -> None:
        """What is to be done now; Lost if the connection is not to be kept."""
        for watch in watches:
            if watch.done() and not watch.cancelled() and (error := watch.exception()):
                raise Lost(str(error).partition("\n")[0][:200] or type(error).__name__)
        if self._lost:
            raise Lost(self._lost)
        if not self._heard_s:
            return
        if not self.is_connected:
            self._connected()
        if self.clock.offset_ms is not None:
            self.has_time.set()
        now_s = time.monotonic()
        for market, lane in self.lanes.items():
            if self._pulses[market].is_silent(now_s):
                self._pulses[market].reconnected(now_s)
                raise Lost(f"{market.name} has been silent for too long")
            self._mender.see_to(market, lane, now_s)

    def _connected(self) -> None:
        self.is_connected, self.state = True, "connected"
        log.info("%s: connected, %d markets", self.exchange, len(self.lanes))
        now_s = time.monotonic()
        for market, pulse in self._pulses.items():
            pulse.connected(now_s)
            self._blocked_since[market] = now_s

    def _disconnected(self, reason: str) -> None:
        self.is_connected, self.state = False, f"reconnecting ({reason})"
        for lane in self.lanes.values():
            lane.is_open = False
        self._mender.stop()

    # ---- what comes in

    def _frame(self) -> None:
        self._heard_s = time.monotonic()

    def _silent_for_s(self) -> float:
        """How long ago the connection was last known to live: by a frame, or by an answer to a ping."""
        pong_ms: int = self.client.last_pong_ms()
        return min(time.monotonic() - self._heard_s, max(0.0, (wall_clock.now_ms() - pong_ms) / 1_000))

    def _take(self, name: str, trade: dict[str, Any]) -> None:
        if self._lost:
            return  # the connection is given up: what it still brings is fetched later
        for market in self._by_name.get(name, ()):
            self._take_for(market, trade)

    def _take_for(self, market: Market, trade: dict[str, Any]) -> None:
        lane, now_ms = self.lanes[market], self._now_ms()
        try:
            tick = read_tick(trade, self._flip, needs_number=lane.is_dense)
        except InvalidTrade as error:
            self._reports.bad_trade(market, error, trade)
            return
        try:
            check_received(tick.event_time_ms, max(now_ms, self.clock.exchange_ms(now_ms)))
        except InvalidTrade as error:
            self.clock.refused(tick.event_time_ms, now_ms)
            self._reports.bad_trade(market, error, trade)
            return
        self.clock.add(tick.event_time_ms, now_ms)
        lane.take((tick,))
        self._pulses[market].beat(time.monotonic())
        if self._held() > TOO_MANY_HELD:
            self._note_lost("too many trades wait to be written")

    def _bad_frame(self, error: Exception, frame: Any) -> None:
        if not self._lost:
            self._reports.bad_frame(self.exchange, error, frame)

    def _note_lost(self, reason: str) -> None:
        self._lost = self._lost or reason or "the connection ended"
