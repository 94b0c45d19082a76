"""The nouns of the field: Trade, Candle, Interval, with their JSON and CSV forms.

Prices and quantities are exact: :class:`~decimal.Decimal` at the borders, and inside the fold
integers in units of 10**-PRICE_DECIMALS and 10**-QUANTITY_DECIMALS. Times are milliseconds since
1970 UTC, by the exchange's clock.
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

from pipeline.errors import InvalidCandle, InvalidTrade

PRICE_DECIMALS: Final = 10
"""Ten, not eight: the cheapest coins are quoted to 1e-10. Prices end at 922,337,203 (63 bits)."""
QUANTITY_DECIMALS: Final = 8
"""Sizes go down to 1e-8, and end at 92 billion a trade (63 bits)."""
QUOTE_DECIMALS: Final = PRICE_DECIMALS + QUANTITY_DECIMALS

EARLIEST_MS: Final = 1_230_768_000_000
"""2009-01-01: before the first block. An older time is in seconds, or wrong."""
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01. A later time is in microseconds, or wrong."""

MAX_NOTIONAL: Final = 2.0**100
"""Price times quantity of one trade, in units of 10**-QUOTE_DECIMALS: 1.27 trillion in the quote
currency. A window's sum ends at 2**127: it takes 134 million trades of this size to overflow one."""

_SYMBOL: Final = re.compile(r"[A-Z0-9._@-]{1,20}")
# Decimal() itself also takes "1_000", " 5 " and the digits of every script.
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[+-]?(?:s?nan[0-9]*|inf|infinity)", re.IGNORECASE | re.ASCII)
_LONGEST_NUMBER: Final = 1_000
_MAX_SCALED: Final = 2**63 - 1
# Wide enough for any sum that can occur; a result that does not fit must fail, never round.
_EXACT: Final = Context(prec=80, traps=[InvalidOperation, Inexact])


class Interval(enum.Enum):
    """A candle's width, by its name in the field."""

    S1 = "1s"
    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    H1 = "1h"

    @property
    def ms(self) -> int:
        """Width in milliseconds."""
        return _WIDTH_MS[self]

    def open_time(self, time_ms: int) -> int:
        """Open time of the window that holds ``time_ms``."""
        return time_ms - time_ms % _WIDTH_MS[self]


_WIDTH_MS: Final = {
    Interval.S1: 1_000,
    Interval.M1: 60_000,
    Interval.M5: 300_000,
    Interval.M15: 900_000,
    Interval.H1: 3_600_000,
}
INTERVALS: Final = tuple(Interval)
"""Narrowest first; each is a whole multiple of the one before it."""


class Side(enum.IntEnum):
    """The taker's side. The number is the one in the trade record."""

    SELL = 0
    BUY = 1


def is_symbol(symbol: object) -> bool:
    """Whether it is upper-case letters, digits and ``._@-``, 1 to 20."""
    return isinstance(symbol, str) and _SYMBOL.fullmatch(symbol) is not None


def check_symbol(symbol: str) -> str:
    """``symbol`` itself, or InvalidTrade: upper-case letters, digits and ``._@-``, 1 to 20."""
    if not is_symbol(symbol):
        raise InvalidTrade("symbol is not 1 to 20 of A-Z 0-9 . _ @ -", symbol)
    return symbol


def scale(number: Decimal | str, decimals: int) -> int:
    """``number`` as a positive integer in units of 10**-decimals; InvalidTrade if that is not exact.

    Text is plain ASCII: sign, digits, point, exponent, and nothing around them.
    """
    value = _finite(number)
    try:
        if value > 0 and value.adjusted() > 18:  # before int() makes a million digits of "1e999999"
            raise InvalidTrade("too large", number)
        scaled = value.scaleb(decimals, _EXACT)
        units = int(scaled) if scaled > 0 else 0
    except (Inexact, InvalidOperation):
        raise InvalidTrade(f"more than {decimals} decimals", number) from None
    if scaled <= 0:
        raise InvalidTrade("not above zero", number)
    if units != scaled:
        raise InvalidTrade(f"more than {decimals} decimals", number)
    if units > _MAX_SCALED:
        raise InvalidTrade("too large", number)
    return units


