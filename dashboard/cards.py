"""The cards over the chart: bars in, words out. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from dashboard.indicators import Bar
from dashboard.text import compact, pair, percent, price
from pipeline.market import Interval

_YEAR_MS = 365 * 86_400_000


class Card(NamedTuple):
    """One card. ``tone`` colours the note; ``spark`` is drawn behind it, as a line or as ``bars``."""

    label: str
    value: str
    note: str = ""
    tone: Literal["up", "down", "good", "bad", "flat"] = "flat"
    spark: tuple[float, ...] = ()
    bars: bool = False


def live_cards(symbol: str, interval: Interval, shown: Sequence[Bar], places: int) -> list[Card]:
    """Cards of the bars shown, oldest first, the last one perhaps open; prices have ``places`` decimals."""
    last = shown[-1]
    high, low = max(bar.high for bar in shown), min(bar.low for bar in shown)
    base, quote = pair(symbol)
    unit = "$" if quote.startswith("USD") else ""
    span = duration(last.open_time_ms + interval.ms - shown[0].open_time_ms)
    change = last.close / shown[0].open - 1
    volume = sum(bar.volume for bar in shown)
    return [
        Card(
            f"Change, {span}",
            percent(change),
            f"from {unit}{price(shown[0].open, places)}",
            "up" if change >= 0 else "down",
            tuple(bar.close for bar in shown),
        ),
        Card(f"High, {span}", f"{unit}{price(high, places)}", f"{percent(high / last.close - 1)} from last"),
        Card(f"Low, {span}", f"{unit}{price(low, places)}", f"{percent(low / last.close - 1)} from last"),
        Card(
            f"Volume, {span}",
            f"{compact(volume)} {base}",
            f"{compact(volume / len(shown))} a candle",
            spark=tuple(bar.volume for bar in shown[-36:]),
            bars=True,
        ),
        _volatility(shown, interval, span),
    ]


def _volatility(shown: Sequence[Bar], interval: Interval, span: str) -> Card:
    label = f"Volatility, {span}"
    returns = [math.log(after.close / before.close) for before, after in pairwise(shown)]
    if len(returns) < 2:
        return Card(label, "\u2013", "needs three candles")
    mean = sum(returns) / len(returns)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in returns) / (len(returns) - 1))
    yearly = deviation * math.sqrt(_YEAR_MS / interval.ms)
    return Card(label, f"{deviation * math.sqrt(len(returns)):.2%}", f"{yearly:.0%} annualised")


def duration(ms: int) -> str:
    """``90s``, ``45m``, ``2h``, ``5d``: rounded to whole ones."""
    seconds = ms / 1000
    for limit, unit, size in ((120, "s", 1), (7200, "m", 60), (72 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{round(seconds / size)}{unit}"
    return f"{round(seconds / 86_400)}d"
