"""One exchange's client: ccxt's own, tapped so that trades come out exact, at once and unlost.

ccxt parses every frame of every exchange, connects, pings and keeps rate limits. Three things it
does are not good enough for candles, and are changed here, for all exchanges at once:

* It turns prices and sizes into floats (``safe_trade``). They stay the text that the exchange sent.
* It hands trades out through futures: those that arrive between two awaits wait for the next one.
  Its caches of trades are replaced by taps that pass on each trade as it is parsed.
* Its receive loop ends for good at one frame that cannot be parsed, and stalls at thousands of them (see
  ``receiving``).

ccxt is imported when the first exchange is opened: the import takes 0.8 s, and 70 MB.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, Final

from pipeline.errors import CandlecastError, SettingsError
from pipeline.feed.exchange.receiving import read_with_care

Take = Callable[[str, dict[str, Any]], None]
"""Called with the market's name and the trade, in ccxt's structure."""

MAKER_SIDED: Final = frozenset({"coinbase"})
"""Exchanges that give the maker's side and where ccxt leaves it so: in the recorded frames of
Coinbase Advanced, trades at a falling price say BUY (77 of 84), at a rising one SELL (52 of 59)."""

_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "binance": {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"},
    "binanceus": {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"},
    "bybit": {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"},
    "okx": {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"},
}
"""Ask for spot markets alone: the others are other prices, and megabytes more to load."""

PING_MS: Final = 5_000
MISSED_PINGS: Final = 3
"""A connection that answers none of so many pings is dead, whatever TCP says."""
REQUEST_TIMEOUT_MS: Final = 10_000
MARKETS_A_WATCH: Final = 100


class ExchangeError(CandlecastError):
    """An exchange answered with an error, or not at all. Trying again may help."""


def exchange_names() -> list[str]:
    """Every exchange that ccxt streams trades of."""
    return list(importlib.import_module("ccxt.pro").exchanges)


def check_exchange(name: str) -> str:
    """``name`` itself; SettingsError with what is near it."""
    known = exchange_names()
    if name not in known:
        near = get_close_matches(name, known, 5, 0.5)
        raise SettingsError(
            f"FEED=exchange:{name}: no such exchange" + (f"; near it: {', '.join(near)}" if near else "")
        )
    return name


def open_client(name: str, relay: str | None = None) -> Any:
    """A ccxt client of ``name``, tapped; the caller awaits its ``close()``. SettingsError.

    ``relay``: base URL of a server that stands for all exchanges (see :func:`through`).
    """
    check_exchange(name)
    pro = importlib.import_module("ccxt.pro")
    exchange = _tapped(getattr(pro, name))(
        {
            "enableRateLimit": True,
            "timeout": REQUEST_TIMEOUT_MS,
            "options": _OPTIONS.get(name, {}),
            "streaming": {"keepAlive": PING_MS, "maxPingPongMisses": MISSED_PINGS},
        }
    )
    exchange.has["fetchCurrencies"] = False  # load_markets would ask for them, with more requests
    if relay:
        exchange.urls = through(relay, exchange.urls)
    return exchange


def through(relay: str, urls: Any) -> Any:
    """``urls`` with every ``SCHEME://HOST/PATH`` in it made ``RELAY/HOST/PATH``, ws for wss."""
    if isinstance(urls, dict):
        return {key: through(relay, value) for key, value in urls.items()}
    if isinstance(urls, list):
        return [through(relay, value) for value in urls]
    if not isinstance(urls, str):
        return urls
    found = re.fullmatch(r"(https?|wss?)://(.*)", urls)
    if not found:
        return urls
    base = re.sub("^http", "ws", relay) if found[1].startswith("ws") else relay
    return f"{base.rstrip('/')}/{found[2]}"


class _Tap(list[Any]):
    """Stands where ccxt keeps the trades of a market, and keeps none."""

    def __init__(self, market: str, take: Take) -> None:
        super().__init__()
        self._market = market
        self._take = take

    def append(self, trade: Any) -> None:
        self._take(trade.get("symbol") or self._market, trade)

    def getLimit(self, *_: Any) -> int:  # noqa: N802  ccxt's name
        """What a watcher asks of a cache: how much is new in it."""
        return 0


def _tapped(ccxt_class: Any) -> Any:
    """``ccxt_class`` with what the module's docstring says changed."""

    class Tapped(ccxt_class):  # type: ignore[misc]
        def __init__(self, config: dict[str, Any]) -> None:
            self._as_text = False
            self._ours: dict[str, Any] = {}
            super().__init__(config)
            self.on_lost: Callable[[str], None] = lambda _: None
            self.on_frame: Callable[[], None] = lambda: None
            self.on_bad_frame: Callable[[Exception, Any], None] = lambda *_: None

        def tap(self, markets: Sequence[str], take: Take) -> None:
            """Pass on every trade of ``markets`` from now on."""
            for market in markets:
                self.trades[market] = _Tap(market, take)

        def watch_all(self, markets: Sequence[str]) -> list[asyncio.Future[Any]]:
            """Subscribe to the trades of ``markets``; the caller cancels what is returned.

            A watch ends with its first trade, or with what went wrong; the taps bring the trades.
            """
            if not self.has.get("watchTradesForSymbols"):
                return [asyncio.ensure_future(self.watch_trades(market)) for market in markets]
            starts = range(0, len(markets), MARKETS_A_WATCH)
            parts = [list(markets[at : at + MARKETS_A_WATCH]) for at in starts]
            return [asyncio.ensure_future(self.watch_trades_for_symbols(part)) for part in parts]

        def last_pong_ms(self) -> int:
            """When a ping was last answered, by our clock; 0: never."""
            return max((client.lastPong or 0 for client in self.clients.values()), default=0)

        # ---- exact numbers

        def safe_trade(self, trade: Any, market: Any = None) -> Any:  # noqa: ARG002
            return trade

        def parse_ohlcv(self, ohlcv: Any, market: Any = None) -> Any:
            self._as_text = True
            try:
                return super().parse_ohlcv(ohlcv, market)
            finally:
                self._as_text = False

        def safe_number(self, of: Any, key: Any, default: Any = None) -> Any:
            read = self.safe_string if self._as_text else super().safe_number
            return read(of, key, default)

        def safe_number_2(self, of: Any, key: Any, other: Any, default: Any = None) -> Any:
            read = self.safe_string_2 if self._as_text else super().safe_number_2
            return read(of, key, other, default)

        # ---- a receive loop that lives

        def client(self, url: str) -> Any:
            client = super().client(url)
            if self._ours.get(url) is not client:
                self._ours[url] = client
                read_with_care(client, self.on_frame, self.on_bad_frame)
            return client

        def on_error(self, client: Any, error: Any) -> None:
            super().on_error(client, error)
            self.on_lost(_words(error))

        def on_close(self, client: Any, error: Any) -> None:
            super().on_close(client, error)
            self.on_lost(f"closed by the exchange ({error})")

        # ---- Binance: old trades need no key, whatever ccxt believes

        def sign(self, path: Any, *more: Any, **named: Any) -> Any:
            if path != "historicalTrades" or self.apiKey:
                return super().sign(path, *more, **named)
            signed = super().sign("trades", *more, **named)
            return {**signed, "url": signed["url"].replace("/trades?", "/historicalTrades?")}

    Tapped.__name__ = ccxt_class.__name__
    return Tapped


def _words(error: object) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:200] if isinstance(error, BaseException) else text[:200]
