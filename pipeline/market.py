"""What all else is made of: Trade, Interval, symbols, exact numbers, times.

Prices and quantities are exact: :class:`~decimal.Decimal` at the borders, and inside the fold
integers in units of 10**-PRICE_DECIMALS and 10**-QUANTITY_DECIMALS. Times are milliseconds since
1970 UTC, by the exchange's clock.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final

from pipeline.errors import InvalidTrade

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
