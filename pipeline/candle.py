"""What a candle is, and its JSON and CSV."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pipeline.errors import InvalidCandle
from pipeline.market import LATEST_MS, Interval, is_symbol, json_number

_DECIMAL_FIELDS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume")
CSV_HEADER: Final = ("symbol", "interval", "open_time_ms", *_DECIMAL_FIELDS, "trade_count")


@dataclass(frozen=True, slots=True)
class Candle:
    """One OHLCV window of one symbol: ``open_time_ms`` inclusive, ``close_time_ms`` exclusive.

    ``volume`` and ``taker_buy_volume`` are in the base currency, ``quote_volume`` in the quote
    currency. ``seq`` grows by one with each revision of the same symbol and interval within an
    ``epoch`` (one life of the writer); both are 0 in a candle that was not published.
    """

    symbol: str
    interval: Interval
    open_time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    taker_buy_volume: Decimal
    trade_count: int
    is_closed: bool
    epoch: int = 0
    seq: int = 0
    published_at_ms: int = 0

    def __post_init__(self) -> None:
        if not self._is_sound():
            raise InvalidCandle(f"a field has the wrong type or value: {self!r:.300}")
        if not (self.low <= self.open <= self.high and self.low <= self.close <= self.high):
            raise InvalidCandle(f"open or close outside low..high: {self!r:.300}")
        if self.open_time_ms % self.interval.ms:
            raise InvalidCandle(f"open time {self.open_time_ms} is no multiple of {self.interval.value}")

    def _is_sound(self) -> bool:
        """Whether each field for itself can be; sums are checked where they are made."""
        prices = (self.open, self.high, self.low, self.close)
        volumes = (self.volume, self.quote_volume, self.taker_buy_volume)
        counts = (self.trade_count, self.epoch, self.seq, self.published_at_ms)
        return (
            is_symbol(self.symbol)
            and type(self.open_time_ms) is int
            and 0 <= self.open_time_ms < LATEST_MS
            and all(_is_written_out(number) for number in (*prices, *volumes))
            and all(price > 0 for price in prices)
            and all(volume >= 0 for volume in volumes)
            and all(type(count) is int and count >= 0 for count in counts)
            and type(self.is_closed) is bool
        )

    @property
    def close_time_ms(self) -> int:
        return self.open_time_ms + self.interval.ms

    def to_json(self) -> str:
        """The contract's JSON: numbers carry the exact decimal digits."""
        return candle_json(
            self.symbol,
            self.interval,
            self.open_time_ms,
            *(format(number, "f") for number in (
                self.open, self.high, self.low, self.close,
                self.volume, self.quote_volume, self.taker_buy_volume,
            )),
            trade_count=self.trade_count,
            is_closed=self.is_closed,
            epoch=self.epoch,
            seq=self.seq,
            published_at_ms=self.published_at_ms,
        )  # fmt: skip

    @classmethod
    def from_json(cls, text: str | bytes) -> Candle:
        """Read the contract's JSON; InvalidCandle if it is not one."""
        try:
            fields: dict[str, Any] = json.loads(text, parse_float=Decimal)
            candle = cls(
                symbol=fields["symbol"],
                interval=Interval(fields["interval"]),
                open_time_ms=fields["open_time_ms"],
                **{name: json_number(fields[name]) for name in _DECIMAL_FIELDS},
                trade_count=fields["trade_count"],
                is_closed=fields["is_closed"],
                epoch=fields.get("epoch", 0),
                seq=fields.get("seq", 0),
                published_at_ms=fields.get("published_at_ms", 0),
            )
        # RecursionError: a thousand brackets. UnicodeDecodeError is a ValueError.
        except (KeyError, TypeError, ValueError, InvalidOperation, RecursionError) as error:
            raise InvalidCandle(f"not a candle ({error!r:.200}): {text!r:.200}") from None
        if fields.get("close_time_ms", candle.close_time_ms) != candle.close_time_ms:
            raise InvalidCandle(f"its close time is not its open time and a width: {text!r:.200}")
        return candle

    def csv_row(self) -> list[str]:
        """The values of CSV_HEADER, exact."""
        return [
            self.symbol,
            self.interval.value,
            str(self.open_time_ms),
            *(format(getattr(self, name), "f") for name in _DECIMAL_FIELDS),
            str(self.trade_count),
        ]


def _is_written_out(number: object) -> bool:
    """Whether it is a decimal that can be printed: no NaN, and no exponent that makes a megabyte of zeros."""
    return isinstance(number, Decimal) and number.is_finite() and abs(number.adjusted()) < 60


def candle_json(
    symbol: str,
    interval: Interval,
    open_time_ms: int,
    open: str,
    high: str,
    low: str,
    close: str,
    volume: str,
    quote_volume: str,
    taker_buy_volume: str,
    *,
    trade_count: int,
    is_closed: bool,
    epoch: int,
    seq: int,
    published_at_ms: int,
) -> str:
    """The one place that spells the candle JSON. The numbers arrive as exact decimal text.

    Written by hand because the sink does it for every revision: the json module cannot write a
    Decimal as a number, and symbols hold no character that would need escaping.
    """
    return (
        f'{{"symbol":"{symbol}","interval":"{interval.value}","open_time_ms":{open_time_ms},'
        f'"close_time_ms":{open_time_ms + interval.ms},"open":{open},"high":{high},"low":{low},'
        f'"close":{close},"volume":{volume},"quote_volume":{quote_volume},'
        f'"taker_buy_volume":{taker_buy_volume},"trade_count":{trade_count},'
        f'"is_closed":{"true" if is_closed else "false"},"epoch":{epoch},"seq":{seq},'
        f'"published_at_ms":{published_at_ms}}}'
    )
