"""A stream entry: many trades as fixed-width records, or a heartbeat.

Fields of an entry in ``crypto:trades:{shard}``:

* ``symbols``: names joined by commas; a record's ``symbol`` is an index into them;
* ``trades``: records of :data:`RECORD`, one after the other;
* ``heartbeat``: event time in ms up to which the feed has nothing more to say. It closes the
  candles of idle markets. Stands alone or beside trades; END_OF_STREAM closes everything.

Binary, because one call and one copy move hundreds of trades into the fold:
``python -m pipeline tail`` prints them for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import InvalidEntry, InvalidTrade
from pipeline.market import (
    EARLIEST_MS,
    LATEST_MS,
    PRICE_DECIMALS,
    QUANTITY_DECIMALS,
    Trade,
    check_symbol,
    scale,
)

RECORD: Final = np.dtype(
    [
        ("event_time_ms", "<i8"),
        ("trade_id", "<i8"),
        ("price", "<i8"),  # units of 10**-PRICE_DECIMALS
        ("quantity", "<i8"),  # units of 10**-QUANTITY_DECIMALS
        ("symbol", "<u4"),  # index into the entry's symbols
        ("side", "<u4"),  # market.Side: 1 where the taker bought
    ]
)
Records = npt.NDArray[np.void]

END_OF_STREAM: Final = LATEST_MS
"""Heartbeat after which no trade comes: the watermark passes every window."""


class Entry(NamedTuple):
    """One decoded entry. ``heartbeat_ms`` is 0 where there is none."""

    symbols: Sequence[str]
    trades: Records
    heartbeat_ms: int


def encode(symbols: Sequence[str], trades: Records, heartbeat_ms: int = 0) -> dict[str, str | bytes | int]:
    """Fields for XADD. ``trades`` has dtype RECORD, shape (n,)."""
    fields: dict[str, str | bytes | int] = {}
    if len(trades):
        fields["symbols"] = ",".join(symbols)
        fields["trades"] = trades.tobytes()
    if heartbeat_ms:
        fields["heartbeat"] = heartbeat_ms
    return fields


def decode(fields: Mapping[bytes, bytes]) -> Entry:
    """Read an entry's fields; InvalidEntry if they are torn or point outside the symbol table.

    The trades of the result may still be impossible one by one: see :func:`impossible`.
    """
    try:
        heartbeat_ms = int(fields.get(b"heartbeat", 0))
        symbols = fields[b"symbols"].decode("ascii").split(",") if b"symbols" in fields else []
        trades = np.frombuffer(fields.get(b"trades", b""), RECORD)
        for symbol in symbols:
            check_symbol(symbol)
    except (ValueError, InvalidTrade) as error:
        raise InvalidEntry(f"torn entry: {error}") from None
    if len(trades) and int(trades["symbol"].max()) >= len(symbols):
        raise InvalidEntry(f"torn entry: a record points past its {len(symbols)} symbols")
    if heartbeat_ms and not EARLIEST_MS <= heartbeat_ms <= END_OF_STREAM:
        raise InvalidEntry(f"torn entry: heartbeat {heartbeat_ms}")
    return Entry(symbols, trades, heartbeat_ms)


def impossible(trades: Records) -> npt.NDArray[np.bool_]:
    """Mask, shape (n,): records that no exchange can have meant (size, price, time or side)."""
    times = trades["event_time_ms"]
    return (
        (trades["price"] <= 0)
        | (trades["quantity"] <= 0)
        | (times < EARLIEST_MS)
        | (times >= LATEST_MS)
        | (trades["side"] > 1)
    )


def records(trades: Iterable[Trade]) -> tuple[list[str], Records]:
    """Symbol table and records of a few trades: for live feeds and tests, not for bulk."""
    codes: dict[str, int] = {}
    rows = [
        (
            trade.event_time_ms,
            trade.trade_id,
            scale(trade.price, PRICE_DECIMALS),
            scale(trade.quantity, QUANTITY_DECIMALS),
            codes.setdefault(trade.symbol, len(codes)),
            int(trade.side),
        )
        for trade in trades
    ]
    return list(codes), np.array(rows, RECORD)