def _finite(number: object) -> Decimal:
    if isinstance(number, str) and len(number) > _LONGEST_NUMBER:
        raise InvalidTrade(f"longer than {_LONGEST_NUMBER} characters", number[:_LONGEST_NUMBER])
    if isinstance(number, str) and _NUMBER.fullmatch(number):
        try:
            return Decimal(number)
        except InvalidOperation:  # an exponent of twenty digits
            raise InvalidTrade("too large, or with too many decimals", number) from None
    if isinstance(number, Decimal) and number.is_finite():
        return number
    if isinstance(number, Decimal) or (isinstance(number, str) and _NOT_FINITE.fullmatch(number)):
        raise InvalidTrade("not a finite number", number)
    raise InvalidTrade("not a number", number)


def time_fault(time_ms: int) -> str | None:
    """Why ``time_ms`` cannot be an event time in milliseconds; None if it can."""
    if EARLIEST_MS <= time_ms < LATEST_MS:
        return None
    for unit, times in (("seconds", 1e-3), ("microseconds", 1e3), ("nanoseconds", 1e6)):
        if EARLIEST_MS * times <= time_ms < LATEST_MS * times:
            return f"event time is in {unit}, not in milliseconds"
    return "event time is before 2009" if time_ms < EARLIEST_MS else "event time is after 2099"


NOTIONAL_FAULT: Final = "price times quantity is too large"


def is_notional_too_large(price: int, quantity: int) -> bool:
    """Whether one trade, both numbers in units, is worth more than MAX_NOTIONAL."""
    return float(price) * float(quantity) > MAX_NOTIONAL


def decimal_text(units: int, decimals: int) -> str:
    """Exact decimal digits of ``units`` * 10**-decimals, without trailing zeros or exponent."""
    if not decimals:
        return str(units)
    whole, fraction = divmod(abs(units), 10**decimals)
    sign = "-" if units < 0 else ""
    digits = f"{fraction:0{decimals}d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def json_number(value: object) -> Decimal:
    """What json, with Decimal for floats, has read as a number; TypeError.

    Text, true, and the NaN and Infinity that Python's json lets through are none.
    """
    if type(value) is not int and not isinstance(value, Decimal):
        raise TypeError(f"not a number: {value!r:.100}")
    return Decimal(value)


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade as the exchange reported it. Impossible ones raise InvalidTrade.

    ``trade_id`` orders trades of the same millisecond; ``side`` is the taker's.
    """

    symbol: str
    trade_id: int
    event_time_ms: int
    price: Decimal
    quantity: Decimal
    side: Side

    def __post_init__(self) -> None:
        check_symbol(self.symbol)
        price = _named("price", self.price, PRICE_DECIMALS)
        quantity = _named("quantity", self.quantity, QUANTITY_DECIMALS)
        if is_notional_too_large(price, quantity):
            raise InvalidTrade(NOTIONAL_FAULT, f"{self.price} * {self.quantity}")
        if type(self.event_time_ms) is not int:
            raise InvalidTrade("event time: not a whole number", self.event_time_ms)
        if fault := time_fault(self.event_time_ms):
            raise InvalidTrade(fault, self.event_time_ms)
        if type(self.trade_id) is not int or not -(2**63) <= self.trade_id < 2**63:
            raise InvalidTrade("trade id is not a 64-bit number", self.trade_id)
        if self.side not in (Side.SELL, Side.BUY):
            raise InvalidTrade("side is neither buy nor sell", self.side)


def _named(what: str, number: Decimal, decimals: int) -> int:
    try:
        return scale(number, decimals)
    except InvalidTrade as error:
        raise InvalidTrade(f"{what}: {error.reason}", number) from None


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


_DECIMAL_FIELDS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume")
CSV_HEADER: Final = ("symbol", "interval", "open_time_ms", *_DECIMAL_FIELDS, "trade_count")


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
