"""One published candle revision, and how it and alerts are read from a channel or from what is kept."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import orjson

from pipeline.errors import InvalidAlert, InvalidCandle, InvalidTrade
from pipeline.market import INTERVALS, Alert, check_symbol

log = logging.getLogger(__name__)

_NAMES: Final = frozenset(interval.value for interval in INTERVALS)

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

    The numbers of the candle are not looked at: the payload goes on as it is, exact.
    """
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
    except (KeyError, TypeError, ValueError) as error:  # ValueError: not JSON, or not UTF-8
        raise InvalidCandle(f"not a candle ({error!r}): {payload!r:.200}") from None
    _check(update)
    return update


def _check(update: Update) -> None:
    """The payload goes to browsers inside our frames: nothing in it may be other than it seems."""
    symbol, interval, open_time_ms, is_closed, epoch, seq, published_at_ms, payload = update
    if not (
        all(type(number) is int for number in (open_time_ms, epoch, seq, published_at_ms))
        and type(is_closed) is bool
        and type(interval) is type(symbol) is str
        and interval in _NAMES
        and _is_symbol(symbol)
    ):
        raise InvalidCandle(f"not a candle (a field has the wrong type or value): {payload!r:.200}")


@functools.lru_cache(maxsize=10_000)
def _is_symbol(text: str) -> bool:
    try:
        return bool(check_symbol(text))
    except InvalidTrade:
        return False
