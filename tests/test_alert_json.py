"""The alert as a noun: exact through its JSON, and nothing else passes for one."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alert import Alert, AlertType, Severity
from pipeline.errors import InvalidAlert
from pipeline.gateway.frames import ALERT_SCHEMA
from tests.alerts import alert

TEXT = alert().to_json()


@given(
    st.sampled_from(AlertType),
    st.sampled_from(Severity),
    st.decimals(-1_000, 1_000, places=4),
    st.decimals("1e-10", 10**9, places=10),
    st.text(max_size=300),
    st.booleans(),
)
def test_an_alert_comes_back_from_its_json_as_it_was(
    alert_type: AlertType,
    severity: Severity,
    percent: Decimal,
    price: Decimal,
    message: str,
    provisional: bool,
) -> None:
    one = alert(
        alert_type=alert_type,
        severity=severity,
        price_change_percent=percent,
        open_price=price,
        close_price=price * 2,
        message=message,
        provisional=provisional,
    )
    text = one.to_json()
    assert Alert.from_json(text) == one
    assert Alert.from_json(text.encode()).to_json() == text, "digit by digit"
    jsonschema.validate(json.loads(text), ALERT_SCHEMA)


def test_the_json_has_the_fields_of_the_contract_and_numbers_with_their_digits() -> None:
    assert list(json.loads(TEXT)) == [
        "id", "symbol", "alert_type", "severity", "price_change_percent", "open_price", "close_price",
        "window_start_ms", "window_end_ms", "triggered_at_ms", "message", "provisional",
    ]  # fmt: skip
    assert '"open_price":100.000000000100000001,"close_price":105.43210000,' in TEXT


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ('"symbol":"BTC"', '"symbol":"<b>"'),
        ('"symbol":"BTC"', '"symbol":7'),
        ('"alert_type":"PRICE_SPIKE"', '"alert_type":"RUMOUR"'),
        ('"alert_type":"PRICE_SPIKE"', '"alert_type":["PRICE_SPIKE"]'),
        ('"severity":"LOW"', '"severity":"low"'),
        ('"severity":"LOW"', '"severity":{}'),
        ('"price_change_percent":5.4321', '"price_change_percent":"5.4321"'),
        ('"price_change_percent":5.4321', '"price_change_percent":NaN'),
        ('"price_change_percent":5.4321', '"price_change_percent":Infinity'),
        ('"price_change_percent":5.4321', '"price_change_percent":true'),
        ('"price_change_percent":5.4321', '"price_change_percent":1.0e999999'),
        ('"window_start_ms":', '"window_start_ms":-'),
        ('"window_start_ms":', '"window_start_ms":9'),
        ('"provisional":false', '"provisional":0'),
        ('"provisional":false', '"other":false'),
        ('"id":"BTC', '"id":"\\u0022><script>'),
        ('"id":"BTC', '"id":"BTC' + "x" * 80),
        ('"message":"', '"message":"' + "x" * 300),
        ('"message":"', '"message":"' + "x" * 5_000),
        ("{", "[" * 3_900 + "{"),
        (TEXT, "{"),
        (TEXT, "[]"),
        (TEXT, "null"),
        (TEXT, ""),
    ],
)
def test_what_is_no_alert_is_refused_with_its_text(part: str, wrong: str) -> None:
    assert part in TEXT
    with pytest.raises(InvalidAlert, match="not an alert"):
        Alert.from_json(TEXT.replace(part, wrong, 1))


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidAlert):
        Alert.from_json(TEXT.encode()[:-1] + b"\xff}")


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidAlert):
        replace(alert(), window_end_ms=alert().window_start_ms - 1)
