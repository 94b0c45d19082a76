"""Indicators over candles, oldest first: one value a candle, None where there are too few before.

``assets/indicators.js`` follows the same rules for the forming candle; a browser test compares
the two value by value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Kind = Literal["sma", "ema", "bollinger", "vwap", "rsi"]
Line = list[float | None]

_DAY_MS: Final = 86_400_000


class Bar(NamedTuple):
    """A candle's numbers as floats: for drawing, never for accounts."""

    open_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trade_count: int


@dataclass(frozen=True, slots=True)
class Indicator:
    """One indicator as a person names it, e.g. ``SMA 20`` or ``RSI 14``."""

    kind: Kind
    length: int = 0
    width: float = 2.0

    @property
    def name(self) -> str:
        words = {"sma": "SMA", "ema": "EMA", "bollinger": "BB", "vwap": "VWAP", "rsi": "RSI"}[self.kind]
        return f"{words} {self.length}" if self.length else words

    @property
    def own_pane(self) -> bool:
        """Whether it has a scale of its own, not the price's."""
        return self.kind == "rsi"

    @classmethod
    def parse(cls, name: str) -> Indicator | None:
        """Read a name such as ``EMA 12``; None if it is not one with a length from 2 to 500."""
        if name.strip().upper() == "VWAP":
            return cls("vwap")
        match = re.fullmatch(r"(SMA|EMA|BB|RSI) ?(\d{1,3})", name.strip().upper())
        if not match or not 2 <= int(match[2]) <= 500:
            return None
        kinds: dict[str, Kind] = {"SMA": "sma", "EMA": "ema", "BB": "bollinger", "RSI": "rsi"}
        return cls(kinds[match[1]], int(match[2]))

    def lines(self, bars: Sequence[Bar]) -> list[Line]:
        """Its lines: three for Bollinger bands (upper, middle, lower), one for the others."""
        closes = [bar.close for bar in bars]
        if self.kind == "sma":
            return [sma(closes, self.length)]
        if self.kind == "ema":
            return [ema(closes, self.length)]
        if self.kind == "bollinger":
            return bollinger(closes, self.length, self.width)
        if self.kind == "vwap":
            return [vwap(bars)]
        return [rsi(closes, self.length)]


def sma(values: Sequence[float], length: int) -> Line:
    """Mean of the last ``length`` values."""
    line: Line = []
    total = 0.0
    for index, value in enumerate(values):
        total += value - (values[index - length] if index >= length else 0.0)
        line.append(total / length if index >= length - 1 else None)
    return line


def ema(values: Sequence[float], length: int) -> Line:
    """Exponential mean with weight 2 / (length + 1), begun with the mean of the first ``length``."""
    if len(values) < length:
        return [None] * len(values)
    state = sum(values[:length]) / length
    line: Line = [None] * (length - 1) + [state]
    for value in values[length:]:
        state += 2 / (length + 1) * (value - state)
        line.append(state)
    return line


def bollinger(values: Sequence[float], length: int, width: float) -> list[Line]:
    """Upper, middle and lower band: the mean, and ``width`` standard deviations around it."""
    middle = sma(values, length)
    upper: Line = []
    lower: Line = []
    for index, mean in enumerate(middle):
        if mean is None:
            upper.append(None)
            lower.append(None)
            continue
        window = values[index - length + 1 : index + 1]
        spread = width * math.sqrt(sum((value - mean) ** 2 for value in window) / length)
        upper.append(mean + spread)
        lower.append(mean - spread)
    return [upper, middle, lower]


def vwap(bars: Sequence[Bar]) -> Line:
    """Volume-weighted average price, anchored at the first bar of each UTC day."""
    line: Line = []
    day, quote, volume = -1, 0.0, 0.0
    for bar in bars:
        if bar.open_time_ms // _DAY_MS != day:
            day, quote, volume = bar.open_time_ms // _DAY_MS, 0.0, 0.0
        quote += bar.quote_volume
        volume += bar.volume
        line.append(quote / volume if volume > 0 else None)
    return line


def rsi(values: Sequence[float], length: int) -> Line:
    """Relative strength index, 0 to 100, with Wilder's smoothing."""
    line: Line = [None] if values else []
    gain = loss = 0.0
    for index in range(1, len(values)):
        change = values[index] - values[index - 1]
        weight = min(index, length)
        gain += (max(change, 0.0) - gain) / weight
        loss += (max(-change, 0.0) - loss) / weight
        if index < length:
            line.append(None)
        else:
            line.append(100 * gain / (gain + loss) if gain + loss > 0 else 50.0)
    return line


def heikin_ashi(bars: Sequence[Bar]) -> list[Bar]:
    """Averaged candles: the open is half-way along the body before."""
    out: list[Bar] = []
    for bar in bars:
        close = (bar.open + bar.high + bar.low + bar.close) / 4
        open = (out[-1].open + out[-1].close) / 2 if out else (bar.open + bar.close) / 2
        out.append(
            bar._replace(open=open, close=close, high=max(bar.high, open, close), low=min(bar.low, open, close))
        )
    return out
