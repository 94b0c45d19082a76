"""Candles in, Plotly figure out. Pure: no I/O, no clock, no Streamlit.

The figure holds the closed candles; the browser paints the open ones over it at every tick
(``assets/overlay.js``) and redraws the figure when a candle closes. Each trace's ``meta`` says
what it shows, so that the browser can fill it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from dashboard.indicators import Bar, Indicator, heikin_ashi
from dashboard.theme import Palette
from pipeline.candle import Candle
from pipeline.market import Interval

ChartType = Literal["candles", "heikin-ashi", "line"]
CHART_TYPES: Final[tuple[ChartType, ...]] = ("candles", "heikin-ashi", "line")

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
RANGES: Final[dict[Interval, tuple[tuple[str, int | None], ...]]] = {
    Interval.S1: (("1m", _MINUTE), ("5m", 5 * _MINUTE), ("15m", 15 * _MINUTE), ("All", None)),
    Interval.M1: (("30m", 30 * _MINUTE), ("1h", _HOUR), ("3h", 3 * _HOUR), ("6h", 6 * _HOUR), ("All", None)),
    Interval.M5: (("3h", 3 * _HOUR), ("6h", 6 * _HOUR), ("12h", 12 * _HOUR), ("1d", _DAY), ("All", None)),
    Interval.M15: (("6h", 6 * _HOUR), ("1d", _DAY), ("3d", 3 * _DAY), ("All", None)),
    Interval.H1: (("1d", _DAY), ("3d", 3 * _DAY), ("7d", 7 * _DAY), ("All", None)),
}
"""Range buttons of each interval: label and milliseconds; None for everything that is loaded."""


MOST_FLAT: Final = 1_000
"""Candles drawn for windows without trades."""


@dataclass(frozen=True, slots=True)
class View:
    """How a person wants to see the candles."""

    chart_type: ChartType = "candles"
    indicators: tuple[Indicator, ...] = ()
    fill_gaps: bool = True


def bar(candle: Candle) -> Bar:
    """``candle`` as floats."""
    return Bar(
        candle.open_time_ms,
        float(candle.open),
        float(candle.high),
        float(candle.low),
        float(candle.close),
        float(candle.volume),
        float(candle.quote_volume),
        candle.trade_count,
    )


def plotly_time(time_ms: int) -> str:
    """``time_ms`` as Plotly's date text in UTC. It would move a number by the browser's time zone."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def fill_gaps(bars: Sequence[Bar], width_ms: int, most: int = MOST_FLAT) -> list[Bar]:
    """``bars`` with a flat one, at the previous close and without volume, where nobody traded.

    At most ``most`` of them, the newest ones.
    """
    filled: list[Bar] = []
    for index in range(len(bars) - 1, -1, -1):
        each = bars[index]
        next_ms = bars[index + 1].open_time_ms if index + 1 < len(bars) else each.open_time_ms
        for time_ms in range(next_ms - width_ms, each.open_time_ms, -width_ms)[:most]:
            price = each.close
            filled.append(Bar(time_ms, price, price, price, price, 0.0, 0.0, 0))
            most -= 1
        filled.append(each)
    return filled[::-1]


def figure(candles: Sequence[Candle], view: View, palette: Palette) -> dict[str, Any]:
    """Plotly figure (``data`` and ``layout``) of closed candles, oldest first."""
    bars = [bar(candle) for candle in candles]
    if bars and view.fill_gaps:
        bars = fill_gaps(bars, candles[0].interval.ms)
    if view.chart_type == "heikin-ashi":
        bars = heikin_ashi(bars)
    times = [plotly_time(each.open_time_ms) for each in bars]
    traces = [_price(bars, times, view, palette), _volume(bars, times, palette)]
    colors = iter(palette.lines * 4)
    for indicator in view.indicators:
        traces += _indicator(indicator, bars, times, next(colors))
    panes = any(indicator.own_pane for indicator in view.indicators)
    return {"data": traces, "layout": layout(palette, rsi_pane=panes)}


