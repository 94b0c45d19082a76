"""Trades, intervals, symbols and numbers: exact, and never impossible."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InvalidTrade
from pipeline.market import (
    EARLIEST_MS,
    INTERVALS,
    LATEST_MS,
    PRICE_DECIMALS,
    Side,
    Trade,
    check_symbol,
    decimal_text,
    scale,
    time_fault,
)

T0 = 1_700_000_000_000 // 3_600_000 * 3_600_000
"""A full hour."""


@given(st.integers(1, 2**63 - 1), st.integers(0, 18))
@settings(max_examples=100, deadline=None)
def test_units_written_as_text_are_read_back_as_the_same_units(units: int, decimals: int) -> None:
    text = decimal_text(units, decimals)
    assert scale(text, decimals) == units
    assert scale(text + "000" if "." in text else text + ".000", decimals) == units


@given(st.integers(-(2**200), 2**200), st.integers(0, 18))
@settings(max_examples=100, deadline=None)
def test_text_of_units_is_exact_plain_and_short(units: int, decimals: int) -> None:
    text = decimal_text(units, decimals)
    assert Decimal(text) == Decimal(f"{units}e-{decimals}")
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))
    assert json.loads(text, parse_float=Decimal, parse_int=Decimal) == Decimal(text)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("0", "not above zero"), ("-1", "not above zero"), ("-0.00", "not above zero"),
        ("-1e9", "not above zero"),
        ("0.00000000001", "more than 10 decimals"), ("1.00000000005", "more than 10 decimals"),
        ("1e-999999", "more than 10 decimals"), ("1e-99999999999", "more than 10 decimals"),
        ("1" + "0" * 90 + ".5", "too large"), ("1." + "0" * 90 + "5", "more than 10 decimals"),
        ("922337203.6854775808", "too large"), ("1e999999", "too large"), ("1e99999999999", "too large"),
        ("NaN", "not a finite number"), ("sNaN", "not a finite number"), ("-Infinity", "not a finite number"),
        ("", "not a number"), ("1,5", "not a number"), ("twelve", "not a number"), ("0x10", "not a number"),
        ("1_000", "not a number"), ("\uff11\uff12", "not a number"), ("\u0663", "not a number"),
        (" 5 ", "not a number"), ("5\n", "not a number"), (True, "not a number"), (5, "not a number"),
        (0.5, "not a number"), (b"5", "not a number"), ([5], "not a number"), ("1e", "not a number"),
        (Decimal("NaN"), "not a finite number"), (Decimal("Infinity"), "not a finite number"),
        ("NaN123", "not a finite number"), ("9" * 1_001, "longer than 1000 characters"),
        ("1" * 10_000_000, "longer than 1000 characters"),
        ("1e" + "9" * 400, "too large, or with too many decimals"),
        (None, "not a number"),
    ],
)  # fmt: skip
def test_a_number_that_is_not_an_exact_positive_one_is_refused_by_reason(number: Any, reason: str) -> None:
    with pytest.raises(InvalidTrade) as caught:
        scale(number, PRICE_DECIMALS)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 300


def test_the_largest_price_and_the_smallest_are_taken_exactly() -> None:
    assert scale("922337203.6854775807", PRICE_DECIMALS) == 2**63 - 1
    assert scale("1E-10", PRICE_DECIMALS) == 1
    assert scale("1.50000000000000000000", PRICE_DECIMALS) == 15 * 10**9


@pytest.mark.parametrize("symbol", ["BTC", "1000SATS", "A.B_C@D-E", "B" * 20])
def test_a_symbol_of_plain_characters_is_taken(symbol: str) -> None:
    assert check_symbol(symbol) == symbol


@pytest.mark.parametrize("symbol", ["", "btc", "BTC/USDT", "B" * 21, 'B"', "B:C", "BTC\n", "BTC ", "É"])
def test_a_symbol_that_would_need_escaping_somewhere_is_refused(symbol: str) -> None:
    with pytest.raises(InvalidTrade, match="symbol is not 1 to 20"):
        check_symbol(symbol)


TRADE = Trade("BTC", 1, T0, Decimal(5), Decimal(1), Side.BUY)


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": "btc"}, {"price": Decimal(0)}, {"price": Decimal("NaN")}, {"quantity": Decimal(-1)},
        {"quantity": Decimal("1E-9")}, {"event_time_ms": EARLIEST_MS - 1}, {"event_time_ms": LATEST_MS},
        {"event_time_ms": float(T0)}, {"event_time_ms": True}, {"trade_id": 1.0}, {"side": 2}, {"side": None},
        {"price": Decimal(10**8), "quantity": Decimal(10**8)}, {"price": 5}, {"symbol": None},
        {"event_time_ms": T0 // 1_000}, {"trade_id": 2**63}, {"trade_id": -(2**63) - 1},
    ],
    ids=str,
)  # fmt: skip
def test_an_impossible_trade_cannot_be_made(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidTrade):
        replace(TRADE, **change)


def test_a_trade_may_stand_at_every_edge() -> None:
    for event_time_ms in (EARLIEST_MS, LATEST_MS - 1):
        for trade_id in (-(2**63), 2**63 - 1):
            assert replace(TRADE, event_time_ms=event_time_ms, trade_id=trade_id).trade_id == trade_id


def test_each_interval_is_a_whole_multiple_of_the_one_before_and_tells_its_open_time() -> None:
    for narrow, wide in itertools.pairwise(INTERVALS):
        assert wide.ms > narrow.ms and wide.ms % narrow.ms == 0
    for interval in INTERVALS:
        assert interval.open_time(T0) == interval.open_time(T0 + interval.ms - 1) == T0
        assert interval.open_time(T0 + interval.ms) == T0 + interval.ms
        assert interval.open_time(T0 - 1) == T0 - interval.ms


@given(st.text(max_size=12) | st.text("0123456789.eE+-_ \uff11\u0663nif", max_size=12))
@settings(max_examples=500, deadline=None)
def test_any_text_is_an_exact_number_or_refused_and_nothing_else(text: str) -> None:
    try:
        units = scale(text, PRICE_DECIMALS)
    except InvalidTrade as error:
        refused = str(error)
        assert 0 < len(refused) < 300
        return
    assert text.isascii() and text == text.strip() and "_" not in text
    assert 0 < units == Decimal(text).scaleb(PRICE_DECIMALS)


@pytest.mark.parametrize(
    ("time_ms", "fault"),
    [
        (T0, None), (EARLIEST_MS, None), (LATEST_MS - 1, None),
        (T0 // 1_000, "event time is in seconds, not in milliseconds"),
        (T0 * 1_000, "event time is in microseconds, not in milliseconds"),
        (T0 * 1_000_000, "event time is in nanoseconds, not in milliseconds"),
        (0, "event time is before 2009"), (-1, "event time is before 2009"),
        (86_400_000, "event time is before 2009"),
        (EARLIEST_MS - 1, "event time is before 2009"), (LATEST_MS, "event time is after 2099"),
        (2**200, "event time is after 2099"),
    ],
)  # fmt: skip
def test_a_time_in_another_unit_is_named_by_it(time_ms: int, fault: str | None) -> None:
    assert time_fault(time_ms) == fault
