"""What has come for a browser session since it last looked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from pipeline.hub import Gap, Hub, Update

Key = tuple[str, str]
"""Symbol and interval name."""

_MAILBOX_CANDLES: Final = 2_000
"""Closed candles that wait at most. More came while nobody looked: history has them."""


class Mail(NamedTuple):
    """What came since the last look."""

    newest: dict[Key, Update]
    closed: list[Update]
    holes: set[Key]
    """Keys whose closed candles are to be read from history: some did not come this way."""


class Mailbox:
    """One slot a symbol and interval for the newest revision, and every closed candle.

    :meth:`post` runs in the subscriber's thread, the rest in the session's.
    """

    def __init__(self, hub: Hub) -> None:
        self._lock = threading.Lock()
        self._symbol: str | None = None
        self._interval = ""
        self._empty()
        self._stop = [hub.listen(self.post), hub.listen_gaps(self.miss)]

    def close(self) -> None:
        """Stop listening."""
        for stop in self._stop:
            stop()

    def watch(self, symbol: str | None, interval: str) -> None:
        """Keep only this symbol's (None: every symbol's) candles of ``interval`` from now on."""
        with self._lock:
            if (symbol, interval) == (self._symbol, self._interval):
                return
            self._symbol, self._interval = symbol, interval
            self._empty()

    def post(self, updates: Sequence[Update]) -> None:
        """Take a batch; keep what is watched."""
        with self._lock:
            for update in updates:
                if update.interval == self._interval and self._symbol in {None, update.symbol}:
                    self._keep(update)

    def miss(self, gaps: Sequence[Gap]) -> None:
        """Note that closed candles were lost on their way, and that even the hub could not heal it."""
        with self._lock:
            self._holes.update((gap.symbol, gap.interval) for gap in gaps if gap.interval == self._interval)

    def drain(self) -> Mail:
        """Everything that came since the last call."""
        with self._lock:
            mail = Mail(self._newest, list(self._closed), self._holes)
            self._empty()
        return mail

    def _empty(self) -> None:
        self._newest: dict[Key, Update] = {}
        self._closed: deque[Update] = deque(maxlen=_MAILBOX_CANDLES)
        self._holes: set[Key] = set()

    def _keep(self, update: Update) -> None:
        key = (update.symbol, update.interval)
        if update.is_closed:
            if len(self._closed) == _MAILBOX_CANDLES:
                self._holes.add((self._closed[0].symbol, self._closed[0].interval))
            self._closed.append(update)
        newest = self._newest.get(key)
        if newest is None or update.open_time_ms >= newest.open_time_ms:
            self._newest[key] = update
