"""What is called what: SYMBOLS, QUOTE and the exchanges of FEED against the exchanges' own markets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from pipeline.errors import SettingsError

QUOTES: Final = ("USD", "USDT", "USDC")
"""Where QUOTE is unset, the first of these that a market has."""


class Market(NamedTuple):
    """One exchange's market, and the symbol whose candles its trades go into."""

    exchange: str
    name: str
    """ccxt's: ``BTC/USD``."""
    symbol: str

    @property
    def key(self) -> str:
        """Its name in the feed's state and in reports."""
        alone = f" {self.symbol}" if "@" in self.symbol else ""
        return f"{self.exchange} {self.name}{alone}"


class Wanted(NamedTuple):
    """A symbol of SYMBOLS: ``BTC`` from every exchange of FEED, ``BTC@kraken`` from one."""

    symbol: str
    base: str
    exchange: str | None


def wanted(symbols: Sequence[str]) -> list[Wanted]:
    """SYMBOLS, read. An exchange's name is lower case, whatever the symbol's is."""
    parts = (symbol.partition("@") for symbol in symbols)
    return [
        Wanted(symbol, base, exchange.lower() or None)
        for symbol, (base, _, exchange) in zip(symbols, parts, strict=True)
    ]


def exchanges_of(symbols: Sequence[str], exchanges: Sequence[str]) -> list[str]:
    """All exchanges that FEED and SYMBOLS name, FEED's first."""
    named = [one.exchange for one in wanted(symbols) if one.exchange]
    return list(dict.fromkeys([*exchanges, *named]))


def choose(
    exchange: str,
    listed: Mapping[str, Any],
    symbols: Sequence[str],
    quote: str | None,
    exchanges: Sequence[str],
) -> list[Market]:
    """The markets of ``exchange`` that are wanted from it. SettingsError names one that it has not.

    ``listed``: ccxt's markets by name; ``exchanges``: those that FEED names. A symbol wanted from
    several exchanges need not be on all of them: see :func:`check_all_found`. Markets that are
    closed, or not spot, do not count. ``BTC-EUR`` has its quote with it.
    """
    names = {name for name, market in listed.items() if _is_tradable(market)}
    chosen = []
    for one in wanted(symbols):
        if one.exchange != exchange and (one.exchange or exchange not in exchanges):
            continue
        base, _, own_quote = one.base.partition("-")
        quotes = (own_quote,) if own_quote else (quote,) if quote else QUOTES
        name = next((name for one_quote in quotes if (name := f"{base}/{one_quote}") in names), None)
        if name:
            chosen.append(Market(exchange, name, one.symbol))
        elif one.exchange or len(exchanges) == 1:
            raise SettingsError(_unknown(exchange, one.symbol, f"{base}/{quotes[0]}", names, quote))
    return chosen


def check_all_found(symbols: Sequence[str], found: Sequence[Market], quote: str | None) -> None:
    """SettingsError names a symbol that none of several exchanges has."""
    have = {market.symbol for market in found}
    for symbol in symbols:
        if symbol not in have:
            raise SettingsError(
                f"SYMBOLS={symbol}: no exchange of FEED has it in QUOTE={quote or ','.join(QUOTES)}"
            )


def _is_tradable(market: Mapping[str, Any]) -> bool:
    return bool(market.get("spot", True)) and market.get("active") is not False


def _unknown(exchange: str, symbol: str, name: str, names: set[str], quote: str | None) -> str:
    base = name.partition("/")[0]
    same_base = sorted(other for other in names if other.startswith(f"{base}/"))[:5]
    alike = get_close_matches(name, sorted(names - set(same_base)), max(1, 5 - len(same_base)), 0.6)
    near = f"; near it: {', '.join([*same_base, *alike])}" if same_base or alike else ""
    return f"SYMBOLS={symbol}: {exchange} has no market {name} (QUOTE={quote or 'unset'}){near}"
