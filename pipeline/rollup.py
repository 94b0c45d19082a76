"""Partials in, candles out: the open windows of a shard as a keyed Flink function."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from typing import Final

import numpy as np
from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueState, ValueStateDescriptor

from pipeline import fold
from pipeline.alert import Alert
from pipeline.alerts.rules import Rules
from pipeline.alerts.watch import Watch
from pipeline.intake import Batch
from pipeline.market import INTERVALS, Interval
from pipeline.past import Past
from pipeline.revisions import Revisions

WIDE_GAP_S: Final = 0.5
"""Longest age of a forming candle of 5m and more: its last digits interest nobody sooner."""
BACKLOG_GAP_S: Final = 0.25
"""Longest age of any other while there is a backlog to catch up with."""

_M1: Final = INTERVALS.index(Interval.M1)


class RollUp(KeyedProcessFunction):  # type: ignore[misc]
    """Keeps the open windows of each shard (its key) and emits their revisions, batch by batch.

    With them go the alerts that they give rise to, so that both are written in one transaction.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def open(self, runtime_context: RuntimeContext) -> None:
        self._state: ValueState = runtime_context.get_state(
            ValueStateDescriptor("windows", Types.PICKLED_BYTE_ARRAY())
        )
        # A state of its own: it changes once a minute, the windows at every poll.
        self._watched: ValueState = runtime_context.get_state(
            ValueStateDescriptor("alerts", Types.PICKLED_BYTE_ARRAY())
        )
        self._past: ValueState = runtime_context.get_state(
            ValueStateDescriptor("past", Types.PICKLED_BYTE_ARRAY())
        )
        self._watches: dict[int, Watch] = {}
        self._forming: dict[int, Forming] = {}

    def process_element(
        self,
        shard_and_batch: tuple[int, bytes],
        ctx: KeyedProcessFunction.Context,  # noqa: ARG002
    ) -> Iterator[Revisions]:
        shard, pickled = shard_and_batch
        batch: Batch = pickle.loads(pickled)  # noqa: S301  made by our own source
        if batch.rewind_to is not None:
            self._go_back(shard, batch.rewind_to)
        saved = self._state.value()
        open_partials, closed_total = pickle.loads(saved) if saved else (None, 0)  # noqa: S301  our own checkpoint
        windows = fold.Windows(open_partials)
        windows.add(batch.partials, batch.whole_from_ms)
        closed = windows.close(batch.watermark_ms)
        closed_total += sum(partials.shape[1] for partials in closed)
        self._state.update(pickle.dumps((windows.open_partials, closed_total)))
        forming = self._forming.setdefault(shard, Forming())
        due = forming.due(windows.open_partials, batch, time.monotonic())
        alerts = self._alerts(shard, batch, closed[_M1], due[_M1])
        if batch.keep:
            self._keep(batch.entry_id)
        yield Revisions(batch=batch, closed=closed, forming=due, closed_total=closed_total, alerts=alerts)

    def _keep(self, entry_id: str) -> None:
        past = Past.load(self._past.value())
        past.keep(entry_id, pickle.dumps((self._state.value(), self._watched.value())))
        self._past.update(past.save())

    def _go_back(self, shard: int, entry_id: str) -> None:
        """Be as we were after ``entry_id``: Redis has lost what came later, and it will come again."""
        past = Past.load(self._past.value())
        _, kept = past.back_to(entry_id)
        windows, watched = pickle.loads(kept) if kept else (None, None)  # noqa: S301  our own checkpoint
        for state, value in ((self._state, windows), (self._watched, watched)):
            if value is None:
                state.clear()
            else:
                state.update(value)
        self._past.update(past.save())
        self._watches.pop(shard, None)
        self._forming.pop(shard, None)

    def _alerts(
        self, shard: int, batch: Batch, closed: fold.Partials, forming: fold.Partials
    ) -> tuple[Alert, ...]:
        if shard not in self._watches:
            self._watches[shard] = Watch(self._rules, self._watched.value())
        watch = self._watches[shard]
        alerts = watch.closed(batch.symbols, closed, batch.watermark_ms, batch.holes)
        if not batch.is_backlog:  # no early word on what is past already
            alerts += watch.forming(batch.symbols, forming)
        saved = watch.save()
        if saved is not None:
            self._watched.update(saved)
        return tuple(alerts)


class Forming:
    """Decides which forming candles to publish now. What it forgets in a crash comes with the next trade."""

    def __init__(self) -> None:
        self._changed: list[set[int]] = [set() for _ in INTERVALS]
        self._due_s = [0.0 for _ in INTERVALS]

    def due(self, open_partials: list[fold.Partials], batch: Batch, now_s: float) -> list[fold.Partials]:
        """The newest open window of each symbol that changed and may be published; one matrix an interval."""
        changed = {int(code) for partials in batch.partials for code in np.unique(partials[fold.SYMBOL])}
        due = []
        for i, interval in enumerate(INTERVALS):
            self._changed[i] |= changed
            # A batch without trades means that the market pauses: publish all that was held back.
            if not self._changed[i] or (changed and now_s < self._due_s[i]):
                due.append(fold.no_partials())
                continue
            due.append(_newest(open_partials[i], self._changed[i]))
            self._changed[i] = set()
            self._due_s[i] = now_s + _gap_s(interval, batch.is_backlog)
        return due


def _gap_s(interval: Interval, is_backlog: bool) -> float:
    if interval.ms > Interval.M1.ms:
        return WIDE_GAP_S
    return BACKLOG_GAP_S if is_backlog else 0.0


def _newest(partials: fold.Partials, symbols: set[int]) -> fold.Partials:
    """Of the windows of ``symbols`` (ordered by symbol, open time) the last one each."""
    codes = partials[fold.SYMBOL]
    is_last = np.append(codes[1:] != codes[:-1], True) if len(codes) else np.empty(0, bool)
    return partials[:, is_last & np.isin(codes, list(symbols))]
