"""The binary entries of a trade stream as lines for people: ``python -m pipeline tail``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import redis

from pipeline import keys
from pipeline.entry import END_OF_STREAM, decode
from pipeline.errors import InvalidEntry
from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS, Side, decimal_text

_BLOCK_MS = 500
"""A Ctrl-C is noticed at once; a lost Redis after this."""


def tail(client: redis.Redis, shard: int, follow: bool, *, last: int = 10, out: TextIO = sys.stdout) -> None:
    """Print the newest ``last`` entries of a shard, and with ``follow`` all that come, for ever."""
    stream = keys.trades_stream(shard)
    newest: Any = client.xrevrange(stream, count=last) if last else []
    entry_id = b"0-0" if newest or not follow else _last_id(client, stream)
    for entry_id, fields in reversed(newest):
        out.writelines(f"{line}\n" for line in lines(entry_id, fields))
    out.flush()
    while follow:
        reply: Any = client.xread({stream: entry_id}, count=100, block=_BLOCK_MS)
        for entry_id, fields in reply[0][1] if reply else ():
            out.writelines(f"{line}\n" for line in lines(entry_id, fields))
        out.flush()


def lines(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Iterator[str]:
    """One line for each trade of an entry, one for its heartbeat, one for what cannot be read."""
    label = entry_id.decode()
    try:
        entry = decode(fields)
    except InvalidEntry as error:
        yield f"{label}  {error}"
        return
    for time_ms, trade_id, price, quantity, symbol, side in entry.trades.tolist():
        taker = Side(side).name.lower() if side in (Side.SELL, Side.BUY) else f"side {side}"
        yield (
            f"{label}  {_time(time_ms)}  {entry.symbols[symbol]:<10} {taker:<4} "
            f"{decimal_text(price, PRICE_DECIMALS):>16} {decimal_text(quantity, QUANTITY_DECIMALS):>16}"
            f"  id {trade_id}"
        )
    if entry.heartbeat_ms:
        is_end = entry.heartbeat_ms == END_OF_STREAM
        yield f"{label}  {'end of the stream' if is_end else _time(entry.heartbeat_ms) + '  heartbeat'}"


def _time(time_ms: int) -> str:
    """UTC with milliseconds; the number itself where it is no time."""
    try:
        return (
            datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{time_ms % 1000:03d}"
        )
    except (OverflowError, ValueError, OSError):
        return str(time_ms)


def _last_id(client: redis.Redis, stream: str) -> bytes:
    newest: Any = client.xrevrange(stream, count=1)
    return bytes(newest[0][0]) if newest else b"0-0"
