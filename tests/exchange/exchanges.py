"""The exchanges whose frames were recorded, spoken by the loopback server."""

from __future__ import annotations

import functools
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.exchange.server import Exchange, RawTrade

FLIPPED = {"buy": "sell", "sell": "buy"}


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms_of(text: str) -> int:
    """Milliseconds of an ISO time, what lies below cut off, as everybody does."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 1000 + int(fraction[:3].ljust(3, "0") or 0)


class CoinbaseExchange(Exchange):
    """ws-feed.exchange.coinbase.com: ``match`` messages, REST by trade id."""

    name = "coinbaseexchange"
    hosts = ("ws-feed.exchange.coinbase.com", "api.exchange.coinbase.com")
    quote = "USD"

    def subscription(self, message: Any) -> tuple[set[str], list[str]]:
        markets = set(message["product_ids"])
        ack = {"type": "subscriptions", "channels": [{"name": "matches", "product_ids": sorted(markets)}]}
        return markets, [json.dumps(ack)]

    def answer(self, path: str, query: dict[str, str]) -> Any:
        match path.strip("/").split("/"):
            case ["products"]:
                return [_product(name) for name in ("BTC-USD", "ETH-USD", "ETH-BTC")]
            case ["products", market, "trades"]:
                after = int(query.get("after", 2**62))
                page = [one for one in self.listing(market) if one.id < after][-int(query.get("limit", 100)) :]
                return [self._rest(one) for one in reversed(page)]
            case ["products", market, "candles"]:
                start, end = ms_of(query["start"]), ms_of(query["end"])
                rows = self.candles.get((market, query["granularity"]), [])
                return [
                    [at // 1000, float(low), float(high), float(open), float(close), float(volume)]
                    for at, open, high, low, close, volume in reversed(rows)
                    if start <= at <= end
                ]
            case ["time"]:
                return {"iso": iso(self.now_ms()), "epoch": self.now_ms() / 1000}
        return None

    @staticmethod
    def _rest(trade: RawTrade) -> dict[str, Any]:
        return {
            "time": json.loads(trade.frame)["time"], "trade_id": trade.id, "price": trade.price,
            "size": trade.size, "side": FLIPPED[trade.side],
        }  # fmt: skip


def _product(name: str) -> dict[str, Any]:
    base, quote = name.split("-")
    return {
        "id": name, "base_currency": base, "quote_currency": quote, "quote_increment": "0.01",
        "base_increment": "0.00000001", "display_name": name.replace("-", "/"), "min_market_funds": "1",
        "status": "online", "trading_disabled": False,
    }  # fmt: skip


class Coinbase(Exchange):
    """Coinbase Advanced Trade: batches, a snapshot first, newest first; REST by time."""

    name = "coinbase"
    hosts = ("advanced-trade-ws.coinbase.com", "api.coinbase.com")
    quote = "USD"
    products: bytes = b'{"products":[]}'

    def subscription(self, message: Any) -> tuple[set[str], list[str]]:
        markets = set(message["product_ids"])
        ack = {"channel": "subscriptions", "timestamp": iso(self.now_ms()), "sequence_num": 0,
               "events": [{"subscriptions": {"market_trades": sorted(markets)}}]}  # fmt: skip
        snapshots = []
        for market in sorted(markets):
            newest = [self._rest(one) for one in reversed(self.listed.get(market, [])[-100:])]
            if newest:
                snapshots.append(json.dumps({"channel": "market_trades", "timestamp": iso(self.now_ms()),
                    "sequence_num": 1, "events": [{"type": "snapshot", "trades": newest}]}))  # fmt: skip
        return markets, [json.dumps(ack), *snapshots]

    def answer(self, path: str, query: dict[str, str]) -> Any:
        match path.removeprefix("/api/v3/brokerage/").strip("/").split("/"):
            case ["market", "products"]:
                kind = query.get("product_type", "SPOT")
                products = json.loads(self.products)["products"]
                return {"products": [one for one in products if one["product_type"] == kind]}
            case ["market", "products", market, "ticker"]:
                start, end = 1000 * int(query.get("start", 0)), 1000 * int(query.get("end", 2**40))
                found = [one for one in self.listing(market) if start <= one.time_ms <= end]
                newest = found[-int(query.get("limit", 100)) :]
                return {"trades": [self._rest(one) for one in reversed(newest)]}
            case ["market", "products", market, "candles"]:
                start, end = 1000 * int(query["start"]), 1000 * int(query["end"])
                seconds = {
                    "ONE_MINUTE": "60",
                    "FIVE_MINUTE": "300",
                    "FIFTEEN_MINUTE": "900",
                    "ONE_HOUR": "3600",
                }
                rows = self.candles.get((market, seconds[query["granularity"]]), [])
                names = ("start", "open", "high", "low", "close", "volume")
                return {"candles": [
                    dict(zip(names, (str(row[0] // 1000), *row[1:]), strict=True))
                    for row in reversed(rows) if start <= row[0] <= end
                ]}  # fmt: skip
            case ["time"]:
                return {"epochMillis": str(self.now_ms()), "epochSeconds": str(self.now_ms() // 1000)}
        return None

    @staticmethod
    def _rest(trade: RawTrade) -> dict[str, Any]:
        return {
            "trade_id": str(trade.id), "product_id": trade.market, "price": trade.price, "size": trade.size,
            "time": iso(trade.time_ms), "side": FLIPPED[trade.side].upper(),
        }  # fmt: skip


class Binance(Exchange):
    """Binance spot: one trade a message, REST by trade id."""

    name = "binance"
    hosts = ("stream.binance.com:9443", "api.binance.com")
    quote = "USDT"

    def subscription(self, message: Any) -> tuple[set[str], list[str]]:
        if message.get("method") != "SUBSCRIBE":
            return set(), []
        markets = {stream.partition("@")[0].upper() for stream in message["params"]}
        return markets, [json.dumps({"result": None, "id": message["id"]})]

    def answer(self, path: str, query: dict[str, str]) -> Any:
        match path.removeprefix("/api/v3/").strip("/"):
            case "exchangeInfo":
                return {"symbols": [_binance_symbol("BTC", "USDT"), _binance_symbol("ETH", "USDT")]}
            case "historicalTrades":
                limit, have = int(query["limit"]), self.listing(query["symbol"])
                if "fromId" in query:
                    have = [one for one in have if one.id >= int(query["fromId"])][:limit]
                return [
                    {"id": one.id, "price": one.price, "qty": one.size, "quoteQty": "0", "time": one.time_ms,
                     "isBuyerMaker": one.side == "sell", "isBestMatch": True}
                    for one in have[-limit:]
                ]  # fmt: skip
            case "klines":
                seconds = {"1m": "60", "5m": "300", "15m": "900", "1h": "3600", "1s": "1"}[query["interval"]]
                start, end = int(query.get("startTime", 0)), int(query.get("endTime", 2**62))
                rows = self.candles.get((query["symbol"], seconds), [])
                found = [row for row in rows if start <= row[0] <= end][: int(query["limit"])]
                return [[*row, row[0] + 1000 * int(seconds) - 1, "0", 0, "0", "0", "0"] for row in found]
            case "time":
                return {"serverTime": self.now_ms()}
        return None


def _binance_symbol(base: str, quote: str) -> dict[str, Any]:
    return {
        "symbol": base + quote, "status": "TRADING", "baseAsset": base, "baseAssetPrecision": 8,
        "quoteAsset": quote, "quotePrecision": 8, "quoteAssetPrecision": 8, "orderTypes": ["LIMIT"],
        "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "filters": [], "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
    }  # fmt: skip


# ---- what was recorded


@functools.cache
def coinbase_exchange_trades(folder: Path) -> tuple[RawTrade, ...]:
    """The matches of 60 s; the maker's side is what their ``side`` says."""
    trades = []
    with gzip.open(folder / "ws_coinbase_exchange_matches.ndjson.gz", "rt") as lines:
        for line in lines:
            one = json.loads(line)
            if one["type"] == "match":
                trades.append(
                    RawTrade(one["product_id"], one["trade_id"], ms_of(one["time"]), one["price"], one["size"],
                             FLIPPED[one["side"]], line.strip())
                )  # fmt: skip
    return tuple(trades)


