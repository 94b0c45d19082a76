"""The components.v2 components, as functions.

Their code is in ``assets/``; a shim of one line loads it, so that the browser caches the modules
and no rerun sends them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from typing import Any, Final

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from dashboard import session
from dashboard.assets import MODULES_PATH, PLOTLY_PATH
from dashboard.cards import Card
from dashboard.chart import RANGES, View, figure
from dashboard.markets import MarketRow
from dashboard.services import services
from dashboard.session import Series
from dashboard.text import compact, price, significant_places
from dashboard.theme import GREEN_RED, Palette
from pipeline.candle import Candle

_SHIM: Final = """
export default async function (component) {{
  const module = await import(new URL("{path}", document.baseURI.replace(/[^/]*([?#].*)?$/, "")));
  return module.default(component);
}}
"""


def browser_component(name: str) -> ComponentRenderer:
    """The component whose code is ``assets/NAME.js``."""
    script = _SHIM.format(path=f"{MODULES_PATH}/{name}.js")
    return st.components.v2.component(f"candlecast.{name}", js=script, isolate_styles=False)


_masthead = browser_component("masthead")
_live_chart = browser_component("live_chart")
_market_table = browser_component("markets")
_console = browser_component("console")
_moving_picture = browser_component("pipeline")
_plot = browser_component("plot")
_trade_to_screen = browser_component("trade_to_screen")
_preload = browser_component("preload")

_COLUMNS: Final = (
    "open_time_ms", "open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume",
    "trade_count", "is_closed", "epoch", "seq", "published_at_ms", "source",
)  # fmt: skip


def preload() -> None:
    """Have the browser load Plotly already while the script goes on. Takes no room."""
    with st.container(key="preload"):
        _preload(key="preload_plotly", data={"plotly": PLOTLY_PATH})


def masthead(
    title: str,
    *,
    symbol: str,
    interval: str,
    places: int | None = None,
    cards: Sequence[Card] = (),
    quiet: bool = False,
    palette: Palette = GREEN_RED,
) -> None:
    """Title with the live badge and the feed's own words, and a row of cards; also the page's doorbell.

    It listens to ``symbol`` (``ALL`` for every one) and reruns the fragment that it stands in at
    most once a second, and at each closed candle. With ``places`` (decimals) it shows the last
    price; a ``quiet`` one rings only when its state changes.
    """
    facts = session.feed_facts()
    _masthead(
        key="masthead",
        data={
            "title": title,
            "symbol": symbol,
            "interval": interval,
            "tags": facts.tags,
            "sentence": facts.sentence,
            "gaps": [(gap.from_ms, gap.to_ms, gap.reason) for gap in facts.gaps_of(symbol)],
            "redis_connected": services().hub.connected,
            "places": places,
            "quiet": quiet,
            # One component, not two: mounting one costs the server more than all of its data.
            "cards": [card._asdict() for card in cards],
            "up": palette.up,
            "down": palette.down,
            "token": services().settings.ws_token,
        },
        on_ring_change=lambda: None,
    )


def live_chart(
    series: Series, view: View, palette: Palette, *, local_time: bool, at_ms: int | None = None
) -> None:
    """The live chart. It keeps itself up to date; call it again only to change what it shows.

    With ``at_ms`` it goes once to that candle and no longer follows the newest.
    """
    _live_chart(
        key="live_chart",
        data={
            "symbol": series.symbol,
            "interval": series.interval.value,
            "width_ms": series.interval.ms,
            "figure": figure(series.closed, view, palette),
            "columns": _COLUMNS,
            "rows": [_row(candle, series.stand_ins) for candle in series.candles],
            "colors": palette.for_browser(),
            "decimals": series.places,
            "chart_type": view.chart_type,
            "fill_gaps": view.fill_gaps,
            "local_time": local_time,
            "at": at_ms,
            "ranges": RANGES[series.interval],
            "plotly": PLOTLY_PATH,
            "token": services().settings.ws_token,
        },
    )


def market_table(rows: Sequence[MarketRow]) -> str | None:
    """The table of all markets; the symbol of the row that was opened, else None."""
    data = {
        "rows": [
            {
                **asdict(row),
                "places": significant_places(row.price),
                "volume_text": compact(row.volume),
                "low_text": price(row.low, significant_places(row.low)),
                "high_text": price(row.high, significant_places(row.high)),
            }
            for row in rows
        ],
        "token": services().settings.ws_token,
    }
    opened = _market_table(key="market_table", data=data, on_open_change=lambda: None).open
    return None if opened is None else str(opened)


def moving_picture(data: Mapping[str, Any]) -> None:
    """The pipeline's stations and the lanes between them (see ``health.moving_picture``)."""
    _moving_picture(key="moving_picture", data=data)


def trade_to_screen(written: Sequence[tuple[int, int]], clock_offset_ms: int | None) -> None:
    """Histograms of the time from trade, and from publishing, to painted, which the browser measures.

    ``written``: of some of the job's writes, when they were published, and the event time of their
    newest trade; ``clock_offset_ms``: the exchange's clock less ours.
    """
    _trade_to_screen(key="trade_to_screen", data={"written": written, "clock_offset_ms": clock_offset_ms or 0})


def console(path: str, kind: str) -> None:
    """A console for one endpoint; ``kind`` is WS or GET."""
    _console(key="console", data={"path": path, "kind": kind})


def plot(figure: Mapping[str, Any], *, key: str, label: str, height: int) -> None:
    """Any Plotly figure, updated in place. ``label`` is its text alternative, ``height`` in pixels."""
    _plot(key=key, data={"figure": figure, "label": label, "height": height, "plotly": PLOTLY_PATH})


def _row(candle: Candle, stand_ins: Set[int]) -> list[float | int | bool | str | None]:
    return [
        candle.open_time_ms, float(candle.open), float(candle.high), float(candle.low), float(candle.close),
        float(candle.volume), float(candle.quote_volume), float(candle.taker_buy_volume),
        candle.trade_count, candle.is_closed, candle.epoch, candle.seq, candle.published_at_ms,
        "exchange" if candle.open_time_ms in stand_ins else None,
    ]  # fmt: skip
