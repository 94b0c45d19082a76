"""A browser session's share of the market.

The subscriber fills its mailbox; when the page's doorbell rings, the mailbox is drained into the
series of candles in ``st.session_state``.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, cast

import streamlit as st

from dashboard.book import Book
from dashboard.chart import bar
from dashboard.indicators import Bar
from dashboard.services import services
from dashboard.statistics import Statistics
from dashboard.text import decimals
from pipeline.hub import Gap, Hub, Update
from pipeline.market import Candle, Interval
from pipeline.retry import RETRYABLE
from pipeline.store import Store

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Symbol and interval name."""

SERIES_CANDLES: Final = 500
"""Closed candles a session holds; the browser fetches older ones when someone pans to them."""
LIVE_PAGE: Final = Path(__file__).parents[1] / "pages" / "live.py"
ALERTS_PAGE: Final = LIVE_PAGE.with_name("alerts.py")
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


@dataclass
class Series:
    """Candles of one symbol and interval: closed ones, oldest first, and the newest that is open."""

    symbol: str
    interval: Interval
    closed: list[Candle] = field(default_factory=list)
    forming: Candle | None = None
    places: int = 2
    """Decimals that its prices need."""
    loaded: bool = False
    """Whether history was read since the last hole."""
    _bars: list[Bar] = field(default_factory=list)

    @property
    def last(self) -> Candle | None:
        """The newest candle, open or closed."""
        return self.forming or (self.closed[-1] if self.closed else None)

    def bars(self) -> list[Bar]:
        """The candles as floats, the open one last."""
        return [*self._bars, bar(self.forming)] if self.forming else self._bars

    @property
    def candles(self) -> list[Candle]:
        return [*self.closed, self.forming] if self.forming else self.closed

    def load(self, store: Store) -> None:
        """Read the closed candles from history: the session's one snapshot, and its healing."""
        texts = store.history(self.symbol, self.interval, SERIES_CANDLES)
        for candle in map(Candle.from_json, texts):
            self._add(candle)
        self.loaded = True

    def take(self, mail: Mail) -> None:
        """Merge what the mailbox held."""
        for update in mail.closed:
            if (update.symbol, update.interval) == (self.symbol, self.interval.value):
                self._add(Candle.from_json(update.payload))
        newest = mail.newest.get((self.symbol, self.interval.value))
        if newest:
            self.see(newest)

    def see(self, update: Update) -> None:
        """Take the newest revision, unless it is older than what is here."""
        if update.is_closed:
            self._add(Candle.from_json(update.payload))
        elif not self.closed or update.open_time_ms > self.closed[-1].open_time_ms:
            self.forming = Candle.from_json(update.payload)

    def _add(self, candle: Candle) -> None:
        index = len(self.closed)
        while index and self.closed[index - 1].open_time_ms > candle.open_time_ms:
            index -= 1
        if index and self.closed[index - 1].open_time_ms == candle.open_time_ms:
            self.closed[index - 1] = candle
            self._bars[index - 1] = bar(candle)
        else:
            self.closed.insert(index, candle)
            self._bars.insert(index, bar(candle))
        del self.closed[:-SERIES_CANDLES], self._bars[:-SERIES_CANDLES]
        self.places = max(self.places, decimals([candle]))
        if self.forming and self.forming.open_time_ms <= self.closed[-1].open_time_ms:
            self.forming = None


@st.cache_resource(scope="session", show_spinner=False, on_release=lambda mailbox: mailbox.close())
def mailbox() -> Mailbox:
    """The session's mailbox; it stops listening when the session ends."""
    return Mailbox(services().hub)


def series(symbol: str, interval: Interval) -> Series:
    """The session's series of ``symbol``, up to date: drained from the mailbox, healed after a hole."""
    box = mailbox()
    box.watch(symbol, interval.value)  # before the snapshot is read, so that nothing falls between
    held = cast("Series | None", st.session_state.get("series"))
    if held is None or (held.symbol, held.interval) != (symbol, interval):
        held = Series(symbol, interval)
    mail = box.drain()
    if mail.holes or not held.loaded:
        held.loaded = False
        try:
            held.load(services().store)
        except RETRYABLE as error:  # the next ring tries again; until then the newest candle is shown
            log.warning("history of %s %s could not be read: %s", symbol, interval.value, error)
        newest = services().hub.latest(symbol, interval.value)
        if newest:
            held.see(newest)
    held.take(mail)
    st.session_state["series"] = held
    return held


def symbols() -> list[str]:
    """Every symbol that has had a candle: first those of SYMBOLS, in its order, then the others."""
    own = services()
    order = {name: place for place, name in enumerate(own.settings.symbols)}
    return sorted(own.hub.symbols(), key=lambda name: (order.get(name, len(order)), name))


def feed_tags() -> list[str]:
    """Words about where the trades come from, e.g. ``simulated``. Read once a session."""
    if "feed_tags" not in st.session_state:
        try:
            feed = services().store.feed()
        except RETRYABLE:
            return []
        tag = "simulated" if feed.get("simulated") == "1" else str(feed.get("source", ""))
        st.session_state["feed_tags"] = [tag] if tag else []
    return cast("list[str]", st.session_state["feed_tags"])


@st.cache_resource(show_spinner=False)
def book() -> Book:
    """The process's book of all markets."""
    own = services()
    return Book(own.hub, own.store)


def lost_revisions(interval: str) -> bool:
    """Drain the mailbox of all symbols' ``interval`` and say whether revisions are missing."""
    box = mailbox()
    box.watch(None, interval)
    return bool(box.drain().holes)


@st.cache_resource(show_spinner=False)
def statistics() -> Statistics:
    """The process's statistics of the pipeline."""
    return Statistics(services())
