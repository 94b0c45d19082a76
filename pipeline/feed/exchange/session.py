"""One exchange, connected: takes its trades into lanes, connects again, heals what was missed."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.errors import CandlecastError, InvalidTrade, SettingsError
from pipeline.feed.exchange.client import MAKER_SIDED, open_client
from pipeline.feed.exchange.clock import ExchangeClock
from pipeline.feed.exchange.gate import Blocked
from pipeline.feed.exchange.healing import Healer
from pipeline.feed.exchange.lane import DENSE, Hole, Lane, Place
from pipeline.feed.exchange.markets import Market
from pipeline.feed.exchange.pulse import Pulse
from pipeline.feed.exchange.tick import Tick, read_tick
from pipeline.feed.plausible import check_received
from pipeline.feed.stream import Rejected
from pipeline.gap import Gap
from pipeline.market import Interval

log = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
STEADY_S: Final = 60.0
"""A connection that lasted so long was well: the next failure is the first."""
GRACE_S: Final = 0.25
"""What a missing id may take to come by itself, out of order, before it is asked for."""
HEAL_MS: Final = 15 * 60_000
"""Longest absence whose trades are fetched one by one; beyond it the exchange's candles stand in."""
TOO_MANY_HELD: Final = 500_000
"""Trades that may wait (120 MB). With more, Redis is away for long: the connection is given up, and
what comes meanwhile is fetched afterwards."""
_TICK_S: Final = 0.1
_SYMBOLS_A_WATCH: Final = 100


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Lost(CandlecastError):
    """The connection ended, or is to be made anew; the text says why."""


@dataclass
class Reports:
    """What the session tells the one who writes. Emptied by that one."""

    rejected: list[Rejected] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


class Session:
    """The markets of one exchange. Runs in one event loop; the caller awaits :meth:`run`, cancels it.

    ``places``: where the lanes go on, by Market.key. ``relay``: see ``client.through``.
    ``held``: how many trades wait to be written.
    """

    def __init__(
        self,
        exchange: str,
        places: dict[str, Place],
        reports: Reports,
        *,
        relay: str | None = None,
        held: Callable[[], int] = lambda: 0,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.exchange = exchange
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
        self._client = open_client(exchange, relay)
        self._flip = exchange in MAKER_SIDED
        self._healer = Healer(self._client, exchange, self._reject)
        self._by_name: dict[str, list[Market]] = {}
        self._pulses: dict[Market, Pulse] = {}
        self._blocked_since: dict[Market, float] = {}
        self._healing: dict[Market, asyncio.Task[None]] = {}
        self._holes: dict[Market, tuple[Hole, float]] = {}
        self._heard_s = 0.0
        self._lost = ""
        self._client.on_lost = self._note_lost
        self._client.on_bad_frame = self._bad_frame
        self._client.on_frame = self._frame

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
        listed: dict[str, Any] = await self._client.load_markets()
        self.is_loaded = True
        return listed

    def carry(self, markets: Sequence[Market]) -> None:
        """The markets to stream."""
        for market in markets:
            lane = Lane(self.exchange in DENSE, self._places.get(market.key))
            self.lanes[market] = lane
            self._by_name.setdefault(market.name, []).append(market)
            self._pulses[market] = Pulse()
        self._client.tap(list(self._by_name), self._take)

    @property
    def client(self) -> Any:
        """The ccxt client, for requests beside the stream."""
        return self._client

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
        for task in self._healing.values():
            task.cancel()
        await asyncio.gather(*self._healing.values(), return_exceptions=True)
        self._healing.clear()
        await self._client.close()

    async def _connection(self) -> None:
        """One life of the connection; Lost at its end."""
        self._lost, self._heard_s = "", 0.0
        names = list(self._by_name)
        if self._client.has.get("watchTradesForSymbols"):
            parts = [names[at : at + _SYMBOLS_A_WATCH] for at in range(0, len(names), _SYMBOLS_A_WATCH)]
            watches = [asyncio.ensure_future(self._client.watch_trades_for_symbols(part)) for part in parts]
        else:
            watches = [asyncio.ensure_future(self._client.watch_trades(name)) for name in names]
        try:
            await self._seed_clock()
            while True:
                self._check(watches)
                await asyncio.sleep(_TICK_S)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await self._client.close_ws_clients()

    async def _seed_clock(self) -> None:
        """Ask the exchange for its time, where it tells: before the first trade nobody else does."""
        if self.clock.offset_ms is not None or not self._client.has.get("fetchTime"):
            return
        try:
            asked_ms = self._now_ms()
            told_ms = await self._client.fetch_time()
            if told_ms:
                self.clock.seed(int(told_ms) - (asked_ms + self._now_ms()) // 2)
        except Exception as error:
            # Whatever ccxt makes of the answer: trades will tell the time. The connection survives.
            log.info("%s: does not tell its time: %s", self.exchange, error)

    def _check(self, watches: list[asyncio.Future[Any]]) -> None:
        """What is to be done now; Lost if the connection is not to be kept."""
        for watch in watches:
            # A watch ends with its first trade, and says only that; the taps bring the trades.
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
            if market not in self._healing:
                self._heal_if_needed(market, lane, now_s)

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
        for task in self._healing.values():
            task.cancel()
        self._healing.clear()
        self._holes.clear()

    # ---- what comes in

    def _frame(self) -> None:
        self._heard_s = time.monotonic()

    def _silent_for_s(self) -> float:
        """How long ago the connection was last known to live: by a frame, or by an answer to a ping."""
        pong_ms = max((client.lastPong or 0 for client in self._client.clients.values()), default=0)
        return min(time.monotonic() - self._heard_s, max(0.0, (wall_clock_ms() - pong_ms) / 1_000))

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
            self._reject(market, error, trade)
            return
        try:
            check_received(tick.event_time_ms, max(now_ms, self.clock.exchange_ms(now_ms)))
        except InvalidTrade as error:
            self.clock.refused(tick.event_time_ms, now_ms)
            self._reject(market, error, trade)
            return
        self.clock.add(tick.event_time_ms, now_ms)
        lane.take((tick,))
        self._pulses[market].beat(time.monotonic())
        if self._held() > TOO_MANY_HELD:
            self._note_lost("too many trades wait to be written")

    def _reject(self, market: Market, error: InvalidTrade, trade: Any) -> None:
        record = trade.get("info", trade) if isinstance(trade, dict) else trade
        self._reports.rejected.append(Rejected(error.reason, market.key, _text(record)))

    def _bad_frame(self, error: Exception, frame: Any) -> None:
        if not self._lost:
            self._reports.rejected.append(
                Rejected("frame could not be read", f"{self.exchange} {type(error).__name__}", _text(frame))
            )

    def _note_lost(self, reason: str) -> None:
        self._lost = self._lost or reason or "the connection ended"

    # ---- healing

    def _heal_if_needed(self, market: Market, lane: Lane, now_s: float) -> None:
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

    def _start(self, market: Market, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._healing[market] = task
        task.add_done_callback(lambda _: self._healing.pop(market, None))

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
        if self.clock.offset_ms is None and newest_ms:
            return newest_ms
        return max(newest_ms, self.clock.exchange_ms(self._now_ms()))

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
        gap = Gap(market.symbol, from_ms, max(from_ms, to_ms), f"{market.exchange}: {reason}", self._now_ms())
        log.warning("gap in %s from %d to %d: %s", *gap[:4])
        self._reports.gaps.append(gap)


def _text(record: Any) -> str:
    return repr(record)[:1_000]
