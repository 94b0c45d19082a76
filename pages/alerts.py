"""Alerts: how many by hour, and the list, newest first; each leads to its candle."""

import streamlit as st

from dashboard import session
from dashboard.alerts import alert_list
from dashboard.components import masthead
from dashboard.fragment import fragment
from pipeline.alert import AlertType, Severity

with st.sidebar:
    symbols = st.multiselect("Symbols", session.symbols(), key="of", bind="query-params", placeholder="All")
    types = st.multiselect(
        "Types", [each.value for each in AlertType], key="type", bind="query-params", placeholder="All",
        format_func=lambda name: name.replace("_", " ").capitalize(),
    )  # fmt: skip
    severity = st.segmented_control(
        "Severity, at least", [each.name for each in Severity], default="LOW", required=True,
        key="severity", bind="query-params", format_func=str.capitalize, width="stretch", wrap=False,
    )  # fmt: skip
    local_time = st.toggle("Local time", key="local", bind="query-params", help="Otherwise UTC")


@fragment()
def top() -> None:
    """Title and badge; drawn again when the doorbell rings."""
    masthead("Alerts", symbol="ALL", interval="1m", quiet=True)


top()
alert_list(symbols, types, severity, local_time=local_time)
