"""The Pipeline page's plots and tables. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from dashboard.chart import layout, plotly_time
from dashboard.meter import BOUNDS_MS, Second
from dashboard.theme import Palette
from pipeline.gap import Agreement, Gap

_BEYOND_USUAL, _SHOWN_OF_USUAL = 10, 3
"""Times the median second: from how many on a second does not set the axis, and how many the axis has."""


def latency_histogram(latency: Sequence[int], palette: Palette) -> dict[str, Any]:
    """Bars: how long revisions took from publishing to our hub."""
    names = [f"≤ {bound}" for bound in BOUNDS_MS] + [f"> {BOUNDS_MS[-1]}"]
    colors = [palette.accent if bound <= 100 else "#f5b83d" for bound in (*BOUNDS_MS, 10**9)]
    return _panel([{"type": "bar", "x": names, "y": list(latency), "marker": {"color": colors}}], palette)


def rates(seconds: Sequence[Second], palette: Palette) -> dict[str, Any]:
    """Lines of the last two minutes: revisions and closed candles a second.

    Catching up is a hundred times as much as being live. The axis goes by what is usual, and the
    highest second is told in words.
    """
    x = [plotly_time(second.at_s * 1000) for second in seconds]
    traces = [
        {
            "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y,
            "line": {"color": color, "width": 2}, "fill": "tozeroy", "fillcolor": fill,
        }
        for name, y, color, fill in (
            ("revisions", [second.revisions for second in seconds], "#5aa9f7", "rgba(90,169,247,0.12)"),
            ("closed candles", [second.closed for second in seconds], palette.accent, "rgba(45,212,191,0.20)"),
        )
    ]  # fmt: skip
    panel = _panel(traces, palette, dates=True)
    highest = max((second.revisions for second in seconds), default=0)
    usual = statistics.median([second.revisions for second in seconds if second.revisions] or [0])
    if highest > _BEYOND_USUAL * usual:
        panel["layout"]["yaxis"]["range"] = [0, _SHOWN_OF_USUAL * usual]
        panel["layout"]["annotations"] = [
            {
                "text": f"highest: {highest:,} a second", "showarrow": False, "font": {"color": palette.muted},
                "xref": "paper", "yref": "paper", "x": 1, "y": 1, "xanchor": "right", "yanchor": "top",
            }
        ]  # fmt: skip
    return panel


def _panel(traces: list[dict[str, Any]], palette: Palette, *, dates: bool = False) -> dict[str, Any]:
    frame = layout(palette, rsi_pane=False)
    axis = {
        name: frame["yaxis"][name]
        for name in ("gridcolor", "zeroline", "showline", "tickfont", "ticklabeloverflow")
    }
    x_axis = (
        {**axis, "type": "date", "tickformat": "%H:%M:%S", "nticks": 6}
        if dates
        else {**axis, "type": "category"}
    )
    return {
        "data": traces,
        "layout": {
            "xaxis": {**x_axis, "fixedrange": True},
            "yaxis": {**axis, "rangemode": "tozero", "fixedrange": True, "nticks": 5, "side": "right"},
            "showlegend": len(traces) > 1,
            "legend": {"orientation": "h", "y": 1.15, "x": 0},
            "hovermode": "x unified" if dates else "closest",
            "hoverlabel": {"bgcolor": "#151e31", "bordercolor": "#2a3650", "font": {"color": palette.text}},
            "margin": {"l": 8, "r": 44, "t": 26, "b": 28},
            "bargap": 0.25,
            **{name: frame[name] for name in ("paper_bgcolor", "plot_bgcolor", "font")},
        },
    }


def agreement_words(found: Sequence[tuple[str, Agreement]]) -> str:
    """One line: how many of our minutes equal the exchange's own."""
    compared = sum(each.compared for _, each in found)
    if not compared:
        return "Agreement with the exchange: nothing to compare, as long as no exchange is heard."
    equal = sum(each.equal for _, each in found)
    return f"Agreement with the exchange: **{equal:,} of {compared:,}** minutes."


def agreement_rows(found: Sequence[tuple[str, Agreement]]) -> list[dict[str, str | int]]:
    """A row a market."""
    return [
        {
            "market": symbol,
            "compared": each.compared,
            "equal": each.equal,
            "differing, newest first": ", ".join(map(_clock, each.differing)),
            "compared at": _clock(each.updated_at_ms),
        }
        for symbol, each in found
    ]


def gap_rows(gaps: Sequence[Gap]) -> list[dict[str, str]]:
    """A row a gap, newest first."""
    return [
        {
            "market": gap.symbol,
            "from": _clock(gap.from_ms),
            "to": _clock(gap.to_ms),
            "for": f"{(gap.to_ms - gap.from_ms) / 1000:,.1f} s",
            "reason": gap.reason,
            "recorded at": _clock(gap.recorded_at_ms),
        }
        for gap in gaps
    ]


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
