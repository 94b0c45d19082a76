"""All markets side by side: rows, the map of the day and the comparison. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboard.chart import layout, plotly_time
from dashboard.indicators import Bar
from dashboard.text import compact, pair, percent
from dashboard.theme import Palette

_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class MarketRow:
    """One market. Changes are fractions, None where history does not reach back so far."""

    symbol: str
    name: str
    price: float
    hour: float | None
    day: float | None
    volume: float
    """In the quote currency, over what there is of the last day."""
    high: float
    low: float
    spark: tuple[float, ...]


def market_row(symbol: str, minutes: Sequence[Bar], quarters: Sequence[Bar]) -> MarketRow | None:
    """The row of ``symbol``; None before its first candle."""
    if not minutes:
        return None
    last = minutes[-1]
    now = last.open_time_ms + 60_000
    day = [bar for bar in quarters if bar.open_time_ms >= now - _DAY] or list(minutes)
    return MarketRow(
        symbol=symbol,
        name=" / ".join(pair(symbol)),
        price=last.close,
        hour=_change(minutes, now - _HOUR, last.close),
        day=_change(quarters, now - _DAY, last.close),
        volume=sum(bar.quote_volume for bar in day),
        high=max(bar.high for bar in day),
        low=min(bar.low for bar in day),
        spark=tuple(float(f"{bar.close:.6g}") for bar in minutes[-60:]),
    )


def _change(bars: Sequence[Bar], since_ms: int, price: float) -> float | None:
    """Change since the open of the first bar at or after ``since_ms``; None if none is as old."""
    if not bars or bars[0].open_time_ms > since_ms:
        return None
    index = bisect_left([bar.open_time_ms for bar in bars], since_ms)
    return price / bars[min(index, len(bars) - 1)].open - 1


def treemap(rows: Sequence[MarketRow], palette: Palette) -> dict[str, Any]:
    """Map of the markets: area by volume, colour by the change in an hour (or in what there is)."""
    changes = [_shown(row) for row in rows]
    reach = max((abs(change) for change in changes), default=0.0) or 0.01
    return {
        "data": [
            {
                "type": "treemap",
                "labels": ["all", *(row.symbol for row in rows)],
                "parents": ["", *(["all"] * len(rows))],
                # The square root keeps the small markets readable beside the largest.
                "values": [0.0, *(row.volume**0.5 for row in rows)],
                "text": [
                    "",
                    *(
                        f"<b>{row.symbol}</b><br>{percent(change)}"
                        for row, change in zip(rows, changes, strict=True)
                    ),
                ],
                "customdata": ["", *(compact(row.volume) for row in rows)],
                "hovertemplate": "%{text}<br>volume %{customdata}<extra></extra>",
                "textinfo": "text",
                "textposition": "middle center",
                "textfont": {"size": 17, "color": palette.text},
                "tiling": {"pad": 4},
                "pathbar": {"visible": False},
                "marker": {
                    "colors": [palette.bg, *(_shade(change / reach, palette) for change in changes)],
                    "cornerradius": 8,
                    "line": {"width": 0},
                    "pad": {"t": 0, "l": 0, "r": 0, "b": 0},
                },
            }
        ],
        "layout": {
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "font": {
                "family": "'Source Sans', 'Source Sans Pro', system-ui, sans-serif",
                "color": palette.text,
            },
        },
    }


def _shade(share: float, palette: Palette) -> str:
    """Colour between quiet (0) and the palette's rising (1) or falling (-1), dark enough for white text."""
    quiet, full = (27, 36, 54), palette.up if share >= 0 else palette.down
    reach = 0.5 * min(1.0, abs(share))
    mixed = (
        round(low + reach * (int(full[at : at + 2], 16) - low))
        for low, at in zip(quiet, (1, 3, 5), strict=True)
    )
    return f"rgb({','.join(map(str, mixed))})"


def _shown(row: MarketRow) -> float:
    if row.hour is not None:
        return row.hour
    return row.spark[-1] / row.spark[0] - 1


def comparison(series: Mapping[str, Sequence[Bar]], palette: Palette) -> dict[str, Any]:
    """Lines of several markets, each 100 at the first moment that all of them have."""
    starts = [bars[0].open_time_ms for bars in series.values() if bars]
    since = max(starts, default=0)
    traces = []
    for (symbol, bars), color in zip(series.items(), palette.lines * 8, strict=False):
        shown = [bar for bar in bars if bar.open_time_ms >= since]
        if not shown:
            continue
        base = shown[0].open
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": symbol,
                "x": [plotly_time(bar.open_time_ms) for bar in shown],
                "y": [round(100 * bar.close / base, 4) for bar in shown],
                "line": {"color": color, "width": 2},
                "hovertemplate": "%{y:.2f}",
            }
        )
    frame = layout(palette, rsi_pane=False)
    return {
        "data": traces,
        "layout": {
            "xaxis": {**frame["xaxis"], "anchor": "y"},
            "yaxis": {**frame["yaxis"], "domain": [0, 1], "tickformat": ".2f"},
            "hovermode": "x unified",
            "hoverlabel": {"bgcolor": "#151e31", "bordercolor": "#2a3650", "font": {"color": palette.text}},
            "showlegend": True,
            "legend": {"orientation": "h", "y": 1.12, "x": 0},
            "margin": {"l": 8, "r": 60, "t": 30, "b": 30},
            "dragmode": "pan",
            **{name: frame[name] for name in ("paper_bgcolor", "plot_bgcolor", "font")},
        },
    }
