"""What the feed says of itself, kept once a process: where trades come from, its gaps, its agreement.

Redis is asked when something can have changed: at the first look, when a minute closes, and after
the connection was lost. Nobody's ticks, sessions or reruns cost it a command.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.gap import Agreement, Gap
from pipeline.hub import Hub, Update
from pipeline.market import Interval
from pipeline.retry import RETRYABLE
from pipeline.store import Store

log = logging.getLogger(__name__)

GAPS_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """``tags`` are words for the title, ``sentence`` is for the page; both may be empty."""

    tags: tuple[str, ...] = ()
    sentence: str = ""
    clock_offset_ms: int | None = None
    """The exchange's clock less ours; None where no exchange is heard."""
    gaps: tuple[Gap, ...] = ()
    """Newest first."""
    agreement: tuple[tuple[str, Agreement], ...] = ()
    """By symbol."""

    def gaps_of(self, symbol: str) -> list[Gap]:
        return [gap for gap in self.gaps if gap.symbol == symbol]


class FeedFacts:
    """:meth:`post` runs in the subscriber's thread, :meth:`look` in sessions'."""

    def __init__(self, hub: Hub, store: Store) -> None:
        self._hub = hub
        self._store = store
        self._lock = threading.Lock()
        self._facts = Facts()
        self._due = True
        self._reconnects = hub.reconnects
        self.close = hub.listen(self.post)

    def post(self, updates: Sequence[Update]) -> None:
        """A closed minute: the feed may have written since."""
        if any(update.is_closed and update.interval == Interval.M1.value for update in updates):
            self._due = True

    def look(self) -> Facts:
        """The newest facts; those of before while Redis is away."""
        with self._lock:
            if self._due or self._hub.reconnects != self._reconnects:
                self._due, self._reconnects = False, self._hub.reconnects
                try:
                    self._facts = self._read()
                except RETRYABLE as error:
                    self._due = True  # the next look tries again
                    log.info("the feed's facts could not be read: %s", error)
            return self._facts

    def _read(self) -> Facts:
        feed = self._store.feed()
        tag = "simulated" if feed.get("simulated") == "1" else feed.get("source", "")
        offset = feed.get("clock_offset_ms", "")
        return Facts(
            tags=(tag,) if tag else (),
            sentence=feed.get("detail", ""),
            clock_offset_ms=int(offset) if offset.lstrip("-").isdigit() else None,
            gaps=tuple(self._store.gaps(GAPS_SHOWN)),
            agreement=tuple(sorted(self._store.agreement().items())),
        )
