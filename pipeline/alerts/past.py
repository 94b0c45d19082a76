"""What is remembered of one symbol: enough for every rule, and no more."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pipeline.alerts.rules import Minute, Rules


@dataclass(slots=True)
class Past:
    """The newest closed minutes of one symbol, oldest first. Saved as plain values, by field name."""

    RECENT: ClassVar[int] = 10
    """Returns that make the volatility of now."""
    RATE_CANDLES: ClassVar[int] = 30
    """Minutes with trades that tell how often a symbol usually trades."""

    volumes: list[int] = field(default_factory=list)
    highs: array[int] = field(default_factory=lambda: array("q"))
    lows: array[int] = field(default_factory=lambda: array("q"))
    squares: array[float] = field(default_factory=lambda: array("d"))
    """Squared logarithmic returns from close to close."""
    trade_counts: array[int] = field(default_factory=lambda: array("q"))
    first_trades_ms: array[int] = field(default_factory=lambda: array("q"))
    last_open_ms: int = 0
    last_close: int = 0
    last_trade_ms: int = 0
    heard_ms: int = 0
    """From when on silence counts: the last trade, or the end of a hole in the stream."""
    silent_at_ms: int = 0
    """The minute's end at which it counts as silent; 0 for never, or once that was told."""
    provisional_ms: int = 0
    """The newest minute whose move was told while it was forming."""
    held_ms: dict[str, int] = field(default_factory=dict)
    """By type of alert: the newest minute in which its condition held."""

    @property
    def usual_gap_ms(self) -> int:
        """Mean time between two trades of the newest RATE_CANDLES minutes that had any."""
        gaps = max(1, sum(self.trade_counts) - 1)
        return (self.last_trade_ms - self.first_trades_ms[0]) // gaps

    def take_return(self, minute: Minute, rules: Rules) -> None:
        """Note the return from the last close to this one: volatility looks at it at once."""
        if self.last_close:
            self.squares.append(math.log(minute.close / self.last_close) ** 2)
            _cut(self.squares, self.RECENT + rules.volatility_candles)

    def take(self, minute: Minute, rules: Rules) -> None:
        """Note everything else of a minute, once the rules have seen it."""
        self.volumes.append(minute.volume)
        self.highs.append(minute.high)
        self.lows.append(minute.low)
        self.trade_counts.append(minute.trade_count)
        self.first_trades_ms.append(minute.first_trade_ms)
        _cut(self.volumes, rules.volume_candles)
        _cut(self.highs, rules.breakout_candles)
        _cut(self.lows, rules.breakout_candles)
        _cut(self.trade_counts, self.RATE_CANDLES)
        _cut(self.first_trades_ms, self.RATE_CANDLES)
        self.last_open_ms, self.last_close = minute.open_time_ms, minute.close
        self.last_trade_ms = minute.last_trade_ms
        self.heard_ms = max(self.heard_ms, minute.last_trade_ms)

    def save(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def _cut(values: list[int] | array[int] | array[float], longest: int) -> None:
    del values[: max(0, len(values) - longest)]
