"""The simulated market as a feed: the past at once, then the present in real time.

The position in Redis is ``STEP:RELEASED``, the second in progress and how many of its trades are
out; the state beside it is the market at the start of that second. A restart makes the second
again, leaves out what is out, and goes on. While the further past is written (see ``outline``), the
position is ``STEP:RELEASED:UNTIL``: what is in progress is the stretch from the one second to the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline import wall_clock
from pipeline.entry import Records
from pipeline.feed import outline
from pipeline.feed.market_model import STEP_MS, Market, State, load
from pipeline.feed.stream import NO_TRADES, Position, TradeWriter
from pipeline.settings import Settings

log = logging.getLogger(__name__)

HEARTBEAT_MS = 250
"""Longest silence of a live feed: an idle coin's candle closes this much later at most."""
WELCOME_AFTER_MS = 30_000
"""A new market's first spike begins in the first full minute after so long: who has just come sees
one within three minutes, when the page has been up for a while."""
DETAILED_MINUTES = 60
"""So much of the past is told trade by trade, as charts of seconds show it; what lies before, in outline."""
_STRETCH = 240 * outline.MINUTE
"""Of the outline at a time, in steps: some megabytes of arithmetic, and some ten thousand trades."""
_FAR_BEHIND_MS = 10_000
"""From here on catching up is bulk writing, and waits for the job."""


class Simulator:
    """Writes the market of ``settings`` until the writer's ``stop`` is set."""

    def __init__(
        self, settings: Settings, writer: TradeWriter, now_ms: Callable[[], int] = wall_clock.now_ms
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._now_ms = now_ms
        self._wanted = Market(
            settings.simulator_seed,
            settings.simulator_rate,
            settings.symbols,
            settings.simulator_spike_minutes,
        )
        self._market = self._wanted
        self._state: State
        self._released = 0
        self._heartbeat_ms = 0

    def run(self) -> None:
        """Blocks. FeedStopped or PositionMoved may come out of the writer."""
        self._resume(self._writer.resume())
        while not self._writer.stop.is_set():
            if self._is_long_past():
                self._outline(min(self._state.step + _STRETCH, self._minutes_ago(DETAILED_MINUTES)))
            elif self._state.time_ms + STEP_MS <= self._now_ms():
                self._catch_up()
            else:
                self._live_second()

    def _resume(self, found: Position) -> None:
        earliest = self._minutes_ago(self._settings.simulator_history_minutes)
        if found.position is None or found.state is None:
            if not self._settings.simulator_history_minutes:
                earliest = self._now_ms() // STEP_MS
            log.info("simulator: a new market, from %d minutes ago", (self._now_ms() // 1000 - earliest) // 60)
            welcome = (self._now_ms() + WELCOME_AFTER_MS) // 60_000 * 60 + 60
            self._state = self._market.first_state(earliest, welcome)
            self._writer.write((), NO_TRADES, f"{earliest}:0", state=self._market.save(self._state))
            return
        self._market, self._state = load(found.state)
        _, released, *until = map(int, found.position.split(":"))
        self._released = released
        log.info("simulator: going on, %d s after its last trade", self._now_ms() // 1000 - self._state.step)
        if until:
            self._outline(until[0])
        if self._state.step < earliest:
            self._leave_out_until(earliest)

    def _leave_out_until(self, earliest: int) -> None:
        """A stop of days leaves a hole: nobody wants a month of invented past."""
        if self._released:  # the rest of its second is given up, and with it the ids
            self._state = self._market.advance(self._state).after
            self._released = 0
        self._state = replace(self._state, step=earliest)
        self._take_settings()
        self._writer.write((), NO_TRADES, f"{earliest}:0", state=self._market.save(self._state))

    def _take_settings(self) -> None:
        """At the end of a second begun under other settings, go on under ours."""
        if self._market != self._wanted:
            self._state = self._wanted.adopt(self._market, self._state)
            self._market = self._wanted

    def _is_long_past(self) -> bool:
        """Whether what comes next is told in outline: whole minutes are, a second that is half out is not."""
        step = self._state.step
        return not self._released and not step % outline.MINUTE and step < self._minutes_ago(DETAILED_MINUTES)

    def _minutes_ago(self, minutes: int) -> int:
        """The step at which the minute began that was running so long ago."""
        return (self._now_ms() // 60_000 - minutes) * outline.MINUTE

    def _outline(self, until: int) -> None:
        """Write what comes before the step ``until``, in as many transactions as it takes."""
        symbols, begin = self._market.symbols, self._state.step
        trades, after = outline.advance(self._market, self._state, until)
        most = self._writer.bulk_trades
        while len(trades) - self._released > most:
            self._writer.wait_until_read()
            rest, self._released = trades[self._released :][:most], self._released + most
            self._writer.write(symbols, rest, f"{begin}:{self._released}:{until}")
        self._writer.wait_until_read()
        rest, self._released, self._state = trades[self._released :], 0, after
        self._write_end(symbols, rest)

    def _catch_up(self) -> None:
        """Write whole seconds of the past in one transaction."""
        now_ms = self._now_ms()
        if now_ms - self._state.time_ms > _FAR_BEHIND_MS:
            self._writer.wait_until_read()
        symbols, parts, count = self._market.symbols, [], 0
        while self._state.time_ms + STEP_MS <= now_ms and count < self._writer.bulk_trades:
            trades, after = self._market.advance(self._state)
            parts.append(trades[self._released :])
            count += len(parts[-1])
            self._state, self._released = after, 0
            if self._market != self._wanted:  # other symbols: not in the same table
                self._take_settings()
                break
            if self._is_long_past():
                break
        self._write_end(symbols, np.concatenate(parts))

    def _write_end(self, symbols: tuple[str, ...], trades: Records) -> None:
        self._take_settings()
        self._heartbeat_ms = self._state.time_ms
        self._writer.write(
            symbols,
            trades,
            f"{self._state.step}:0",
            state=self._market.save(self._state),
            heartbeat_ms=self._heartbeat_ms,
        )

    def _live_second(self) -> None:
        """Release the trades of the second in progress at their event times."""
        symbols, stop = self._market.symbols, self._writer.stop
        trades, after = self._market.advance(self._state)
        times = trades["event_time_ms"]
        while not stop.is_set():
            now_ms = self._now_ms()
            if now_ms >= after.time_ms:
                rest, self._released, self._state = trades[self._released :], 0, after
                return self._write_end(symbols, rest)
            due = int(np.searchsorted(times, now_ms, side="right"))
            silent = now_ms - self._heartbeat_ms >= HEARTBEAT_MS
            if silent:
                self._heartbeat_ms = now_ms
            if due > self._released:
                rest, self._released = trades[self._released : due], due
                position = f"{self._state.step}:{due}"
                self._writer.write(symbols, rest, position, heartbeat_ms=now_ms if silent else 0)
            elif silent:
                self._writer.heartbeat(now_ms)
            next_ms = min(self._heartbeat_ms + HEARTBEAT_MS, after.time_ms)
            if due < len(times):
                next_ms = min(next_ms, int(times[due]))
            stop.wait(max(next_ms - self._now_ms(), self._settings.flush_ms, 1) / 1000)
        return None
