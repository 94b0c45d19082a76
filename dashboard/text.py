"""Numbers as a person reads them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from pipeline.candle import Candle

MINUS: Final = "\u2212"
_QUOTES: Final = ("USDT", "USDC", "FDUSD", "BUSD", "USD", "EUR")


def pair(symbol: str) -> tuple[str, str]:
    """Base and quote currency: ``BTCUSDT`` and ``BTC-USD`` name both; a bare ``BTC`` is in USD."""
    for quote in _QUOTES:
        base = symbol.removesuffix(quote).rstrip("-_.")
        if base and base != symbol:
            return base, quote
    return symbol, "USD"


def decimals(candles: Iterable[Candle]) -> int:
    """How many decimals the prices of ``candles`` need; at least 2."""
    most = 2
    for candle in candles:
        for price in (candle.close, candle.high, candle.low):
            exponent = price.normalize().as_tuple().exponent
            if isinstance(exponent, int):
                most = max(most, -exponent)
    return most


def price(value: Decimal | float, places: int) -> str:
    """``65,241.40``."""
    return f"{value:,.{places}f}"


def significant_places(value: float) -> int:
    """Decimals that show six significant figures of ``value``; 2 at least."""
    return max(2, 5 - math.floor(math.log10(value))) if value > 0 else 2


def percent(change: float) -> str:
    """``+1.61%``, with a true minus sign; ``change`` is a fraction."""
    return f"{MINUS if change < 0 else '+'}{abs(change):.2%}"


def compact(value: Decimal | float) -> str:
    """``1,889``, ``40.2K``, ``3.1M``: four figures at most."""
    number = float(value)
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "K")):
        if abs(number) >= limit:
            return f"{number / (limit if unit != 'K' else 1e3):,.4g}{unit}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"
