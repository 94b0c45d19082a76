"""Stream entries in, one batch of partial candles out: what the source does to each poll. Pure.

Whatever depends on the order of arrival is decided here, entry by entry, from the stream alone:
the watermark before an entry is the newest event time of all entries before it, less the allowed
disorder. So it does not matter how a run was cut into polls, and a run that was restored from a
checkpoint takes the same trades for late as the run that crashed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline import entry, fold
from pipeline.entry import Entry, Records
from pipeline.errors import InvalidEntry
from pipeline.market import INTERVALS, PRICE_DECIMALS, QUANTITY_DECIMALS, Side, decimal_text

RawEntry = tuple[bytes, Mapping[bytes, bytes]]
"""One element of an XREAD reply: id and fields."""


@dataclass(slots=True)
class Position:
    """How far one shard has been read: all that the source must remember."""

    entry_id: str = "0-0"
    instance: str = ""
    """The Redis (``keys.INSTANCE``) that ``entry_id`` belongs to."""
    symbols: dict[str, int] = field(default_factory=dict)
    event_time_ms: int = 0
    """Newest event time or heartbeat seen."""
    trades: int = 0
    late: int = 0
    rejected: int = 0
    lost: int = 0
    """Times that the stream had been trimmed past our position before it was read."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that was left out. ``origin`` is the stream entry it stood in."""

    reason: str
    origin: str
    record: str


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


class Intake:
    """Turns raw entries into batches for one shard, moving its position on."""

    def __init__(self, shard: int, out_of_order_ms: int) -> None:
        self._shard = shard
        self._out_of_order_ms = out_of_order_ms

    def take(self, position: Position, raw_entries: Sequence[RawEntry], is_backlog: bool) -> Batch:
        """Fold ``raw_entries`` (in stream order) and move ``position`` past them."""
        rejected: list[Rejected] = []
        trades, watermarks = self._decode(position, raw_entries, rejected)
        late: list[str] = []
        partials = _fold_on_time(trades, watermarks, tuple(position.symbols), late)
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
            totals={name: getattr(position, name) for name in ("trades", "late", "rejected", "lost")},
            is_backlog=is_backlog,
        )

    def _decode(
        self, position: Position, raw_entries: Sequence[RawEntry], rejected: list[Rejected]
    ) -> tuple[Records, fold.Ints]:
        """All possible trades, symbols by the shard's codes, each with its watermark on arrival."""
        parts: list[Records] = []
        watermarks: list[int] = []
        for raw_id, fields in raw_entries:
            position.entry_id = raw_id.decode("ascii")
            try:
                one = entry.decode(fields)
            except InvalidEntry as error:
                rejected.append(Rejected("torn entry", position.entry_id, f"{error}"))
                continue
            trades = _possible(one, position.entry_id, rejected)
            codes = [position.symbols.setdefault(name, len(position.symbols)) for name in one.symbols]
            newest = one.heartbeat_ms
            if len(trades):
                trades["symbol"] = np.array(codes, np.uint32)[trades["symbol"]]
                parts.append(trades)
                watermarks.append(position.event_time_ms - self._out_of_order_ms)
                newest = max(newest, int(trades["event_time_ms"].max()))
            position.event_time_ms = max(position.event_time_ms, newest)
        trades = np.concatenate(parts) if parts else np.empty(0, entry.RECORD)
        return trades, np.repeat(np.array(watermarks, np.int64), [len(part) for part in parts])


def _possible(one: Entry, entry_id: str, rejected: list[Rejected]) -> Records:
    """The entry's trades without the impossible ones: a copy that may be written to."""
    wrong = entry.impossible(one.trades)
    if not wrong.any():
        return one.trades.copy()
    for i in np.flatnonzero(wrong):
        record = _trade_json(one.trades[i], one.symbols)
        rejected.append(Rejected("impossible price, quantity, time or side", f"{entry_id}:{i}", record))
    return one.trades[~wrong]


def _fold_on_time(
    trades: Records, watermarks: fold.Ints, symbols: Sequence[str], late: list[str]
) -> tuple[fold.Partials, ...]:
    """Partials for each interval upwards of which their trades are on time; late ones are noted."""
    times = np.ascontiguousarray(trades["event_time_ms"])
    first = fold.first_interval_on_time(times, watermarks)
    if not first.any():
        return (_fold(trades), *(fold.no_partials() for _ in INTERVALS[1:]))
    for i in np.flatnonzero(first):
        missed = ",".join(interval.value for interval in INTERVALS[: first[i]])
        late.append(_trade_json(trades[i], symbols, missed))
    return tuple(_fold(trades[first == i]) for i in range(len(INTERVALS)))


def _fold(trades: Records) -> fold.Partials:
    return fold.fold_trades(
        trades["symbol"].astype(np.int64),
        np.ascontiguousarray(trades["event_time_ms"]),
        np.ascontiguousarray(trades["trade_id"]),
        np.ascontiguousarray(trades["price"]),
        np.ascontiguousarray(trades["quantity"]),
        trades["side"] == Side.BUY,
    )


def _trade_json(trade: np.void, symbols: Sequence[str], missed: str = "") -> str:
    """One trade for people to look at; its numbers may be impossible."""
    fields = {
        "symbol": symbols[trade["symbol"]],
        "trade_id": int(trade["trade_id"]),
        "event_time_ms": int(trade["event_time_ms"]),
        "price": decimal_text(int(trade["price"]), PRICE_DECIMALS),
        "quantity": decimal_text(int(trade["quantity"]), QUANTITY_DECIMALS),
        "side": {0: "sell", 1: "buy"}.get(int(trade["side"]), int(trade["side"])),
    }
    return json.dumps(fields | ({"missed": missed} if missed else {}))
