"""Candles for tests of the read side, published as the job does it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import redis

from pipeline import keys
from pipeline.candle import candle_json
from pipeline.market import Interval
from pipeline.update import Update, read_update

T0 = 1_700_000_040_000
"""A full minute."""
MINUTE = 60_000


def candle(
    symbol: str = "BTC",
    *,
    seq: int = 1,
    minute: int = 0,
    is_closed: bool = False,
    epoch: int = 1,
    interval: Interval = Interval.M1,
    close: str = "101.5",
    published_at_ms: int | None = None,
) -> str:
    """Candle JSON; ``minute`` counts from T0, in widths of ``interval``."""
    return candle_json(
        symbol,
        interval,
        interval.open_time(T0) + minute * interval.ms,
        "100", "70000.25", "0.00000001", close, "12.5", "1250.000000000000000001", "6.25",
        trade_count=seq,
        is_closed=is_closed,
        epoch=epoch,
        seq=seq,
        published_at_ms=time.time_ns() // 1_000_000 if published_at_ms is None else published_at_ms,
    )  # fmt: skip


def update(symbol: str = "BTC", **fields: Any) -> Update:
    return read_update(candle(symbol, **fields).encode())


def publish(client: redis.Redis, *texts: str, silently: bool = False) -> None:
    """Write candles like the job's sink: one MULTI/EXEC. ``silently``: everything but PUBLISH."""
    with client.pipeline(transaction=True) as transaction:
        for text in texts:
            fields = json.loads(text)
            if fields["is_closed"]:
                history = keys.history(fields["symbol"], fields["interval"])
                transaction.zremrangebyscore(history, fields["open_time_ms"], fields["open_time_ms"])
                transaction.zadd(history, {text: fields["open_time_ms"]})
            if fields["interval"] == "1m":
                transaction.setex(keys.latest(fields["symbol"]), 3_600, text)
            transaction.sadd(keys.SYMBOLS, fields["symbol"])
            if not silently:
                transaction.publish(keys.UPDATES_CHANNEL, text)
        transaction.execute()


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """What ``condition`` answers once that is true; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return found
