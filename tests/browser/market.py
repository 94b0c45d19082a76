"""A small market that publishes candles exactly as the sink does: for tests of the pages.

It folds its own trades, so that every test knows what the chart must show.
"""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from decimal import Decimal

import redis

from pipeline import keys
from pipeline.candle import Candle
from pipeline.market import INTERVALS, Interval
from pipeline.wall_clock import now_ms

START = {
    "BTC": ("65000.00", "0.05"),
    "ETH": ("3400.00", "0.9"),
    "SOL": ("187.00", "12"),
    "DOGE": ("0.15870", "9000"),
}


class Market:
    """Candles of a few symbols. Safe to use from one thread at a time, plus its own with `run`."""

    def __init__(self, client: redis.Redis, seed: int = 5) -> None:
        self._client = client
        self._random = random.Random(seed)
        self._open: dict[tuple[str, Interval], Candle] = {}
        self._seq: dict[tuple[str, Interval], int] = {}
        self._epoch = now_ms()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.prices = {symbol: Decimal(price) for symbol, (price, _) in START.items()}

    def past(self, minutes: int) -> None:
        """Write history: a trade every 10 s until now, for every symbol."""
        time_ms = now_ms() - minutes * 60_000
        while time_ms < now_ms():
            for symbol in START:
                self.trade(symbol, at_ms=time_ms)
            time_ms += 10_000

    def trade(self, symbol: str, price: str | None = None, at_ms: int | None = None) -> Candle:
        """One trade, published at once in every interval; answers the forming minute."""
        at_ms = now_ms() if at_ms is None else at_ms
        first = Decimal(START[symbol][0])
        pull = float(first / self.prices[symbol]) - 1
        step = Decimal(1 + self._random.gauss(0.02 * pull, 0.0004))
        moved = (self.prices[symbol] * step).quantize(first)
        self.prices[symbol] = Decimal(price) if price else moved
        size = (Decimal(START[symbol][1]) * Decimal(self._random.uniform(0.1, 2))).quantize(Decimal("1e-8"))
        with self._lock, self._client.pipeline(transaction=True) as pipe:
            written_ms = now_ms()
            pipe.sadd(keys.SYMBOLS, symbol)
            self._close_older(pipe, symbol, at_ms, written_ms)
            for interval in INTERVALS:
                self._fold(symbol, interval, at_ms, self.prices[symbol], size)
                self._publish(pipe, symbol, interval, written_ms)
            pipe.hset(keys.progress(0), mapping={"updated_at_ms": written_ms, "event_time_ms": at_ms})
            pipe.execute()
            return self._open[symbol, Interval.M1]

    def closed_since(self, symbol: str, time_ms: int) -> set[int]:
        """Open times of the 1s candles from ``time_ms`` on that have closed."""
        found = self._client.zrangebyscore(keys.history(symbol, "1s"), Interval.S1.open_time(time_ms), "+inf")
        return {Candle.from_json(text).open_time_ms for text in found}

    def run(self, every_s: float = 0.1) -> None:
        """Trade every symbol this often, in a thread, until :meth:`stop`; survives a Redis that is away."""
        self._thread = threading.Thread(target=self._loop, args=(every_s,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(10)
            assert not self._thread.is_alive()

    def describe_feed(self) -> None:
        """What the feed says of itself."""
        self._client.hset(
            keys.FEED,
            mapping={
                "source": "simulator",
                "simulated": 1,
                "detail": "",
                "trades": 1,
                "updated_at_ms": now_ms(),
            },
        )

    def _loop(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            for symbol in START:
                try:
                    self.trade(symbol)
                except redis.RedisError:
                    continue  # away or loading: like the sink, go on when it is back

    def _close_older(self, pipe: redis.client.Pipeline, symbol: str, at_ms: int, written_ms: int) -> None:
        for interval in INTERVALS:
            held = self._open.get((symbol, interval))
            if held and held.close_time_ms <= at_ms:
                self._open[symbol, interval] = replace(held, is_closed=True)
                self._publish(pipe, symbol, interval, written_ms)
                del self._open[symbol, interval]

    def _fold(self, symbol: str, interval: Interval, at_ms: int, price: Decimal, size: Decimal) -> None:
        held = self._open.get((symbol, interval)) or Candle(
            symbol, interval, interval.open_time(at_ms), price, price, price, price,
            Decimal(0), Decimal(0), Decimal(0), 0, is_closed=False,
        )  # fmt: skip
        self._open[symbol, interval] = replace(
            held,
            high=max(held.high, price),
            low=min(held.low, price),
            close=price,
            volume=held.volume + size,
            quote_volume=held.quote_volume + size * price,
            trade_count=held.trade_count + 1,
        )

    def _publish(self, pipe: redis.client.Pipeline, symbol: str, interval: Interval, written_ms: int) -> None:
        key = (symbol, interval)
        self._seq[key] = self._seq.get(key, 0) + 1
        candle = replace(self._open[key], epoch=self._epoch, seq=self._seq[key], published_at_ms=written_ms)
        text = candle.to_json()
        if interval is Interval.M1:
            pipe.setex(keys.latest(symbol), 3600, text)
        if candle.is_closed:
            history = keys.history(symbol, interval.value)
            pipe.zremrangebyscore(history, candle.open_time_ms, candle.open_time_ms)
            pipe.zadd(history, {text: candle.open_time_ms})
        pipe.publish(keys.UPDATES_CHANNEL, text)
