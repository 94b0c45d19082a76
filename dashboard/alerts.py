"""What the pages show of alerts: the bell of every page, the list, and the way to a candle."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import streamlit as st
from streamlit.errors import StreamlitAPIException

from dashboard import session
from dashboard.alert_settings import AlertSettings, InvalidAlertSettings
from dashboard.components import browser_component
from dashboard.fragment import fragment
from dashboard.services import services
from pipeline.errors import InvalidTrade
from pipeline.market import EARLIEST_MS, LATEST_MS, Interval, check_symbol

log = logging.getLogger(__name__)

_bell = browser_component("bell")
_list = browser_component("alerts")

_SETTINGS: Final = "alert_settings"
_WENT_TO: Final = "went_to"


@fragment(key="alert_bell")
def bell() -> None:
    """Toasts, switches and price lines, on every page. It is drawn again when a person changes them.

    Alerts and prices come to the browser by its own WebSockets; a session keeps only what was set.
    """
    did = _bell(
        key="bell",
        data={"settings": settings().for_browser(), "token": services().settings.ws_token},
        on_settings_change=lambda: None,
        on_go_change=lambda: None,
        on_list_change=lambda: None,
    )
    if did.settings is not None:
        _keep(did.settings)
    if did.go is not None:
        go_to_candle(did.go)
    if did.list:
        st.switch_page(session.ALERTS_PAGE)


def alert_list(symbols: Sequence[str], types: Sequence[str], severity: str, *, local_time: bool) -> None:
    """Cards, counts by hour and the live list; empty ``symbols`` or ``types`` mean all of them."""
    opened = _list(
        key="alert_list",
        data={
            "symbols": list(symbols),
            "types": list(types),
            "severity": severity,
            "local_time": local_time,
            "token": services().settings.ws_token,
        },
        on_open_change=lambda: None,
    ).open
    if opened is not None:
        go_to_candle(opened)


def settings() -> AlertSettings:
    """The session's settings, its price lines among them."""
    return cast("AlertSettings", st.session_state.get(_SETTINGS, AlertSettings()))


def go_to_candle(wanted: Mapping[str, Any]) -> None:
    """Open the live page at the candle that the browser asks for: ``symbol`` and ``at`` in ms."""
    try:
        symbol = check_symbol(wanted["symbol"])
        at_ms = int(wanted["at"])
    except (KeyError, TypeError, ValueError, InvalidTrade) as error:
        log.warning("the browser asked for a candle that cannot be: %r (%s)", wanted, error)
        return
    at, address = {"at": str(at_ms)}, {"symbol": symbol, "at": str(at_ms)}
    st.session_state["symbol"] = symbol
    if st.session_state.get("interval") == Interval.S1.value:  # seconds do not reach back far
        st.session_state["interval"] = Interval.M1.value
    try:
        st.switch_page(session.LIVE_PAGE, query_params=address)
    except StreamlitAPIException:  # the page we are on binds its symbol to the address: nobody else may set it
        st.switch_page(session.LIVE_PAGE, query_params=at)


def wanted_candle(symbol: str) -> int | None:
    """The candle of the page's ``?at=`` (ms), for as long as the market of that link is shown."""
    text = st.query_params.get("at")
    if text is None:
        return None
    meant_for = st.session_state.setdefault(_WENT_TO, (symbol, text))
    if meant_for[1] != text:
        meant_for = st.session_state[_WENT_TO] = (symbol, text)
    if meant_for[0] != symbol:
        del st.query_params["at"]
        return None
    if not text.isascii() or not text.isdigit() or not EARLIEST_MS <= int(text) < LATEST_MS:
        st.warning(f"The link's at={text[:40]!r} is no time in milliseconds: showing the newest candle")
        return None
    return int(text)


def _keep(sent: object) -> None:
    try:
        changed = AlertSettings.from_browser(sent)
    except InvalidAlertSettings as error:
        log.warning("%s", error)
        return
    if changed.version > settings().version:
        st.session_state[_SETTINGS] = changed
