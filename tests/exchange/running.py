"""A live feed that runs in a thread, against the loopback server and a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from pipeline import keys
from pipeline.entry import END_OF_STREAM
from pipeline.feed.exchange.live import LiveFeed, detail
from pipeline.feed.patience import FeedStopped
from pipeline.feed.stream import TradeWriter
from pipeline.feed.takeover import EXCHANGE_FEED
from pipeline.gap import Gap
from pipeline.market import (
    INTERVALS,
    PRICE_DECIMALS,
    QUANTITY_DECIMALS,
    Interval,
    decimal_text,
    scale,
)
from pipeline.settings import Settings
from pipeline.store import Store
from tests.candles import wait_until
from tests.exchange.exchanges import (
    Binance,
    Coinbase,
    CoinbaseExchange,
    binance_trades,
    coinbase_exchange_trades,
    coinbase_trades,
)
from tests.exchange.server import Exchange, RawTrade, Relay
from tests.feeding import Written, written
from tests.golden import Deal, Folded, golden, read
from tests.writing import Shard

OURS = {"BTC-USD": "BTC", "ETH-USD": "ETH", "BTCUSDT": "BTC", "ETHUSDT": "ETH"}


def recorded_exchange(name: str, folder: Path) -> tuple[Exchange, list[RawTrade]]:
    """A server of the exchange of that name, to which nothing has happened yet, and its trades."""
    if name == "coinbaseexchange":
        return CoinbaseExchange(), list(coinbase_exchange_trades(folder))
    if name == "binance":
        return Binance(), list(binance_trades(folder))
    exchange = Coinbase()
    trades, exchange.products = coinbase_trades(folder)
    return exchange, list(trades)


class Running:
    """``LiveFeed`` in a thread; a context manager that stops it and passes on what ended it.

    Its clock is the exchanges' own, which stands still between their trades, so that nothing depends
    on how fast the test is. ``now_ms``: another clock.
    """

    def __init__(
        self,
        client: redis.Redis,
        relay: Relay,
        exchanges: Sequence[str],
        symbols: Sequence[str],
        now_ms: Callable[[], int] | None = None,
        **settings: Any,
    ) -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None
        given = replace(Settings(), symbols=tuple(symbols), exchange_relay=relay.url, **settings)
        writer = TradeWriter(
            client, given, EXCHANGE_FEED, source=",".join(exchanges), detail=detail(exchanges), stop=self.stop
        )
        self.feed = LiveFeed(given, writer, exchanges, client, now_ms or relay.now_ms)
        self._thread = threading.Thread(target=self._run, name="live feed", daemon=True)

    def _run(self) -> None:
        try:
            self.feed.run()
        except FeedStopped:
            pass
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), "the feed did not stop"
        if self.error is not None:
            raise self.error

    def ended(self) -> BaseException:
        """What ended the feed."""
        self._thread.join(20)
        assert self.error is not None, "the feed goes on, or ended in peace"
        error, self.error = self.error, None
        return error


def told(trades: Iterable[RawTrade]) -> list[Written]:
    """``trades`` as they must stand in the stream, by market and id."""
    rows = [
        Written(OURS[one.market], one.id, one.time_ms, plain(one.price, PRICE_DECIMALS),
                plain(one.size, QUANTITY_DECIMALS), int(one.side == "buy"))
        for one in trades
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row.symbol, row.trade_id))


def plain(text: str, decimals: int) -> str:
    return decimal_text(scale(text, decimals), decimals)


def heard(client: redis.Redis) -> list[Written]:
    """What stands in the stream, by market and id."""
    return sorted(written(client), key=lambda row: (row.symbol, row.trade_id))


def wait_for(client: redis.Redis, trades: Iterable[RawTrade]) -> None:
    """Until at least as many stand in the stream."""
    count = len(list(trades))
    wait_until(lambda: int(client.hget(keys.FEED, "trades") or 0) >= count, 60)


def folded_candles(client: redis.Redis, interval: Interval) -> tuple[Folded, int]:
    """Closed candles that the job's own steps make of the stream, and how many trades were late."""
    shard = Shard()
    place = INTERVALS.index(interval)
    matrices, late = [], 0
    found = [fields for _, fields in client.xrange(keys.trades_stream(0))]
    for fields in [*found, {b"heartbeat": b"%d" % END_OF_STREAM}]:
        revisions = shard.poll(fields)
        matrices.append(revisions.closed[place])
        late += len(revisions.batch.late)
    names = list(shard.position.symbols)
    candles: Folded = {}
    for matrix in matrices:
        for (code, open_ms), sums in read(matrix).items():
            candles[sorted(names).index(names[code]), open_ms] = sums
    return dict(sorted(candles.items())), late


def true_candles(trades: Iterable[RawTrade], interval: Interval) -> Folded:
    """The same from ``trades`` themselves, by code that shares nothing with ours."""
    trades = list(trades)
    names = sorted({OURS[one.market] for one in trades})
    return golden(
        [
            Deal(names.index(OURS[one.market]), one.time_ms, one.id, scale(one.price, PRICE_DECIMALS),
                 scale(one.size, QUANTITY_DECIMALS), one.side == "buy")
            for one in trades
        ],
        interval,
    )  # fmt: skip


def gaps(client: redis.Redis) -> list[Gap]:
    """All that were recorded, oldest first, but for those of the beginning."""
    return [gap for gap in reversed(Store(client).gaps(1_000)) if "began here" not in gap.reason]


def state(client: redis.Redis) -> str:
    return (client.hget(keys.FEED, "state") or b"").decode()
