"""Fills the hub with what was missed, from ``latest`` and history."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from pipeline.hub import ALERTS_KEPT, NOWHERE, Gap, Hub, Known
from pipeline.market import INTERVALS
from pipeline.store import Store
from pipeline.update import Pair, Update, read_alerts, read_updates

log = logging.getLogger(__name__)

HEAL_LIMIT: Final = 1_000
"""Closed candles a symbol and interval that are sent on after a hole: a client can take them at
once. Whoever missed more is told so, and reads ``/api/candles``."""


class Healer:
    """Fills the hub with what was missed, from ``latest`` and history."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub

    def heal_all(self, instance: str | None) -> str | None:
        """Heal every symbol. ``instance`` is the database of the last time; returns the one of now."""
        now = self._store.instance()
        if instance is not None and now != instance:
            log.warning("another or a wiped Redis answers: starting afresh")
            self._hub.clear()
        for symbol in self._store.symbols():
            self.heal([(symbol, interval.value) for interval in INTERVALS])
            self._hub.apply(read_updates([text.encode() for text in self._store.latest_of([symbol])]))
        self.heal_alerts()
        return now

    def heal_alerts(self) -> None:
        """Apply what the stream keeps and the hub does not know, oldest first."""
        texts = self._store.alerts(ALERTS_KEPT)
        self._hub.apply_alerts(read_alerts([text.encode() for text in reversed(texts)]))

    def heal(self, pairs: Sequence[Pair]) -> None:
        """Apply the closed candles of ``pairs`` that are newer than what is known; report what is gone."""
        hub = self._hub
        wanted = [(*pair, _from_ms(hub, pair)) for pair in pairs]
        for pair, found in zip(pairs, self._store.histories_from(wanted, HEAL_LIMIT + 2), strict=True):
            self._heal_one(pair, read_updates([text.encode() for text in found]))

    def _heal_one(self, pair: Pair, found: list[Update]) -> None:
        hub, known = self._hub, self._hub.known(pair)
        if known.position != NOWHERE and not reaches_back(found, known):
            hub.report([Gap(*pair, known.position)])
            # What is left has holes before it: only the newest is of use. Readers fetch the rest.
            newest = self._store.histories_from([(*pair, -1)], 1)[0]
            found = read_updates([text.encode() for text in newest])
        hub.apply(sorted(found, key=lambda update: update.position))


def reaches_back(found: Sequence[Update], known: Known) -> bool:
    """Whether ``found``, oldest first, holds every candle that closed after what is known.

    History is trimmed from its old end: as long as the newest candle that is known is still there,
    everything after it is too. ``found`` was read from there on, at most HEAL_LIMIT + 2.
    """
    known_itself = 1 if known.closed_ms >= 0 else 0
    if len(found) - known_itself > HEAL_LIMIT:
        return False
    if known.closed_ms >= 0:
        return bool(found) and found[0].open_time_ms == known.closed_ms
    # No candle had closed yet: nothing is missing if history begins with the one that was forming.
    return not found or known.latest is None or found[0].open_time_ms <= known.latest.open_time_ms


def _from_ms(hub: Hub, pair: Pair) -> int:
    """Where to read from: the newest closed candle that is known; all if none; -1 at first sight."""
    known = hub.known(pair)
    return -1 if known.position == NOWHERE else max(0, known.closed_ms)