@functools.cache
def coinbase_trades(folder: Path) -> tuple[tuple[RawTrade, ...], bytes]:
    """Trades of 24 s of Coinbase Advanced, their frames as they came; and its list of products."""
    trades, products = [], b""
    with gzip.open(folder / "ws_cryptofeed_COINBASE.jsonl.gz", "rt") as lines:
        for line in lines:
            record = json.loads(line)
            if record["t"] == "http":
                products = record["data"].encode()
            elif record["t"] == "recv" and '"market_trades"' in record["data"][:60]:
                for event in json.loads(record["data"])["events"]:
                    trades += [
                        RawTrade(one["product_id"], int(one["trade_id"]), ms_of(one["time"]), one["price"],
                                 one["size"], FLIPPED[one["side"].lower()], record["data"])
                        for one in reversed(event["trades"])
                    ]  # fmt: skip
    return tuple(trades), products


@functools.cache
def binance_trades(folder: Path) -> tuple[RawTrade, ...]:
    """Six minutes of BTCUSDT. Recorded from a combined stream; /ws sends what is inside."""
    trades = []
    with gzip.open(folder / "ws_binance_spot_btcusdt_20240808.gz", "rt") as lines:
        for line in lines:
            text = line.partition(" ")[2]
            if '@trade"' in text[:40]:
                one = json.loads(text)["data"]
                side = "sell" if one["m"] else "buy"
                trades.append(RawTrade(one["s"], one["t"], one["T"], one["p"], one["q"], side, json.dumps(one)))
    return tuple(trades)
