"""A browser session's share of the market.

The subscriber fills its mailbox; when the page's doorbell rings, the mailbox is drained into the
series of candles in ``st.session_state``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import streamlit as st

from dashboard.book import Book
from dashboard.chart import bar
from dashboard.feed_facts import Facts, FeedFacts
from dashboard.indicators import Bar
from dashboard.readings import Readings
from dashboard.services import services
from dashboard.session_mailbox import Mail, Mailbox
from dashboard.text import decimals
from pipeline.candle import Candle
from pipeline.hub import Update
from pipeline.market import Interval
from pipeline.retry import RETRYABLE
from pipeline.store import Store

log = logging.getLogger(__name__)

SERIES_CANDLES: Final = 500
"""Closed candles a session holds; the browser fetches older ones when someone pans to them."""
LIVE_PAGE: Final = Path(__file__).parents[1] / "pages" / "live.py"
ALERTS_PAGE: Final = LIVE_PAGE.with_name("alerts.py")
FROM_EXCHANGE: Final = '"source":"exchange"'
"""What the JSON of a candle holds that the exchange's own history stands in for."""


@dataclass
class Series:
    """Candles of one symbol and interval: closed ones, oldest first, and the newest that is open."""

    symbol: str
    interval: Interval
    closed: list[Candle] = field(default_factory=list)
    forming: Candle | None = None
    places: int = 2
    """Decimals that its prices need."""
    stand_ins: set[int] = field(default_factory=set)
    """Open times of candles that come from the exchange's own history."""
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
        for text in texts:
            candle = Candle.from_json(text)
            self._add(candle)
            if FROM_EXCHANGE in text:
                self.stand_ins.add(candle.open_time_ms)
        self.stand_ins &= {candle.open_time_ms for candle in self.closed}
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
        self.stand_ins.discard(candle.open_time_ms)
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


@st.cache_resource(show_spinner=False)
def _feed_facts() -> FeedFacts:
    own = services()
    return FeedFacts(own.hub, own.store)


def feed_facts() -> Facts:
    """What the feed says of itself; read once a minute for all sessions together."""
    return _feed_facts().look()


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
def readings() -> Readings:
    """The process's readings of the pipeline."""
    return Readings(services(), feed_facts)
