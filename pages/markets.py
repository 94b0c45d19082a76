"""All markets at once: the table, the map, and several compared."""

import streamlit as st

from dashboard import session
from dashboard.components import market_table, masthead, plot
from dashboard.fragment import fragment
from dashboard.markets import comparison, market_row, treemap
from dashboard.theme import PALETTES

with st.sidebar:
    chosen = st.multiselect(
        "Compare", session.symbols(), default=session.symbols()[:4], key="compare", bind="query-params"
    )
    palette = PALETTES[st.selectbox("Colours", list(PALETTES), key="colours", bind="query-params")]


@fragment()
def markets() -> None:
    """Everything on the page; drawn again when the doorbell rings."""
    book = session.book()
    if session.lost_revisions("1m"):
        book.forget()
    masthead("Markets", symbol="ALL", interval="1m", palette=palette)
    bars = {symbol: book.bars(symbol) for symbol in session.symbols()}
    rows = [row for symbol, held in bars.items() if (row := market_row(symbol, *held))]
    st.session_state["markets"] = rows
    opened = market_table(rows)
    if opened:
        st.switch_page(session.LIVE_PAGE, query_params={"symbol": opened})
    left, right = st.columns([1, 1])
    with left, st.container(border=True):
        st.subheader("Map", anchor=False)
        st.caption("Area by volume (square root), colour by the change in an hour")
        label = "Map of the markets: " + ", ".join(row.symbol for row in rows)
        plot(treemap(rows, palette), key="map", label=label, height=330)
    with right, st.container(border=True):
        st.subheader("Compared", anchor=False)
        st.caption("Each market is 100 at the start")
        compared = {symbol: bars[symbol][0] for symbol in chosen if symbol in bars}
        label = "Prices rebased to 100: " + ", ".join(compared)
        plot(comparison(compared, palette), key="comparison", label=label, height=330)


markets()
