"""A stream entry: what goes in comes out, and what is torn or impossible is told."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
import redis
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.entry import END_OF_STREAM, IN_FUTURE, RECORD, decode, encode, fault, impossible, records
from pipeline.errors import InvalidEntry
from pipeline.market import EARLIEST_MS, LATEST_MS, Side, Trade
from tests.feeding import plain, some_trades

I64 = st.integers(-(2**63), 2**63 - 1)
ROWS = st.lists(st.tuples(I64, I64, I64, I64, st.integers(0, 2), st.integers(0, 2**32 - 1)), max_size=20)
NAMES = ["BTC", "1000SATS", "A.B_C@D-E"]


def stored(fields: dict[str, str | bytes | int]) -> dict[bytes, bytes]:
    """``fields`` as Redis gives them back."""
    return {k.encode(): v if isinstance(v, bytes) else str(v).encode() for k, v in fields.items()}


@given(ROWS, st.just(0) | st.integers(EARLIEST_MS, END_OF_STREAM))
@settings(max_examples=100, deadline=None)
def test_an_entry_comes_back_as_it_was(rows: list[tuple[int, ...]], heartbeat_ms: int) -> None:
    assume(rows or heartbeat_ms)  # Redis holds no entry without fields
    trades = np.array(rows, RECORD)
    symbols, found, heartbeat = decode(stored(encode(NAMES, trades, heartbeat_ms)))
    assert heartbeat == heartbeat_ms
    assert found.tolist() == trades.tolist()
    assert list(symbols) == (NAMES if rows else [])


def test_an_entry_comes_back_from_a_real_redis_as_it_was(redis_client: redis.Redis) -> None:
    trades = some_trades(500, symbols=3)
    redis_client.xadd("trades", encode(NAMES, trades, EARLIEST_MS))
    ((_, fields),) = redis_client.xrange("trades")
    found = decode(fields)
    assert found.heartbeat_ms == EARLIEST_MS
    assert plain(found.symbols, found.trades) == plain(NAMES, trades)


def test_a_heartbeat_alone_carries_neither_symbols_nor_trades() -> None:
    assert encode(NAMES, np.empty(0, RECORD), 1_700_000_000_000) == {"heartbeat": 1_700_000_000_000}
    assert encode(NAMES, np.empty(0, RECORD)) == {}


GOOD = stored(encode(["BTC"], some_trades(2)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (GOOD | {b"trades": GOOD[b"trades"] + b"x"}, "torn entry"),
        (GOOD | {b"trades": b"BTC,1,2,3"}, "torn entry"),
        (GOOD | {b"symbols": b""}, "''"),
        (GOOD | {b"symbols": b"BTC,"}, "''"),
        (GOOD | {b"symbols": b"BTC,eth"}, "'eth'"),
        (GOOD | {b"symbols": b'BTC,"E'}, "A-Z"),
        (GOOD | {b"symbols": b"B" * 21}, "1 to 20"),
        (GOOD | {b"symbols": "BTC,É".encode()}, "ascii"),
        ({b"trades": GOOD[b"trades"]}, "0 symbols"),
        (stored(encode(["BTC"], some_trades(2, symbols=2))), "1 symbols"),
        ({b"heartbeat": b""}, "''"),
        ({b"heartbeat": b"1.7e12"}, "1.7e12"),
        ({b"heartbeat": b"-5"}, "-5"),
        ({b"heartbeat": str(EARLIEST_MS - 1).encode()}, str(EARLIEST_MS - 1)),
        ({b"heartbeat": str(END_OF_STREAM + 1).encode()}, str(END_OF_STREAM + 1)),
        ({b"heartbeat": b"9" * 5_000}, "torn entry"),
        ({b"heartbeat": b" 1700000000000"}, "not a time"),
        ({b"heartbeat": "\uff11".encode() + b"7" * 12}, "not a time"),
        (GOOD | {b"symbols": b"B," * 10_000 + b"B"}, "more than 10000 symbols"),
        ({b"trade": GOOD[b"trades"]}, "neither trades nor heartbeat"),
        ({}, "neither trades nor heartbeat"),
    ],
)
def test_a_torn_entry_is_refused_with_what_is_wrong(fields: dict[bytes, bytes], words: str) -> None:
    with pytest.raises(InvalidEntry, match="torn entry") as caught:
        decode(fields)
    assert words in str(caught.value)


@given(st.binary(max_size=200), st.binary(max_size=30), st.binary(max_size=15))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_decoded_or_refused_and_nothing_else(
    trades: bytes, symbols: bytes, heartbeat: bytes
) -> None:
    try:
        found = decode({b"trades": trades, b"symbols": symbols, b"heartbeat": heartbeat})
    except InvalidEntry:
        return
    assert len(found.trades) * RECORD.itemsize == len(trades)


@pytest.mark.parametrize(
    ("field", "value", "is_impossible"),
    [
        ("price", 0, True), ("price", -1, True), ("price", 1, False), ("price", 2**63 - 1, False),
        ("quantity", 0, True), ("quantity", -(2**63), True), ("quantity", 1, False),
        ("quantity", 2**63 - 1, False),
        ("event_time_ms", EARLIEST_MS - 1, True), ("event_time_ms", EARLIEST_MS, False),
        ("event_time_ms", LATEST_MS - 1, False), ("event_time_ms", LATEST_MS, True),
        ("side", 2, True), ("side", 2**32 - 1, True), ("side", 1, False),
        ("trade_id", -(2**63), False),
    ],
)  # fmt: skip
def test_an_impossible_record_is_marked_and_only_that(field: str, value: int, is_impossible: bool) -> None:
    trades = some_trades(3)
    trades[field][1] = value
    assert impossible(trades).tolist() == [False, is_impossible, False]


def test_trades_become_records_with_a_symbol_table_in_order_of_appearance() -> None:
    trades = [
        Trade("ETH", 5, 1_700_000_000_000, Decimal("2683.8"), Decimal("0.002"), Side.SELL),
        Trade("BTC", -9, 1_700_000_000_001, Decimal("0.0000000001"), Decimal("1E-8"), Side.BUY),
        Trade("ETH", 6, 1_700_000_000_002, Decimal("922337203.6854775807"), Decimal(7), Side.BUY),
    ]
    symbols, found = records(trades)
    assert symbols == ["ETH", "BTC"]
    assert found.tolist() == [
        (1_700_000_000_000, 5, 26_838_000_000_000, 200_000, 0, 0),
        (1_700_000_000_001, -9, 1, 1, 1, 1),
        (1_700_000_000_002, 6, 2**63 - 1, 700_000_000, 0, 1),
    ]
    assert found.dtype.itemsize == 40
    assert records([])[1].shape == (0,)


@given(ROWS, st.integers(EARLIEST_MS, LATEST_MS))
@settings(max_examples=200, deadline=None)
def test_a_record_has_a_reason_exactly_where_it_is_marked_impossible(
    rows: list[tuple[int, ...]], latest_ms: int
) -> None:
    trades = np.array(rows, RECORD)
    assert [fault(trade, latest_ms) is not None for trade in trades] == impossible(trades, latest_ms).tolist()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price": 2**62, "quantity": 2**38}, None),
        ({"price": 2**62, "quantity": 2**38 + 1}, "price times quantity is too large"),
        ({"price": 2**63 - 1, "quantity": 2**63 - 1}, "price times quantity is too large"),
        ({"event_time_ms": 1_700_000_000}, "event time is in seconds, not in milliseconds"),
        ({"event_time_ms": 1_700_000_000_000_000}, "event time is in microseconds, not in milliseconds"),
        ({"event_time_ms": 1_700_000_000_000_000_000}, "event time is in nanoseconds, not in milliseconds"),
        ({"event_time_ms": 0}, "event time is before 2009"),
        ({"event_time_ms": -(2**63)}, "event time is before 2009"),
        ({"event_time_ms": 5_000_000_000_000}, "event time is after 2099"),
        ({"event_time_ms": 1_900_000_000_000}, IN_FUTURE),
        ({"side": 7}, "side is neither buy nor sell"),
    ],
)  # fmt: skip
def test_each_fault_has_a_reason_of_its_own(change: dict[str, int], reason: str | None) -> None:
    trades = some_trades(1)
    for name, value in change.items():
        trades[name] = value
    assert fault(trades[0], 1_800_000_000_000) == reason
    assert impossible(trades, 1_800_000_000_000).tolist() == [reason is not None]
