"""The candle: exact through every form it takes, and never impossible."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from pipeline.candle import CSV_HEADER, Candle
from pipeline.errors import InvalidCandle
from pipeline.market import Interval

T0 = 1_700_000_000_000 // 3_600_000 * 3_600_000
"""A full hour."""
BIG = Decimal("123456789012345678901234567890.000000000000000001")
CANDLE = Candle(
    "BTC", Interval.M1, T0, Decimal(2), Decimal("3.50"), Decimal("1E-10"), Decimal("2.25"),
    Decimal("12.5"), BIG, Decimal(0), 7, True, 3, 4, T0 + 61_000,
)  # fmt: skip


def test_a_candle_goes_through_json_without_losing_a_digit() -> None:
    text = CANDLE.to_json()
    assert Candle.from_json(text) == Candle.from_json(text.encode()) == CANDLE
    assert Candle.from_json(text).to_json() == text
    assert f'"quote_volume":{BIG},' in text and '"low":0.0000000001,' in text
    assert list(json.loads(text)) == [
        "symbol", "interval", "open_time_ms", "close_time_ms", "open", "high", "low", "close", "volume",
        "quote_volume", "taker_buy_volume", "trade_count", "is_closed", "epoch", "seq", "published_at_ms",
    ]  # fmt: skip
    assert json.loads(text)["close_time_ms"] == CANDLE.close_time_ms == T0 + 60_000


def test_a_csv_row_has_the_headers_values_in_plain_digits() -> None:
    row = dict(zip(CSV_HEADER, CANDLE.csv_row(), strict=True))
    assert (row["symbol"], row["interval"], row["open_time_ms"], row["trade_count"]) == (
        "BTC",
        "1m",
        str(T0),
        "7",
    )
    assert (row["low"], row["quote_volume"]) == ("0.0000000001", str(BIG))


@pytest.mark.parametrize(
    "change",
    [{"open": Decimal(4)}, {"close": Decimal("1E-11")}, {"low": Decimal(9)}, {"open_time_ms": T0 + 1}],
    ids=str,
)
def test_a_candle_that_contradicts_itself_cannot_be_made(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidCandle):
        replace(CANDLE, **change)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "null", b"\xff", "{}"]
    + [
        json.dumps(json.loads(CANDLE.to_json()) | {name: value})
        for name, value in [
            ("interval", "2m"), ("open", "dear"), ("open", None), ("high", float("nan")), ("low", []),
            ("open_time_ms", str(T0)), ("close", 99), ("open_time_ms", True), ("open_time_ms", -60_000),
            ("open", "2"), ("open", True), ("low", 0), ("low", -1), ("volume", -1), ("volume", "NaN"),
            ("volume", float("inf")), ("taker_buy_volume", -0.5), ("trade_count", 1.5), ("trade_count", -1),
            ("trade_count", True), ("is_closed", 1), ("symbol", "btc"), ("symbol", None), ("symbol", ["BTC"]),
            ("seq", "4"), ("epoch", -1), ("published_at_ms", None), ("close_time_ms", T0),
        ]
    ]
    + [
        CANDLE.to_json().replace('"open":2', f'"open":{number}')
        for number in ("1e999999", "1e-999999", "-0", "\uff12", "2_0", "[" * 100_000, "9" * 5_000)
    ],
)  # fmt: skip
def test_text_that_is_no_candle_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidCandle):
        Candle.from_json(text)


@pytest.mark.parametrize("name", ["symbol", "interval", "open_time_ms", "high", "trade_count", "is_closed"])
def test_a_candle_without_a_field_is_refused_by_the_fields_name(name: str) -> None:
    fields = json.loads(CANDLE.to_json())
    del fields[name]
    with pytest.raises(InvalidCandle, match=name):
        Candle.from_json(json.dumps(fields))
