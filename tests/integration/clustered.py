"""What tests of the job on a cluster share: trades of several shards in parts, and the candles they make."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import redis

from pipeline import keys
from pipeline.candle import Candle
from pipeline.cli.export import closed_candles
from pipeline.entry import RECORD
from pipeline.feed.stream import TradeWriter, shard_of
from pipeline.market import INTERVALS, PRICE_DECIMALS, QUANTITY_DECIMALS
from pipeline.settings import Settings
from tests.golden import Deal, golden, golden_candle
from tests.integration.processes import wait_until

START_MS = 1_700_000_040_000
SYMBOLS = [f"S{number:02d}" for number in range(16)]
MINUTES = 4
PER_SECOND = 100

Key = tuple[str, str, int]


class Market:
    """Seeded trades of SYMBOLS over MINUTES, neighbours in disorder, written in equal parts."""

    def __init__(self, client: redis.Redis, settings: Settings, parts: int) -> None:
        assert {shard_of(symbol, settings.shards) for symbol in SYMBOLS} == set(range(settings.shards))
        self.deals = _deals(random.Random(11))
        self._client = client
        self._shards = settings.shards
        self._parts = np.array_split(np.arange(len(self.deals)), parts)
        self._written = 0
        self._writer = TradeWriter(client, settings, "test", source="test")
        self._writer.resume()

    def write(self) -> None:
        """The next part."""
        part = self._parts.pop(0)
        for start in range(0, len(part), 500):
            deals = [self.deals[number] for number in part[start : start + 500]]
            self._written += len(deals)
            self._writer.write(SYMBOLS, _records(deals), str(self._written))

    def end(self) -> None:
        """What is left, and the word that no more will come."""
        while self._parts:
            self.write()
        self._writer.end_of_stream()

    def wait_until_folded(self, within_s: float = 180.0) -> None:
        """Until the job has come to the end of each shard's stream."""
        wait_until(self._is_folded, within_s, f"the job does not come to the end: {self._progress()}")

    def _is_folded(self) -> bool:
        return all(
            newest and position == newest[0][0]
            for newest, position in (
                (self._client.xrevrange(keys.trades_stream(shard), count=1), self._position(shard))
                for shard in range(self._shards)
            )
        )

    def _position(self, shard: int) -> object:
        return self._client.hget(keys.progress(shard), "position")

    def _progress(self) -> list[object]:
        return [self._client.hgetall(keys.progress(shard)) for shard in range(self._shards)]

    def golden(self) -> dict[Key, Candle]:
        """Every candle that these trades make, by the slow exact fold."""
        return {
            (SYMBOLS[symbol], interval.value, open_time_ms): golden_candle(
                SYMBOLS[symbol], interval, open_time_ms, sums
            )
            for interval in INTERVALS
            for (symbol, open_time_ms), sums in golden(self.deals, interval).items()
        }


def closed(client: redis.Redis) -> dict[Key, Candle]:
    """Every closed candle in Redis, without the numbers of its publishing."""
    found: dict[Key, Candle] = {}
    for candle in closed_candles(client):
        key = (candle.symbol, candle.interval.value, candle.open_time_ms)
        assert key not in found, f"{key} is there twice"
        found[key] = replace(candle, epoch=0, seq=0, published_at_ms=0)
    return found


def _deals(dice: random.Random) -> list[Deal]:
    deals = []
    for number in range(MINUTES * 60 * PER_SECOND):
        price = 10**PRICE_DECIMALS * dice.randrange(90_000, 110_000) // 1_000
        size = dice.randrange(1, 5 * 10**QUANTITY_DECIMALS)
        time_ms = START_MS + number * 1_000 // PER_SECOND
        deals.append(Deal(dice.randrange(len(SYMBOLS)), time_ms, number, price, size, dice.random() < 0.5))
    # Up to 0.4 s late: within what the watermark allows for.
    return sorted(deals, key=lambda deal: deal.time_ms + dice.randrange(400))


def _records(deals: list[Deal]) -> np.ndarray:
    records = np.zeros(len(deals), RECORD)
    for name, column in (
        ("symbol", "symbol"), ("event_time_ms", "time_ms"), ("trade_id", "id"),
        ("price", "price"), ("quantity", "quantity"), ("side", "is_buy"),
    ):  # fmt: skip
        records[name] = [getattr(deal, column) for deal in deals]
    return records
