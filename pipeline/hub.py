"""The newest state of every candle, in memory, and who wants to hear of changes. No I/O.

One hub a process. The subscriber writes it from its thread; pages and the gateway read it from
theirs. Revisions of one symbol and interval leave it in strictly rising order of (epoch, seq):
what comes twice, or late, is dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from pipeline.alert import Alert
from pipeline.market import INTERVALS
from pipeline.update import Pair, Position, Update

__all__ = ["NOWHERE", "Gap", "Hub", "Known", "Pair", "Position", "Update", "follows"]

log = logging.getLogger(__name__)

_NAMES: Final = tuple(interval.value for interval in INTERVALS)
NOWHERE: Final[Position] = (-1, -1)
"""Before every revision."""
ALERTS_KEPT: Final = 1_000
"""Alerts in memory; the stream in Redis holds more."""


class Gap(NamedTuple):
    """Closed candles of this symbol and interval may be missing, and history no longer has them."""

    symbol: str
    interval: str
    since: Position


@dataclass(slots=True)
class Known:
    """What is known of one symbol and interval."""

    position: Position = NOWHERE
    latest: Update | None = None
    closed_ms: int = -1
    """Open time of the newest closed candle; -1 if none was seen."""


Heard = TypeVar("Heard")
Listener = Callable[[Heard], None]


class _Listeners(list[Listener[Heard]]):
    def tell(self, heard: Heard) -> None:
        for listener in tuple(self):
            try:
                listener(heard)
            except Exception:  # the other listeners and the subscription survive one that fails
                log.exception("a listener failed")


class Hub:
    """Thread-safe. ``connected``: the Pub/Sub subscription is up, and what was missed was read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Pair, Known] = {}
        self._listeners: _Listeners[Sequence[Update]] = _Listeners()
        self._gap_listeners: _Listeners[Sequence[Gap]] = _Listeners()
        self._alerts: deque[Alert] = deque(maxlen=ALERTS_KEPT)
        self._alert_ids: set[str] = set()
        self._alert_listeners: _Listeners[Sequence[Alert]] = _Listeners()
        self.connected = False
        self.reconnects = 0
        self.messages = 0
        """Messages heard on the channel, ever."""
        self.repeated = 0
        """Revisions dropped because they, or newer ones, were known."""
        self.malformed = 0
        """Messages that are no candle JSON; the newest is :attr:`last_malformed`."""
        self.last_malformed = ""
        self.last_message_at_ms = 0
        """When the newest message was heard, by our clock; 0 before the first."""

    def latest(self, symbol: str, interval: str) -> Update | None:
        """The newest revision of the newest candle, by open time."""
        known = self._known.get((symbol, interval))
        return known.latest if known else None

    def symbols(self) -> list[str]:
        """Symbols that were seen, in order."""
        with self._lock:
            return sorted({symbol for symbol, _ in self._known})

    def has(self, symbol: str) -> bool:
        """Whether ``symbol`` was seen, in any interval."""
        return any((symbol, interval) in self._known for interval in _NAMES)

    def pairs(self) -> list[Pair]:
        with self._lock:
            return list(self._known)

    def known(self, pair: Pair) -> Known:
        """What is known of ``pair``; to be read only."""
        return self._known.get(pair) or Known()

    def snapshot(self) -> list[Update]:
        """The newest revision of each symbol and interval."""
        with self._lock:
            return [known.latest for known in self._known.values() if known.latest]

    def listen(self, listener: Callable[[Sequence[Update]], None]) -> Callable[[], None]:
        """Have ``listener`` called with each batch, in the writing thread; it must not block.

        Returns the function that ends it.
        """
        return _add(self._listeners, listener)

    def listen_gaps(self, listener: Callable[[Sequence[Gap]], None]) -> Callable[[], None]:
        """Like :meth:`listen`, for holes that could not be healed. Fresh updates follow."""
        return _add(self._gap_listeners, listener)

    def alerts(self) -> list[Alert]:
        """The newest ALERTS_KEPT alerts, newest first."""
        with self._lock:
            return list(reversed(self._alerts))

    def listen_alerts(self, listener: Callable[[Sequence[Alert]], None]) -> Callable[[], None]:
        """Like :meth:`listen`, for alerts: each comes once, after the candle that it is about.

        What was missed while Redis was away comes too, and at the start what Redis keeps: whoever
        wants only news looks at ``triggered_at_ms``.
        """
        return _add(self._alert_listeners, listener)

    def apply_alerts(self, alerts: Iterable[Alert]) -> list[Alert]:
        """Take alerts, oldest first; tells the listeners, and returns, those that were not known."""
        fresh = []
        with self._lock:
            for alert in alerts:
                if alert.id in self._alert_ids:
                    continue
                if len(self._alerts) == ALERTS_KEPT:
                    self._alert_ids.discard(self._alerts[0].id)
                self._alerts.append(alert)
                self._alert_ids.add(alert.id)
                fresh.append(alert)
        if fresh:
            self._alert_listeners.tell(fresh)
        return fresh

    def apply(self, updates: Iterable[Update]) -> list[Update]:
        """Take revisions in the order of their publishing; tells the listeners, and returns, the new ones."""
        with self._lock:
            fresh = [update for update in updates if self._take(update)]
        if fresh:
            self._listeners.tell(fresh)
        return fresh

    def split(self, updates: Iterable[Update]) -> tuple[list[Update], list[Update]]:
        """``updates`` that follow on what is known, and those behind a hole in their symbol and interval."""
        ahead: dict[Pair, Position] = {}
        torn: set[Pair] = set()
        following: list[Update] = []
        behind: list[Update] = []
        for update in updates:
            pair, position = update.pair, update.position
            before = ahead.get(pair)
            if before is None:
                known = self._known.get(pair)
                before = known.position if known else NOWHERE
            if position > before:
                if not follows(before, position):
                    torn.add(pair)
                ahead[pair] = position
            (behind if pair in torn else following).append(update)
        return following, behind

    def report(self, gaps: Sequence[Gap]) -> None:
        """Tell the listeners of holes that stay."""
        if gaps:
            self._gap_listeners.tell(gaps)

    def clear(self) -> None:
        """Forget everything, and say so: another database answers now."""
        with self._lock:
            gaps = [Gap(*pair, known.position) for pair, known in self._known.items()]
            self._known.clear()
            self._alerts.clear()
            self._alert_ids.clear()
        self.report(gaps)

    def forget(self, pair: Pair) -> None:
        """Whatever comes next of ``pair`` is new."""
        with self._lock:
            self._known.pop(pair, None)

    def _take(self, update: Update) -> bool:
        known = self._known.setdefault(update.pair, Known())
        if update.position <= known.position:
            self.repeated += 1
            return False
        known.position = update.position
        # An older window may still change after a newer one has begun: by its trades that came out
        # of order, and when it closes. It is news, but not the latest candle.
        if known.latest is None or update.open_time_ms >= known.latest.open_time_ms:
            known.latest = update
        if update.is_closed:
            known.closed_ms = max(known.closed_ms, update.open_time_ms)
        return True


def follows(before: Position, position: Position) -> bool:
    """Whether no revision can lie between two positions of one symbol and interval."""
    if before == NOWHERE or position[0] != before[0]:
        return position[1] <= 1  # the first one of its epoch
    return position[1] == before[1] + 1


def _add(listeners: _Listeners[Heard], listener: Listener[Heard]) -> Callable[[], None]:
    listeners.append(listener)

    def stop() -> None:
        if listener in listeners:
            listeners.remove(listener)

    return stop
