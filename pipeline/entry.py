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

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import InvalidEntry, InvalidTrade
from pipeline.market import (
    EARLIEST_MS,
    LATEST_MS,
    MAX_NOTIONAL,
    NOTIONAL_FAULT,
    PRICE_DECIMALS,
    QUANTITY_DECIMALS,
    Trade,
    check_symbol,
    is_notional_too_large,
    scale,
    time_fault,
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
MAX_SYMBOLS: Final = 10_000
"""Names in one entry's table. More are no table: each would cost the job memory for ever."""


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
    if b"trades" not in fields and b"heartbeat" not in fields:
        raise InvalidEntry("neither trades nor heartbeat", list(fields))
    table = fields.get(b"symbols", b"")
    # The tables of a feed repeat. A long one is not kept: anybody could fill our memory with them.
    read_table = _kept_symbols if len(table) <= _KEPT_TABLE else _symbols
    symbols = read_table(table) if b"symbols" in fields else ()
    trades = _trades(fields.get(b"trades", b""))
    if len(trades) and int(trades["symbol"].max()) >= len(symbols):
        raise InvalidEntry("a record points past its symbols", f"{len(symbols)} symbols")
    return Entry(symbols, trades, _heartbeat(fields.get(b"heartbeat", b"0")))


def _symbols(table: bytes) -> tuple[str, ...]:
    try:
        symbols = tuple(table.decode("ascii").split(","))
        if len(symbols) > MAX_SYMBOLS:
            raise InvalidEntry(f"more than {MAX_SYMBOLS} symbols", len(symbols))
        for symbol in symbols:
            check_symbol(symbol)
    except (UnicodeDecodeError, InvalidTrade) as error:
        raise InvalidEntry("symbol table", error) from None
    return symbols


_KEPT_TABLE: Final = 2_000
_kept_symbols = functools.lru_cache(maxsize=1_000)(_symbols)


def _trades(data: bytes) -> Records:
    if len(data) % RECORD.itemsize:
        raise InvalidEntry("trades are cut off", f"{len(data)} bytes, of {RECORD.itemsize} each")
    return np.frombuffer(data, RECORD)


def _heartbeat(text: bytes) -> int:
    # Only as Redis gives back what the feed wrote: int() also takes " 1_0 ".
    if not text.isdigit() or len(text) > len(str(END_OF_STREAM)):
        raise InvalidEntry("heartbeat is not a time in milliseconds", text)
    heartbeat_ms = int(text)
    if heartbeat_ms and not EARLIEST_MS <= heartbeat_ms <= END_OF_STREAM:
        raise InvalidEntry("heartbeat is not a time in milliseconds", text)
    return heartbeat_ms


def impossible(trades: Records, latest_ms: int = LATEST_MS) -> npt.NDArray[np.bool_]:
    """Mask, shape (n,): records that no exchange can have meant (size, price, time or side).

    ``latest_ms``: a trade at this time or later cannot have happened when it was written.
    """
    times, prices, quantities = trades["event_time_ms"], trades["price"], trades["quantity"]
    mask: npt.NDArray[np.bool_] = (
        (prices <= 0)
        | (quantities <= 0)
        | (times < EARLIEST_MS)
        | (times >= min(latest_ms, LATEST_MS))
        | (trades["side"] > 1)
        | (prices.astype(np.float64) * quantities > MAX_NOTIONAL)
    )
    return mask


IN_FUTURE: Final = "event time is in the future"


def fault(trade: np.void, latest_ms: int = LATEST_MS) -> str | None:
    """Why one record is :func:`impossible`, in words that rejections are counted by; None if it is not."""
    price, quantity, time_ms = int(trade["price"]), int(trade["quantity"]), int(trade["event_time_ms"])
    if price <= 0:
        return "price: not above zero"
    if quantity <= 0:
        return "quantity: not above zero"
    if wrong_time := time_fault(time_ms):
        return wrong_time
    if time_ms >= latest_ms:
        return IN_FUTURE
    if trade["side"] > 1:
        return "side is neither buy nor sell"
    return NOTIONAL_FAULT if is_notional_too_large(price, quantity) else None


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
