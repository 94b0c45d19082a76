"""What the candles must be, by pandas and Python's exact integers, and how Redis's differ from that.

Shares no code with the fold: a group-by of the trades themselves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

import pandas as pd
import redis

from pipeline import keys
from pipeline.market import INTERVALS, Interval

Values = tuple[Decimal, Decimal, Decimal, Decimal, Decimal, Decimal, Decimal, int]
"""Open, high, low, close, volume, quote volume, taker-buy volume, trade count."""
Candles = dict[tuple[str, str, int], Values]
"""(symbol, interval, open time in ms) -> what the candle must say."""
_FIELDS = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume")


@dataclass
class Differences:
    """How the closed candles in Redis differ from the golden ones; all zero where they are equal."""

    candles: int = 0
    missing: int = 0
    doubled: int = 0
    different: int = 0

    def __add__(self, other: Differences) -> Differences:
        return Differences(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def wrong(self) -> int:
        return self.missing + self.doubled + self.different


def golden(trades: pd.DataFrame) -> Candles:
    """The candles of ``trades`` (rows of a tape, each once) at all five intervals."""
    ordered = trades.sort_values(["event_time_ms", "trade_id"])
    ordered = ordered.assign(
        quote=[
            price * quantity
            for price, quantity in zip(ordered["price"].tolist(), ordered["quantity"].tolist(), strict=True)
        ],
        taker=ordered["quantity"].where(ordered["is_buy"], 0),
    )
    ordered["quote"] = ordered["quote"].astype(object)  # past 64 bits: Python's own integers
    return {key: candle for interval in INTERVALS for key, candle in _group(ordered, interval)}


def _group(ordered: pd.DataFrame, interval: Interval) -> Any:
    windows = ordered.assign(window=ordered["event_time_ms"] // interval.ms * interval.ms)
    for (symbol, window), group in windows.groupby(["symbol", "window"], sort=False):
        prices = group["price"]
        yield (
            (symbol, interval.value, int(window)),
            (
                *(
                    _exact(int(price), 10)
                    for price in (prices.iloc[0], prices.max(), prices.min(), prices.iloc[-1])
                ),
                _exact(int(group["quantity"].sum()), 8),
                _exact(sum(group["quote"]), 18),
                _exact(int(group["taker"].sum()), 8),
                len(group),
            ),
        )


def _exact(units: int, decimals: int) -> Decimal:
    return Decimal(f"{units}e-{decimals}")


def compare(client: redis.Redis, wanted: Candles) -> Differences:
    """Hold every closed candle that Redis keeps against ``wanted``; one that nobody wanted is different."""
    found = Differences(candles=len(wanted))
    seen: set[tuple[str, str, int]] = set()
    symbols = {symbol for symbol, _, _ in wanted} | {name.decode() for name in _members(client)}
    for symbol in symbols:
        for interval in INTERVALS:
            members: Any = client.zrange(keys.history(symbol, interval.value), 0, -1)
            for text in members:
                candle = json.loads(text, parse_float=Decimal, parse_int=Decimal)
                key = (symbol, interval.value, int(candle["open_time_ms"]))
                if key in seen:
                    found.doubled += 1
                elif key not in wanted or _values(candle) != wanted[key] or not candle["is_closed"]:
                    found.different += 1
                seen.add(key)
    found.missing = len(wanted.keys() - seen)
    return found


def _members(client: redis.Redis) -> Any:
    return client.smembers(keys.SYMBOLS)


def _values(candle: dict[str, Any]) -> Values:
    return (*(Decimal(candle[name]) for name in _FIELDS), int(candle["trade_count"]))  # type: ignore[return-value]