def _price(bars: Sequence[Bar], times: list[str], view: View, palette: Palette) -> dict[str, Any]:
    if view.chart_type == "line":
        return {
            "type": "scatter",
            "mode": "lines",
            "meta": {"role": "line"},
            "x": times,
            "y": [each.close for each in bars],
            "line": {"color": palette.accent, "width": 2},
            "fill": "tozeroy",
            # The browser adds start and stop: the range of prices in view.
            "fillgradient": {
                "type": "vertical",
                "colorscale": [[0, palette.fade[0]], [1, palette.fade[1]]],
            },
        }
    return {
        "type": "candlestick",
        "meta": {"role": "candles"},
        "x": times,
        "open": [each.open for each in bars],
        "high": [each.high for each in bars],
        "low": [each.low for each in bars],
        "close": [each.close for each in bars],
        "increasing": {"line": {"color": palette.up, "width": 1.2}, "fillcolor": palette.up_fill},
        "decreasing": {"line": {"color": palette.down, "width": 1.2}, "fillcolor": palette.down_fill},
        "whiskerwidth": 0,
    }


def _volume(bars: Sequence[Bar], times: list[str], palette: Palette) -> dict[str, Any]:
    return {
        "type": "bar",
        "meta": {"role": "volume"},
        "yaxis": "y2",
        "x": times,
        "y": [each.volume for each in bars],
        "marker": {
            "color": [palette.up_volume if each.close >= each.open else palette.down_volume for each in bars],
            "line": {"width": 0},
        },
    }


def _indicator(indicator: Indicator, bars: Sequence[Bar], times: list[str], color: str) -> list[dict[str, Any]]:
    spec = {"kind": indicator.kind, "length": indicator.length, "width": indicator.width}
    outer = indicator.kind == "bollinger"
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "meta": {"role": "indicator", "spec": spec, "line": number},
            # Only the first of several lines is named: the readout shows each indicator once.
            "name": indicator.name if number == (1 if outer else 0) else "",
            "yaxis": "y3" if indicator.own_pane else "y",
            "x": times,
            "y": line,
            "line": {"color": color, "width": 1.5, "dash": "dot" if outer and number != 1 else "solid"},
        }
        for number, line in enumerate(indicator.lines(bars))
    ]


def layout(palette: Palette, *, rsi_pane: bool) -> dict[str, Any]:
    """Panes from top to bottom: price, volume, and RSI where asked for."""
    axis = {
        "gridcolor": palette.grid,
        "zeroline": False,
        "showline": False,
        "tickfont": {"color": palette.muted, "size": 11},
        "ticklabeloverflow": "allow",  # see assets/labels.js
    }
    price, volume = ([0.40, 1], [0.22, 0.36]) if rsi_pane else ([0.22, 1], [0, 0.18])
    panes: dict[str, Any] = {
        "xaxis": {
            **axis,
            "type": "date",
            "rangeslider": {"visible": False},
            "showspikes": False,
            "anchor": "y3" if rsi_pane else "y2",
            "tickformatstops": _TIME_FORMATS,
        },
        "yaxis": {
            **axis,
            "side": "right",
            "domain": price,
            "fixedrange": True,
            "tickformat": ",~r",
            "nticks": 9,
        },
        "yaxis2": {
            **axis,
            "side": "right",
            "domain": volume,
            "fixedrange": True,
            "nticks": 3,
            "tickformat": "~s",
        },
    }
    if rsi_pane:
        panes["yaxis3"] = {
            **axis, "side": "right", "domain": [0, 0.18], "fixedrange": True, "range": [0, 100],
            "tickvals": [30, 50, 70],
        }  # fmt: skip
        panes["shapes"] = [
            {
                "type": "rect", "xref": "paper", "x0": 0, "x1": 1, "yref": "y3", "y0": 30, "y1": 70,
                "fillcolor": "rgba(139,152,173,0.07)", "line": {"width": 0}, "layer": "below",
            }
        ]  # fmt: skip
    return {
        **panes,
        "dragmode": "pan",
        "hovermode": False,
        "showlegend": False,
        "bargap": 0.3,
        "margin": {"l": 8, "r": 78, "t": 8, "b": 30},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "'Source Sans', 'Source Sans Pro', system-ui, sans-serif", "color": palette.text},
        "uirevision": "kept",
    }


_TIME_FORMATS: Final = [
    {"dtickrange": [None, _MINUTE - 1], "value": "%H:%M:%S"},
    {"dtickrange": [_MINUTE, _DAY - 1], "value": "%H:%M\n%b %-d, %Y"},
    {"dtickrange": [_DAY, None], "value": "%b %-d\n%Y"},
]
