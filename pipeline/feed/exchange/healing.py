"""Fetches missing trades over REST, as each exchange can be asked: by id, or by time.

One page after another, through ccxt, which keeps the exchange's rate limit. What an exchange does
not give is for the caller to see: it compares what came with what was missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from pipeline.errors import InvalidTrade
from pipeline.feed.exchange.client import MAKER_SIDED, ExchangeError
from pipeline.feed.exchange.lane import Hole
from pipeline.feed.exchange.markets import Market
from pipeline.feed.exchange.tick import Tick, read_tick

log = logging.getLogger(__name__)

PAGE: Final = 1_000
"""Trades asked for at a time: the most that coinbase, binance and kraken give."""
MOST_PAGES: Final = 100
"""A hole of more than 100,000 trades is not worth its minutes of requests: it becomes a gap."""
TRIES: Final = 4
FIRST_PAUSE_S: Final = 0.5
_SLACK_MS: Final = 1_000
"""Times are asked for in whole seconds by some."""


class Healer:
    """Fetches through ``client`` (see ``client.open_client``), which the caller owns.

    ``rejected``: told of each trade that cannot be one.
    """

    def __init__(
        self, client: Any, exchange: str, rejected: Callable[[Market, InvalidTrade, Any], None]
    ) -> None:
        self._client = client
        self._flip = exchange in MAKER_SIDED
        self._rejected = rejected
        self._fetch = {
            "coinbaseexchange": self._by_id,
            "binance": self._by_id,
            "binanceus": self._by_id,
            "coinbase": self._by_time_down,
        }.get(exchange, self._by_time_up)
        self._page = self._binance_page if exchange.startswith("binance") else self._coinbase_page
        # A few at a time: ccxt spaces the requests, and each page is up to a thousand trades to parse.
        self._at_once = asyncio.Semaphore(4)

    async def fetch(self, market: Market, hole: Hole) -> list[Tick]:
        """Trades in and around ``hole``, in any order, as many as can be had. ExchangeError."""
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, TRIES + 1):
            try:
                async with self._at_once:
                    return await self._fetch(market, hole)
            except (ExchangeError, InvalidTrade):
                raise
            except Exception as error:
                # ccxt raises its own tree, aiohttp's and plain KeyErrors out of odd answers. All of
                # them mean: not this time. What survives is the feed, with a gap at the worst.
                log.warning("%s: fetching missing trades, attempt %d: %s", market.key, attempt, _words(error))
                if attempt == TRIES:
                    raise ExchangeError(f"{market.exchange} does not give them: {_words(error)}") from None
            await asyncio.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("unreachable")

    async def _by_id(self, market: Market, hole: Hole) -> list[Tick]:
        found: list[Tick] = []
        end = hole.to_id
        for _ in range(MOST_PAGES):
            page = self._read(market, await self._page(market, hole.from_id, end))
            found += page
            numbers = [tick.trade_id for tick in page if tick.has_number]
            oldest = min(numbers, default=0)
            is_older = bool(page) and min(tick.event_time_ms for tick in page) < hole.from_ms
            if not numbers or oldest <= (hole.from_id or 0) or (hole.from_id is None and is_older):
                break
            if end is not None and oldest > end:
                break  # nothing so old is given
            end = oldest - 1
        return found

    async def _coinbase_page(self, market: Market, _: int | None, end: int | None) -> Any:
        older = {} if end is None else {"after": str(end + 1)}
        return await self._client.fetch_trades(market.name, None, PAGE, older)

    async def _binance_page(self, market: Market, start: int | None, end: int | None) -> Any:
        listed = self._client.market(market.name)
        request: dict[str, Any] = {"symbol": listed["id"], "limit": PAGE}
        if end is not None:
            request["fromId"] = max(end - PAGE + 1, start or 0, 0)
            request["limit"] = end - request["fromId"] + 1
        answer = await self._client.publicGetHistoricalTrades(request)
        return self._client.parse_trades(answer, listed)

    async def _by_time_down(self, market: Market, hole: Hole) -> list[Tick]:
        found: list[Tick] = []
        until_ms = (hole.to_ms or self._client.milliseconds() + 60_000) + _SLACK_MS
        since_ms = hole.from_ms - _SLACK_MS
        for _ in range(MOST_PAGES):
            answer = await self._client.fetch_trades(market.name, since_ms, PAGE, {"until": until_ms})
            page = self._read(market, answer)
            found += page
            oldest_ms = min((tick.event_time_ms for tick in page), default=0)
            if len(answer) < PAGE or oldest_ms <= hole.from_ms or oldest_ms + _SLACK_MS >= until_ms:
                break
            until_ms = oldest_ms + _SLACK_MS
        return found

    async def _by_time_up(self, market: Market, hole: Hole) -> list[Tick]:
        found: list[Tick] = []
        since_ms = hole.from_ms - _SLACK_MS
        for _ in range(MOST_PAGES):
            answer = await self._client.fetch_trades(market.name, since_ms, PAGE)
            page = self._read(market, answer)
            found += page
            newest_ms = max((tick.event_time_ms for tick in page), default=0)
            there = hole.to_id is not None and any(tick.trade_id >= hole.to_id for tick in page)
            if len(answer) < PAGE or there or newest_ms <= since_ms:
                break
            since_ms = newest_ms
        return found

    def _read(self, market: Market, trades: Any) -> list[Tick]:
        ticks = []
        for trade in trades:
            try:
                ticks.append(read_tick(trade, self._flip))
            except InvalidTrade as error:
                self._rejected(market, error, trade)
        return ticks


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:200]
