"""The live feed: the exchanges' trades into the streams, one write every FLUSH_MS, exactly once.

What a write holds, and where a feed that starts again goes on: ``tick_writer``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import redis

from pipeline import wall_clock
from pipeline.errors import SettingsError
from pipeline.feed.exchange.client import check_exchange
from pipeline.feed.exchange.gate import Gate
from pipeline.feed.exchange.history import ExchangeHistory
from pipeline.feed.exchange.lane import Place
from pipeline.feed.exchange.markets import Market, check_all_found, choose, exchanges_of
from pipeline.feed.exchange.reports import Reports
from pipeline.feed.exchange.session import FIRST_WAIT_S, LONGEST_WAIT_S, Session
from pipeline.feed.exchange.tick_writer import ID_BITS, TickWriter, Writer
from pipeline.feed.simulator import HEARTBEAT_MS
from pipeline.feed.stream import MAX_WRITE_TRADES
from pipeline.settings import Settings

log = logging.getLogger(__name__)

TELL_MS: Final = 1_000
"""How often the feed says how it is, beside what it writes."""


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
        now_ms: Callable[[], int] = wall_clock.now_ms,
    ) -> None:
        self._client = client
        self._now_ms = now_ms
        self._settings = settings
        self._stop = writer.stop
        self._writer = TickWriter(writer, settings.out_of_order_ms, now_ms)
        self._exchanges = tuple(exchanges)
        self._reports = Reports()
        self._gate = Gate()
        self._sessions: list[Session] = []

    def run(self) -> None:
        """Blocks. SettingsError names a symbol that no exchange has; FeedStopped, PositionMoved."""
        names = exchanges_of(self._settings.symbols, self._exchanges)
        places = self._writer.resume(names)
        asyncio.run(self._main(names, places))

    async def _main(self, names: Sequence[str], places: Mapping[str, Place]) -> None:
        self._sessions = [
            Session(
                name,
                places,
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
        while not self._stop.is_set():
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
            # In a thread: Redis may be away for as long as it likes, the exchange is heard all the same.
            await asyncio.get_running_loop().run_in_executor(
                writing, self._writer.write, released, heartbeat_ms, reports, about
            )
            if heartbeat_ms:
                self._gate.told(heartbeat_ms)

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
        if until_ms < max(self._writer.heartbeat_ms + HEARTBEAT_MS, self._writer.newest_ms):
            return 0
        return until_ms

    def _about(self) -> dict[str, str | int]:
        about: dict[str, str | int] = {
            "state": "; ".join(f"{one.exchange}: {one.state}" for one in self._sessions)
        }
        offsets = sorted(one.clock.offset_ms for one in self._sessions if one.clock.offset_ms is not None)
        if offsets:
            about["clock_offset_ms"] = offsets[len(offsets) // 2]
        return about


def detail(exchanges: Sequence[str]) -> str:
    """The sentence for the page."""
    return f"Live trades of {', '.join(exchanges)}"


def check_exchanges(exchanges: Sequence[str]) -> None:
    """SettingsError where FEED names one that there is not, or more than the ids have room for."""
    for name in exchanges:
        check_exchange(name)
    if len(exchanges) > 2**ID_BITS:
        raise SettingsError(f"FEED names {len(exchanges)} exchanges; at most {2**ID_BITS}")
