"""One market, live: price and badge, cards, chart."""

import streamlit as st

from dashboard import session
from dashboard.alerts import wanted_candle
from dashboard.cards import live_cards
from dashboard.chart import CHART_TYPES, View
from dashboard.components import live_chart, masthead
from dashboard.fragment import fragment
from dashboard.indicators import Indicator
from dashboard.text import pair
from dashboard.theme import PALETTES
from pipeline.market import INTERVALS, Interval

INDICATORS = ["SMA 7", "SMA 25", "SMA 99", "EMA 12", "EMA 26", "BB 20", "VWAP", "RSI 14"]
CARD_CANDLES = 120

with st.sidebar:
    symbol = st.selectbox("Symbol", session.symbols(), key="symbol", bind="query-params")
    interval = Interval(
        st.segmented_control(
            "Interval", [each.value for each in INTERVALS], default="1m", required=True,
            key="interval", bind="query-params", width="stretch", wrap=False,
        )
    )  # fmt: skip
    chart_type = st.segmented_control(
        "Chart", CHART_TYPES, default="candles", required=True, key="chart", bind="query-params",
        format_func=str.capitalize, width="stretch", wrap=False,
    )  # fmt: skip
    names = st.multiselect(
        "Indicators", INDICATORS, default=["SMA 7", "SMA 25"], key="indicators", bind="query-params",
        accept_new_options=True, help="Or type one: SMA, EMA, BB or RSI and a length, e.g. EMA 50",
    )  # fmt: skip
    fill_gaps = st.toggle("Flat candles where nobody traded", value=True, key="gaps", bind="query-params")
    local_time = st.toggle("Local time", key="local", bind="query-params", help="Otherwise UTC")
    palette = PALETTES[st.selectbox("Colours", list(PALETTES), key="colours", bind="query-params")]

indicators = [Indicator.parse(name) for name in names]
for name, indicator in zip(names, indicators, strict=True):
    if indicator is None:
        st.sidebar.warning(f"{name!r} is no indicator: write SMA, EMA, BB or RSI and a length from 2 to 500")


@fragment()
def top() -> None:
    """Everything that is drawn again when the doorbell rings."""
    series = session.series(symbol, interval)
    shown = series.bars()[-CARD_CANDLES:]
    masthead(
        " / ".join(pair(symbol)), symbol=symbol, interval=interval.value, places=series.places,
        cards=live_cards(symbol, interval, shown, series.places) if shown else [],
        palette=palette,
    )  # fmt: skip
    if not shown:
        st.info(f"No {interval.value} candle of {symbol} yet.")


top()
view = View(chart_type, tuple(each for each in indicators if each), fill_gaps)
live_chart(st.session_state["series"], view, palette, local_time=local_time, at_ms=wanted_candle(symbol))
