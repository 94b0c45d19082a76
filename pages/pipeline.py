"""The system at work: each part with its figures, rates, latency, gaps, and what was refused."""

import streamlit as st

from dashboard import session
from dashboard.components import masthead, moving_picture, plot, trade_to_screen
from dashboard.fragment import fragment
from dashboard.health import moving_picture as picture_of
from dashboard.panels import agreement_rows, agreement_words, gap_rows, latency_histogram, rates
from dashboard.services import services
from dashboard.theme import GREEN_RED
from pipeline.retry import RETRYABLE


@fragment()
def pipeline() -> None:
    """Everything on the page; drawn again when the doorbell rings."""
    masthead("Pipeline", symbol="ALL", interval="1m")
    try:
        look = session.readings().look()
    except RETRYABLE as error:
        st.error(f"Redis is away: {error}")
        return
    moving_picture(picture_of(look.reading))
    embedded = services().embedded
    if embedded:
        parts = ", ".join(f"{step.name} {step.state}" for step in embedded.steps())
        st.caption(f"Processes that this server keeps alive: {parts}")
    left, right = st.columns(2)
    with left, st.container(border=True):
        st.subheader("Candles a second, last two minutes", anchor=False)
        plot(
            rates(services().meter.seconds(), GREEN_RED),
            key="rates", label="Candle revisions and closed candles a second", height=230,
        )  # fmt: skip
    with right, st.container(border=True):
        st.subheader("From publishing to this server, ms", anchor=False)
        plot(
            latency_histogram(look.reading.latency, GREEN_RED),
            key="latency", label="Histogram of the time from publishing to the hub", height=230,
        )  # fmt: skip
    with st.container(border=True):
        st.subheader("To the screen of this browser", anchor=False)
        trade_to_screen(look.written, look.facts.clock_offset_ms)
    gaps, agreement = gap_rows(look.facts.gaps), agreement_rows(look.facts.agreement)
    st.markdown(agreement_words(look.facts.agreement))
    for title, rows, none in (
        ("Agreement with the exchange", agreement, "Nothing is compared yet."),
        ("Gaps in what the feed saw", gaps, "None on record: the feed saw every trade."),
        ("Late trades", look.late, "None yet. What arrives here is kept in Redis with its reason."),
        ("Rejected records", look.rejected, "None yet. What arrives here is kept in Redis with its reason."),
    ):
        with st.expander(title):  # a label that changed would close it
            if rows:
                st.caption(f"The newest {len(rows)}, newest first")
                st.dataframe(rows, hide_index=True)
            else:
                st.caption(none)


pipeline()
