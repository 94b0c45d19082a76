"""One published candle revision, and how it and alerts are read from a channel or from what is kept."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from pipeline.alert import Alert
from pipeline.errors import InvalidAlert, InvalidCandle, InvalidTrade
from pipeline.market import INTERVALS, LATEST_MS, check_symbol

log = logging.getLogger(__name__)

LONGEST_PAYLOAD: Final = 4_000
"""Bytes of a candle's JSON; ours has some 350. A longer one would be sent to every client."""
_NUMBERS: Final = (
    "open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "trade_count",
)  # fmt: skip
_SMALLEST, _LARGEST = 1e-40, 1e40
_WIDTHS_MS: Final = {interval.value: interval.ms for interval in INTERVALS}

Position = tuple[int, int]
"""(epoch, seq): the place of a revision among those of its symbol and interval."""
Pair = tuple[str, str]
"""(symbol, interval)."""


class Update(NamedTuple):
    """One published candle revision. ``payload`` is the candle JSON exactly as published."""

    symbol: str
    interval: str
    open_time_ms: int
    is_closed: bool
    epoch: int
    seq: int
    published_at_ms: int
    payload: str

    @property
    def pair(self) -> Pair:
        return (self.symbol, self.interval)

    @property
    def position(self) -> Position:
        return (self.epoch, self.seq)


def read_updates(
    payloads: Sequence[bytes], malformed: Callable[[InvalidCandle], None] | None = None
) -> list[Update]:
    """Updates of ``payloads``; those that are none go to ``malformed``, or into the log."""
    updates = []
    for payload in payloads:
        try:
            updates.append(read_update(payload))
        except InvalidCandle as error:
            if malformed:
                malformed(error)
            else:
                log.warning("left out of what Redis keeps: %s", error)
    return updates


def read_alerts(
    payloads: Sequence[bytes], malformed: Callable[[InvalidAlert], None] | None = None
) -> list[Alert]:
    """Alerts of ``payloads``; those that are none go to ``malformed``, or into the log."""
    alerts = []
    for payload in payloads:
        try:
            alerts.append(Alert.from_json(payload))
        except InvalidAlert as error:
            if malformed:
                malformed(error)
            else:
                log.warning("left out of what Redis keeps: %s", error)
    return alerts


def read_update(payload: bytes) -> Update:
    """Read candle JSON for its envelope; InvalidCandle if it is not one.

    The candle's numbers are checked, as floats, and forgotten: the payload goes on as it is, exact.
    """
    if len(payload) > LONGEST_PAYLOAD:
        raise InvalidCandle(f"not a candle (longer than {LONGEST_PAYLOAD} bytes): {payload[:200]!r:.200}")
    try:
        fields = orjson.loads(payload)
        update = Update(
            fields["symbol"],
            fields["interval"],
            fields["open_time_ms"],
            fields["is_closed"],
            fields["epoch"],
            fields["seq"],
            fields["published_at_ms"],
            payload.decode(),
        )
        is_sound = _are_sound(*[fields[name] for name in _NUMBERS]) and _is_window(
            fields["interval"], update.open_time_ms, fields["close_time_ms"]
        )
    except (KeyError, TypeError, ValueError) as error:  # ValueError: not JSON, or not UTF-8
        raise InvalidCandle(f"not a candle ({error!r}): {payload!r:.200}") from None
    _check(update, is_sound)
    return update


def _are_sound(
    open: Any, high: Any, low: Any, close: Any, volume: Any, quote: Any, taker_buy: Any, count: Any
) -> bool:
    numbers = (open, high, low, close, volume, quote, taker_buy)
    return (
        all(type(number) is float or type(number) is int for number in numbers)
        and all(number == 0 or _SMALLEST < number < _LARGEST for number in numbers)
        and 0 < low <= open <= high
        and low <= close <= high
        and taker_buy <= volume
        and type(count) is int
        and count >= 0
    )


def _is_window(interval: Any, open_time_ms: Any, close_time_ms: Any) -> bool:
    width_ms = _WIDTHS_MS.get(interval) if type(interval) is str else None
    return (
        width_ms is not None
        and type(open_time_ms) is type(close_time_ms) is int
        and 0 <= open_time_ms < LATEST_MS
        and open_time_ms % width_ms == 0
        and close_time_ms == open_time_ms + width_ms
    )


def _check(update: Update, is_sound: bool) -> None:
    """The payload goes to browsers inside our frames: nothing in it may be other than it seems."""
    symbol, _, _, is_closed, epoch, seq, published_at_ms, payload = update
    if not (
        is_sound
        and all(type(number) is int and number >= 0 for number in (epoch, seq, published_at_ms))
        and type(is_closed) is bool
        and type(symbol) is str
        and _is_symbol(symbol)
    ):
        raise InvalidCandle(f"not a candle (a field has the wrong type or value): {payload!r:.200}")


@functools.lru_cache(maxsize=10_000)
def _is_symbol(text: str) -> bool:
    try:
        return bool(check_symbol(text))
    except InvalidTrade:
        return False
