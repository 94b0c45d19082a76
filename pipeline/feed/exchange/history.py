"""The exchange's own closed candles in Redis, and how ours compare with them.

At the start as many as a chart shows, of every interval that the exchange has; then, every minute,
what has closed since: so a hole that a stop left is filled, too. Never published: history shows
them where ours are missing or known to be incomplete (``Store.history``).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import redis

from pipeline import keys
from pipeline.candle import candle_json
from pipeline.feed.exchange.markets import Market
from pipeline.gap import Agreement, Gap
from pipeline.market import Interval
from pipeline.retry import RETRYABLE

log = logging.getLogger(__name__)

SHOWN: Final = 500
"""Candles of the past fetched a symbol and interval: a chart's."""
AGAIN_S: Final = 60.0
SETTLED_MS: Final = 5_000
"""What an exchange may take to have a closed candle in its answers."""
INTERVALS: Final = (Interval.M1, Interval.M5, Interval.M15, Interval.H1)
"""Exchanges with candles of one second are few, and these are soon past."""
DAY_MINUTES: Final = 1_440
DIFFERING_KEPT: Final = 20

_COMPARED: Final = ("open", "high", "low", "close", "volume")


class ExchangeHistory:
    """Keeps the histories of one exchange's ``markets``. The caller owns both clients.

    ``exchange_ms``: the exchange's clock. ``limit``: candles kept, 0 for all. ``compares``: whether ours
    are of this exchange alone.
    """

    def __init__(
        self,
        client: Any,
        markets: Sequence[Market],
        store: redis.Redis,
        exchange_ms: Callable[[], int],
        limit: int,
        *,
        compares: bool = True,
    ) -> None:
        self._client = client
        self._markets = markets
        self._store = store
        self._exchange_ms = exchange_ms
        self._limit = limit
        self._compares = compares
        self._through: dict[tuple[str, Interval], int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        if not self._client.has.get("fetchOHLCV"):
            log.info("%s has no candles of its own to compare with", self._client.id)
            return
        while True:
            for interval in INTERVALS:
                for market in self._markets:
                    await self._update(market, interval)
            await asyncio.sleep(AGAIN_S)

    async def _update(self, market: Market, interval: Interval) -> None:
        """Fetch what has closed since the last time; nothing where nothing has."""
        try:
            newest_ms = interval.open_time(self._exchange_ms() - SETTLED_MS) - interval.ms
            through_ms = self._through.get((market.symbol, interval), newest_ms - SHOWN * interval.ms)
            if newest_ms > through_ms:
                found = await self._fetch(market, interval, through_ms + interval.ms, newest_ms)
                await asyncio.to_thread(self._write, market, interval, found)
                self._through[market.symbol, interval] = newest_ms
            if interval is Interval.M1 and self._compares:
                await asyncio.to_thread(self._compare, market.symbol)
        except RETRYABLE as error:
            log.info("%s: Redis takes no candles of the exchange now: %s", market.key, error)
        except Exception as error:
            # ccxt raises anything. What survives is the stream of trades: history is asked for again.
            log.warning("%s: candles of %s not to be had now: %.200s", market.key, interval.value, error)

    async def _fetch(self, market: Market, interval: Interval, from_ms: int, to_ms: int) -> list[list[Any]]:
        """Rows of open time, open, high, low, close, volume; pages as long as the exchange's are."""
        rows: dict[int, list[Any]] = {}
        while from_ms <= to_ms:
            count = min(SHOWN, (to_ms - from_ms) // interval.ms + 1)
            page = await self._client.fetch_ohlcv(market.name, interval.value, from_ms, count)
            fresh = {int(row[0]): row for row in page if from_ms <= int(row[0]) <= to_ms}
            rows |= fresh
            # A page may be shorter than what was asked for (300 at Coinbase): go on behind it. One
            # without candles is a time without trades, or before the market.
            from_ms = max(fresh) + interval.ms if fresh else from_ms + count * interval.ms
        return [rows[open_ms] for open_ms in sorted(rows)]

    def _write(self, market: Market, interval: Interval, rows: list[list[Any]]) -> None:
        texts = {}
        for row in rows:
            text = candle_text(market.symbol, interval, row)
            if text is None:
                log.warning("%s: an impossible candle of the exchange is left out: %.200s", market.key, row)
            else:
                texts[int(row[0])] = text
        if not texts:
            return
        place = keys.exchange_history(market.symbol, interval.value)
        with self._store.pipeline(transaction=True) as transaction:
            for open_ms, text in texts.items():
                transaction.zremrangebyscore(place, open_ms, open_ms)
                transaction.zadd(place, {text: open_ms})
            if self._limit:
                transaction.zremrangebyrank(place, 0, -self._limit - 1)
            transaction.sadd(keys.SYMBOLS, market.symbol)
            transaction.execute()

    def _compare(self, symbol: str) -> None:
        """Hold the last day's minutes against each other."""
        from_ms = Interval.M1.open_time(self._exchange_ms()) - DAY_MINUTES * Interval.M1.ms
        with self._store.pipeline(transaction=False) as pipe:
            for place in (keys.history, keys.exchange_history):
                pipe.zrangebyscore(place(symbol, "1m"), from_ms, "+inf")
            pipe.xrange(keys.GAPS)
            ours, theirs, gaps = pipe.execute()
        known = [Gap.from_json(fields[b"gap"]) for _, fields in gaps if b"gap" in fields]
        found = compare(ours, theirs, [gap for gap in known if gap.symbol == symbol], self._exchange_ms())
        if found.compared:
            self._store.hset(keys.AGREEMENT, symbol, found.to_json())


def compare(ours: Sequence[bytes], theirs: Sequence[bytes], gaps: Sequence[Gap], now_ms: int) -> Agreement:
    """Minutes that both have and no gap touches: how many are equal in open, high, low, close, volume."""
    kept = {candle["open_time_ms"]: candle for candle in map(_read, theirs)}
    compared, differing = 0, []
    for candle in map(_read, ours):
        other = kept.get(candle["open_time_ms"])
        if other is None or any(gap.overlaps(candle["open_time_ms"], Interval.M1.ms) for gap in gaps):
            continue
        compared += 1
        if any(candle[name] != other[name] for name in _COMPARED):
            differing.append(candle["open_time_ms"])
    newest = sorted(differing, reverse=True)[:DIFFERING_KEPT]
    return Agreement("1m", compared, compared - len(differing), newest, now_ms)


def candle_text(symbol: str, interval: Interval, row: Sequence[Any]) -> str | None:
    """The candle's JSON; None for what is none. What the exchange does not tell is 0."""
    try:
        open_ms, numbers = int(row[0]), [Decimal(str(number)) for number in row[1:6]]
    except (IndexError, InvalidOperation, TypeError, ValueError):
        return None
    if len(numbers) != 5 or not all(number.is_finite() for number in numbers):
        return None
    open, high, low, close, volume = numbers
    if not (0 < low <= min(open, close) and max(open, close) <= high and volume >= 0) or open_ms % interval.ms:
        return None
    text = candle_json(
        symbol, interval, open_ms, _plain(open), _plain(high), _plain(low), _plain(close), _plain(volume),
        quote_volume="0", taker_buy_volume="0",
        trade_count=0, is_closed=True, epoch=0, seq=0, published_at_ms=0,
    )  # fmt: skip
    return f'{text[:-1]},"source":"exchange"}}'


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")


def _read(text: bytes) -> dict[str, Any]:
    candle: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return candle
