"""The rules: is this minute worth an alert? Pure: no clock, no I/O, no Flink.

Each rule looks at one minute and at what its symbol did before, and answers whether its condition
holds; :mod:`pipeline.alerts.watch` decides whether that is news. Prices and sizes are whole units
(see ``market``), so that a threshold met exactly is told from one exceeded by one unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from pipeline.alert import AlertType, Severity
from pipeline.alerts.past import Past
from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS, decimal_text
from pipeline.settings import Settings

MEDIUM_MOVE_PERCENT: Final = 7
HIGH_MOVE_PERCENT: Final = 10
_PERCENT_DECIMALS: Final = 4
_MEDIUM_BEYOND: Final = Decimal(1)
_HIGH_BEYOND: Final = Decimal(3)
"""Percent beyond the range that make a breakout MEDIUM and HIGH."""


class Minute(NamedTuple):
    """A candle of one minute in whole units; times in ms, the first and last trade's beside its own."""

    open_time_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trade_count: int
    first_trade_ms: int
    last_trade_ms: int


class Finding(NamedTuple):
    """A condition that holds."""

    alert_type: AlertType
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say; a number of 0 turns its rule off."""

    move_percent: Decimal
    volume_factor: Decimal
    volume_candles: int
    breakout_candles: int
    volatility_factor: Decimal
    volatility_candles: int
    stale_seconds: int
    stale_factor: int
    quiet_minutes: int

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        return cls(
            move_percent=settings.alert_move_percent,
            volume_factor=settings.alert_volume_factor,
            volume_candles=settings.alert_volume_candles,
            breakout_candles=settings.alert_breakout_candles,
            volatility_factor=settings.alert_volatility_factor,
            volatility_candles=settings.alert_volatility_candles,
            stale_seconds=settings.alert_stale_seconds,
            stale_factor=settings.alert_stale_factor,
            quiet_minutes=settings.alert_quiet_minutes,
        )


def move(rules: Rules, symbol: str, minute: Minute) -> Finding | None:
    """|close - open| / open exceeds ``move_percent``. Exactly so much is not more."""
    change = abs(minute.close - minute.open)
    if not rules.move_percent or not _exceeds(change * 100, rules.move_percent, minute.open):
        return None
    percent = decimal_text(_percent_units(change, minute.open), _PERCENT_DECIMALS)
    rose = minute.close > minute.open
    return Finding(
        AlertType.PRICE_SPIKE if rose else AlertType.PRICE_DROP,
        _severity(change * 100, minute.open, MEDIUM_MOVE_PERCENT, HIGH_MOVE_PERCENT),
        f"{symbol} {'rose' if rose else 'fell'} {percent} % within a minute, "
        f"from {_price(minute.open)} to {_price(minute.close)}",
    )


def volume_surge(rules: Rules, symbol: str, minute: Minute, past: Past) -> Finding | None:
    """Volume over ``volume_factor`` times the mean of the last ``volume_candles``."""
    count = rules.volume_candles
    if not rules.volume_factor or len(past.volumes) < count:
        return None
    mean_by_count = sum(past.volumes[-count:])
    volume_by_count = minute.volume * count
    if not _exceeds(volume_by_count, rules.volume_factor, mean_by_count):
        return None
    times = decimal_text(volume_by_count * 10 // mean_by_count, 1)
    return Finding(
        AlertType.VOLUME_SURGE,
        _severity(volume_by_count, mean_by_count, 2 * rules.volume_factor, 4 * rules.volume_factor),
        f"{symbol} traded {decimal_text(minute.volume, QUANTITY_DECIMALS)} within a minute, "
        f"{times} times the mean of its last {count} candles",
    )


def breakout(rules: Rules, symbol: str, minute: Minute, past: Past) -> Finding | None:
    """Close beyond the high or the low of the last ``breakout_candles``."""
    count = rules.breakout_candles
    if not count or len(past.highs) < count:
        return None
    high, low = max(past.highs[-count:]), min(past.lows[-count:])
    if low <= minute.close <= high:
        return None
    above = minute.close > high
    edge = high if above else low
    return Finding(
        AlertType.BREAKOUT,
        _severity(abs(minute.close - edge) * 100, edge, _MEDIUM_BEYOND, _HIGH_BEYOND),
        f"{symbol} closed at {_price(minute.close)}, {'above' if above else 'below'} "
        f"the {'high' if above else 'low'} of its last {count} candles, {_price(edge)}",
    )


def volatility(rules: Rules, symbol: str, past: Past) -> Finding | None:
    """Realised volatility of the newest returns over ``volatility_factor`` times that of those before.

    ``past`` holds this minute's return already. Floats, but the same ones in every replay: exact
    sums of the same numbers.
    """
    count, recent = rules.volatility_candles, past.RECENT
    if not rules.volatility_factor or len(past.squares) < count + recent:
        return None
    now = math.sqrt(math.fsum(past.squares[-recent:]) / recent)
    level = math.sqrt(math.fsum(past.squares[-recent - count : -recent]) / count)
    factor = float(rules.volatility_factor)
    if not level or now <= factor * level:  # a price that never moved has no level to exceed
        return None
    times = now / level
    severity = (
        Severity.HIGH if times >= 4 * factor else Severity.MEDIUM if times >= 2 * factor else Severity.LOW
    )
    return Finding(
        AlertType.VOLATILITY,
        severity,
        f"{symbol} moves {100 * now:.3f} % a minute over its last {recent} candles, "
        f"{times:.1f} times as much as over the {count} before",
    )


def silence_due_ms(rules: Rules, past: Past) -> int:
    """The minute's end at which ``past``'s symbol counts as silent if nothing more comes; 0 for never.

    Silent is who says nothing for ``stale_seconds``, and for ``stale_factor`` times the usual gap
    between two of his trades.
    """
    if not rules.stale_seconds or len(past.trade_counts) < past.RATE_CANDLES:
        return 0
    longest_ms = max(1000 * rules.stale_seconds, rules.stale_factor * past.usual_gap_ms)
    return -(-(past.heard_ms + longest_ms) // 60_000) * 60_000


def silence(symbol: str, past: Past, due_ms: int) -> Finding:
    return Finding(
        AlertType.STALE,
        Severity.MEDIUM,
        f"{symbol} has not traded for {decimal_text(due_ms - past.heard_ms, 3)} s; "
        f"usually it trades once in {decimal_text(past.usual_gap_ms, 3)} s",
    )


def change_percent(open: int, close: int) -> Decimal:
    """Percent from ``open`` to ``close``, cut off after four decimals: never more than it was."""
    units = _percent_units(abs(close - open), open)
    return Decimal(decimal_text(units if close >= open else -units, _PERCENT_DECIMALS))


def _percent_units(change: int, base: int) -> int:
    return change * 100 * 10**_PERCENT_DECIMALS // base


def _exceeds(value: int, times: Decimal, base: int) -> bool:
    """Whether ``value`` > ``times`` * ``base``, exactly."""
    numerator, denominator = times.as_integer_ratio()
    return value * denominator > numerator * base


def _severity(value: int, base: int, medium: Decimal | int, high: Decimal | int) -> Severity:
    """By whether ``value`` / ``base`` reaches ``medium`` or ``high``."""
    for severity, least in ((Severity.HIGH, high), (Severity.MEDIUM, medium)):
        numerator, denominator = least.as_integer_ratio()
        if value * denominator >= numerator * base:
            return severity
    return Severity.LOW


def _price(units: int) -> str:
    return decimal_text(units, PRICE_DECIMALS)
