"""Stream entries in, one batch of partial candles out: what the source does to each poll. Pure.

Whatever depends on the order of arrival is decided from the stream alone, entry by entry (see
``arrivals``): the watermark before an entry is the newest event time of all entries before it, less
the allowed disorder. So it does not matter how a run was cut into polls, and a run that was restored
from a checkpoint takes the same trades for late as the run that crashed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import entry, fold
from pipeline.arrivals import Arrivals, Entries, Position, Rejected, trade_json
from pipeline.entry import Records
from pipeline.errors import InvalidEntry
from pipeline.market import INTERVALS, Side

RawEntry = tuple[bytes, Mapping[bytes, bytes]]
"""One element of an XREAD reply: id and fields."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll adds to one shard.

    ``partials[i]`` counts from ``INTERVALS[i]`` upwards (see ``fold.Windows.add``); row SYMBOL
    indexes ``symbols``. ``late`` holds JSON texts for ``crypto:late``.
    """

    shard: int
    entry_id: str
    symbols: tuple[str, ...]
    partials: tuple[fold.Partials, ...]
    watermark_ms: int
    event_time_ms: int
    late: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    totals: dict[str, int]
    """Absolute counts since the shard began: trades, late, rejected, lost."""
    is_backlog: bool
    """There is more to read at once, so that forming candles can wait."""
    whole_from_ms: int = 0
    """Windows that open earlier began before what could be read."""
    holes: tuple[tuple[int, int], ...] = ()
    """(from, to) in event time: what the stream left out (see HOLE_MS)."""
    late_at: tuple[str, ...] = ()
    """The stream entry at which each of ``late`` came to count: not before that one was it noted."""
    rejected_at: tuple[str, ...] = ()
    """The stream entry at which each of ``rejected`` was refused."""
    rewind_to: str | None = None
    """Before this batch, go back to how everything was after the entry of this id."""
    keep: bool = False
    """After this batch, keep a state that can be gone back to."""


class Intake:
    """Turns raw entries into batches for one shard, moving its position on."""

    def __init__(self, shard: int, out_of_order_ms: int) -> None:
        self._shard = shard
        self._out_of_order_ms = out_of_order_ms

    def take(self, position: Position, raw_entries: Sequence[RawEntry], is_backlog: bool) -> Batch:
        """Fold ``raw_entries`` (in stream order) and move ``position`` past them."""
        rejected: list[Rejected] = []
        holes: list[tuple[int, int]] = []
        rejected_at: list[str] = []
        trades, watermarks, entries = self._decode(position, raw_entries, rejected, rejected_at, holes)
        late: list[str] = []
        partials, late_places = _fold_on_time(trades, watermarks, tuple(position.symbols), late)
        position.trades += len(trades)
        position.late += len(late)
        position.rejected += len(rejected)
        return Batch(
            shard=self._shard,
            entry_id=position.entry_id,
            symbols=tuple(position.symbols),
            partials=partials,
            watermark_ms=position.event_time_ms - self._out_of_order_ms,
            event_time_ms=position.event_time_ms,
            late=tuple(late),
            rejected=tuple(rejected),
            totals={
                name: getattr(position, name) for name in ("trades", "late", "rejected", "lost", "rewound")
            },
            is_backlog=is_backlog,
            holes=tuple(holes),
            whole_from_ms=position.whole_from_ms,
            late_at=tuple(entries[place] for place in late_places),
            rejected_at=tuple(rejected_at),
        )

    def _decode(
        self,
        position: Position,
        raw_entries: Sequence[RawEntry],
        rejected: list[Rejected],
        rejected_at: list[str],
        holes: list[tuple[int, int]],
    ) -> tuple[Records, fold.Ints, Entries]:
        """All possible trades, symbols by the shard's codes, each with its watermark and entry."""
        arrivals = Arrivals(position, self._out_of_order_ms, rejected, holes)
        for raw_id, fields in raw_entries:
            position.entry_id = raw_id.decode("ascii")
            try:
                one = entry.decode(fields)
            except InvalidEntry as error:
                rejected.append(Rejected(error.reason, position.entry_id, f"{error}"))
            else:
                arrivals.add(one)
            rejected_at += [position.entry_id] * (len(rejected) - len(rejected_at))
        return arrivals.joined()


def _fold_on_time(
    trades: Records, watermarks: fold.Ints, symbols: Sequence[str], late: list[str]
) -> tuple[tuple[fold.Partials, ...], list[int]]:
    """Partials for each interval upwards of which their trades are on time, and where the late ones stood."""
    times = np.ascontiguousarray(trades["event_time_ms"])
    first = fold.first_interval_on_time(times, watermarks)
    if not first.any():
        return (_fold(trades), *(fold.no_partials() for _ in INTERVALS[1:])), []
    places = np.flatnonzero(first).tolist()
    for i in places:
        missed = ",".join(interval.value for interval in INTERVALS[: first[i]])
        late.append(trade_json(trades[i], symbols, missed))
    return tuple(_fold(trades[first == i]) for i in range(len(INTERVALS))), places


def _fold(trades: Records) -> fold.Partials:
    return fold.fold_trades(
        trades["symbol"].astype(np.int64),
        np.ascontiguousarray(trades["event_time_ms"]),
        np.ascontiguousarray(trades["trade_id"]),
        np.ascontiguousarray(trades["price"]),
        np.ascontiguousarray(trades["quantity"]),
        trades["side"] == Side.BUY,
    )
