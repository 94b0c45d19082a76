"""What a browser may send as the alert settings of its session."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard.alert_settings import MOST_LINES, AlertSettings, InvalidAlertSettings, PriceLine

LINE: dict[str, Any] = {"id": "1-a", "symbol": "BTC", "side": "above", "price": 65_250.5}
SENT: dict[str, Any] = {"version": 3, "muted": True, "notify": False, "lines": [LINE]}


def test_settings_come_back_as_they_were_sent() -> None:
    settings = AlertSettings.from_browser(SENT)
    assert settings == AlertSettings(3, True, False, (PriceLine("1-a", "BTC", "above", 65_250.5),))
    assert settings.for_browser() == SENT


def test_a_new_session_is_not_muted_and_has_no_lines() -> None:
    assert AlertSettings().for_browser() == {"version": 0, "muted": False, "notify": False, "lines": []}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": -1}, "version=-1"),
        ({"version": True}, "version=True"),
        ({"version": "3"}, "version='3'"),
        ({"lines": None}, "lines=None"),
        ({"lines": [LINE] * (MOST_LINES + 1)}, "not 0 to 20 price lines"),
        ({"lines": ["BTC"]}, "'BTC' has no fields"),
        ({"lines": [{**LINE, "id": ""}]}, "id=''"),
        ({"lines": [{**LINE, "id": "x" * 41}]}, "not 1 to 40 characters"),
        ({"lines": [{**LINE, "symbol": "<b>"}]}, "'<b>'"),
        ({"lines": [{**LINE, "symbol": None}]}, "symbol"),
        ({"lines": [{**LINE, "side": "beside"}]}, "side='beside'"),
        ({"lines": [{**LINE, "price": 0}]}, "price=0"),
        ({"lines": [{**LINE, "price": -1.5}]}, "price=-1.5"),
        ({"lines": [{**LINE, "price": float("nan")}]}, "price=nan"),
        ({"lines": [{**LINE, "price": float("inf")}]}, "price=inf"),
        ({"lines": [{**LINE, "price": "65000"}]}, "price='65000'"),
        ({"lines": [{**LINE, "price": True}]}, "price=True"),
    ],
)
def test_what_cannot_be_is_refused_with_its_value(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidAlertSettings, match=words.replace("[", r"\[")):
        AlertSettings.from_browser({**SENT, **change})


@pytest.mark.parametrize("sent", [None, [], "muted", 7])
def test_what_has_no_fields_is_refused(sent: object) -> None:
    with pytest.raises(InvalidAlertSettings, match="has no fields"):
        AlertSettings.from_browser(sent)
