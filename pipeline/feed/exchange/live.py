"""The live feed: the exchanges' trades into the streams, one write every FLUSH_MS, exactly once.

The position in Redis is a count of writes; the state beside it, in the same transaction, is the
last trade written of each market (``lane.Place``). A feed that starts again fetches from there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import numpy as np
import redis

from pipeline.entry import RECORD, Records
from pipeline.errors import SettingsError
from pipeline.feed.exchange.client import check_exchange
from pipeline.feed.exchange.gate import Gate
from pipeline.feed.exchange.history import ExchangeHistory
from pipeline.feed.exchange.lane import DENSE, Place
from pipeline.feed.exchange.markets import Market, check_all_found, choose, exchanges_of
from pipeline.feed.exchange.reports import Reports
from pipeline.feed.exchange.session import FIRST_WAIT_S, LONGEST_WAIT_S, Session, wall_clock_ms
from pipeline.feed.exchange.tick import Tick
from pipeline.feed.simulator import HEARTBEAT_MS
from pipeline.feed.stream import MAX_WRITE_TRADES, NO_TRADES, Position, Rejected
from pipeline.gap import Gap
from pipeline.market import Interval
from pipeline.settings import Settings

log = logging.getLogger(__name__)

TELL_MS: Final = 1_000
"""How often the feed says how it is, beside what it writes."""
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


class LiveFeed:
    """Streams ``exchanges`` into ``writer`` until its ``stop`` is set. One thread, one event loop.

    ``settings``: SYMBOLS, QUOTE, FLUSH_MS, OUT_OF_ORDER_MS, HISTORY_LIMIT and EXCHANGE_RELAY. ``client``
    is for the exchanges' own candles; the caller owns it. None: nobody wants them.
    """

    def __init__(
        self,
        settings: Settings,
        writer: Writer,
        exchanges: Sequence[str],
        client: redis.Redis | None,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._client = client
        self._now_ms = now_ms
        self._settings = settings
        self._writer = writer
        self._exchanges = tuple(exchanges)
        self._reports = Reports()
        self._gate = Gate()
        self._places: dict[str, Place] = {}
        self._sessions: list[Session] = []
        self._writes = 0
        self._number = 0
        self._newest_ms = 0
        self._heartbeat_ms = 0
        self._late: dict[str, int] = {}
        self._codes: dict[str, int] = {}

    def run(self) -> None:
        """Blocks. SettingsError names a symbol that no exchange has; FeedStopped, PositionMoved."""
        found = self._writer.resume()
        self._writes = int(found.position or 0)
        saved = json.loads(found.state) if found.state else {}
        self._places = {key: Place.from_list(place) for key, place in saved.items()}
        asyncio.run(self._main())

    async def _main(self) -> None:
        names = exchanges_of(self._settings.symbols, self._exchanges)
        self._codes = {name: code for code, name in enumerate(names)}
        self._sessions = [
            Session(
                name,
                self._places,
                self._reports,
                relay=self._settings.exchange_relay,
                held=self._gate.__len__,
                now_ms=self._now_ms,
            )
            for name in names
        ]
        lives = [asyncio.ensure_future(self._life(session)) for session in self._sessions]
        with ThreadPoolExecutor(1, "writer") as writing:
            try:
                await self._write_until_stopped(writing, lives)
            finally:
                for life in lives:
                    life.cancel()
                await asyncio.gather(*lives, return_exceptions=True)
                await asyncio.gather(*(session.close() for session in self._sessions), return_exceptions=True)

    async def _life(self, session: Session) -> None:
        await self._load_one(session)
        if all(one.is_loaded for one in self._sessions):
            found = [market for one in self._sessions for market in one.lanes]
            check_all_found(self._settings.symbols, found, self._settings.quote)
        if session.lanes:
            await asyncio.gather(session.run(), self._keep_history(session))
        session.state = "has none of SYMBOLS"
        await asyncio.Event().wait()

    async def _keep_history(self, session: Session) -> None:
        """Its candles beside ours; where several exchanges go into a symbol, the first one's stand in."""
        if self._client is None:
            return
        await session.has_time.wait()
        folded = [market for market in session.lanes if self._is_folded(market)]
        own = [market for market in session.lanes if market not in folded]
        if session.exchange != self._exchanges[0]:
            folded = []
        kept = [
            ExchangeHistory(
                session.client,
                markets,
                self._client,
                lambda: session.clock.exchange_ms(self._now_ms()),
                self._settings.history_limit,
                compares=markets is own,
            ).run()
            for markets in (own, folded)
            if markets
        ]
        await asyncio.gather(*kept)

    def _is_folded(self, market: Market) -> bool:
        return len(self._exchanges) > 1 and "@" not in market.symbol

    async def _load_one(self, session: Session) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                listed = await session.load()
            except Exception as error:
                # Whatever ccxt makes of an exchange that cannot be reached: another try may do.
                session.state = f"cannot be reached ({str(error).partition(chr(10))[0]:.150})"
                log.warning("%s: %s", session.exchange, session.state)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            session.carry(
                choose(session.exchange, listed, self._settings.symbols, self._settings.quote, self._exchanges)
            )
            return

    async def _write_until_stopped(
        self, writing: ThreadPoolExecutor, lives: Sequence[asyncio.Future[None]]
    ) -> None:
        told_s = 0.0
        while not self._writer.stop.is_set():
            await asyncio.sleep(max(self._settings.flush_ms, 1) / 1000)
            for life in lives:
                if life.done():
                    life.result()
            now_s = time.monotonic()
            limit_ms = self._collect(now_s)
            released = self._gate.release(limit_ms, MAX_WRITE_TRADES)
            heartbeat_ms = self._heartbeat(limit_ms)
            is_time_to_tell = now_s - told_s >= TELL_MS / 1000
            if not (released or heartbeat_ms or is_time_to_tell or self._reports.gaps):
                continue
            about = self._about() if is_time_to_tell else {}
            told_s = now_s if is_time_to_tell else told_s
            reports = self._reports.take()
            await self._in_thread(writing, self._write, released, heartbeat_ms, reports, about)

    def _collect(self, now_s: float) -> int | None:
        """Bring what is ready to the gate; up to which event time it may be passed."""
        for session in self._sessions:
            for market, ticks in session.ready():
                self._gate.add(market, ticks)
        return self._gate.limit_ms((one for session in self._sessions for one in session.blocked()), now_s)

    def _heartbeat(self, limit_ms: int | None) -> int:
        """Event time that every trade to come is behind; 0 where there is nothing new to say."""
        heard = [session.silent_until() for session in self._sessions if session.is_connected]
        known = [until_ms for until_ms in heard if until_ms is not None]
        if not known or len(known) < len(heard):
            return 0
        until_ms = min(known) if limit_ms is None else min(*known, limit_ms)
        oldest_ms = self._gate.oldest_ms()
        if oldest_ms is not None:
            until_ms = min(until_ms, oldest_ms)
        if until_ms < max(self._heartbeat_ms + HEARTBEAT_MS, self._newest_ms):
            return 0
        return until_ms

    def _write(
        self, released: Released, heartbeat_ms: int, reports: Reports, about: dict[str, str | int]
    ) -> None:
        """In the writer's thread: everything that there is to say, in one transaction."""
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
            self._heartbeat_ms = heartbeat_ms
            self._gate.told(heartbeat_ms)

    def _records(self, released: Released) -> tuple[list[str], Any]:
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
            self._newest_ms = max(self._newest_ms, tick.event_time_ms)
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
        watermark_ms = max(self._newest_ms, self._heartbeat_ms) - self._settings.out_of_order_ms
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

    def _about(self) -> dict[str, str | int]:
        about: dict[str, str | int] = {
            "state": "; ".join(f"{one.exchange}: {one.state}" for one in self._sessions)
        }
        offsets = sorted(one.clock.offset_ms for one in self._sessions if one.clock.offset_ms is not None)
        if offsets:
            about["clock_offset_ms"] = offsets[len(offsets) // 2]
        return about

    async def _in_thread(self, writing: ThreadPoolExecutor, call: Any, *arguments: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(writing, call, *arguments)


def detail(exchanges: Sequence[str]) -> str:
    """The sentence for the page."""
    return f"Live trades of {', '.join(exchanges)}"


def check_exchanges(exchanges: Sequence[str]) -> None:
    """SettingsError where FEED names one that there is not, or more than the ids have room for."""
    for name in exchanges:
        check_exchange(name)
    if len(exchanges) > 2**ID_BITS:
        raise SettingsError(f"FEED names {len(exchanges)} exchanges; at most {2**ID_BITS}")
