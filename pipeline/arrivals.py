"""The entries of a stream, one after the other: what counts, with which watermark, and what is rejected. Pure.

What would push the watermark falsely is kept from it here: by the time at which Redis took the
entry, which is its id, and by the rest of the stream (see ``ahead``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, Final

import numpy as np

from pipeline import ahead, entry, fold
from pipeline.ahead import Ahead, Group
from pipeline.entry import END_OF_STREAM, Entry, Records
from pipeline.market import EARLIEST_MS, LATEST_MS, PRICE_DECIMALS, QUANTITY_DECIMALS, decimal_text

CLOCKS_MS: Final = 60_000
"""How far a trade may be ahead of the moment when Redis took it: the clocks of two machines may
differ. Live feeds, which know their exchange's clock, refuse from 10 s on."""
MAX_SYMBOLS: Final = 50_000
"""Symbols of one shard. Exchanges list a few thousand; each new one costs memory for ever."""

HOLE_MS: Final = 30_000
"""A jump of event time over so much is a hole in the stream, not silence: a living feed writes
heartbeats. Nobody may be called silent for what we did not hear."""


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
    ahead: Ahead = field(default_factory=Ahead)
    begins_cut: bool = False
    """What follows is the rest of a stream whose beginning was trimmed, and folded in an earlier life."""
    whole_from_ms: int = 0
    """Windows that open earlier are not whole in that rest: they stay as they were written before."""
    rewound: int = 0
    """Times that Redis had lost what it had confirmed, or was another one."""

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        """A checkpoint of an earlier version lacks what was added since: that begins as in a new one."""
        for one in dataclasses.fields(self):
            default = one.default if one.default_factory is MISSING else one.default_factory()
            setattr(self, one.name, state[1].get(one.name, default))


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that was left out. ``origin`` is the stream entry it stood in."""

    reason: str
    origin: str
    record: str


class Entries:
    """Of trades one behind the other, the stream entry at which each came to count."""

    def __init__(self, entry_ids: Sequence[str], ends: fold.Ints) -> None:
        self._entry_ids = entry_ids
        self._ends = ends

    def __getitem__(self, place: int) -> str:
        return self._entry_ids[int(np.searchsorted(self._ends, place, side="right"))]


class Arrivals:
    """The entries of one poll, one after the other: what counts, and with which watermark it came."""

    def __init__(
        self,
        position: Position,
        out_of_order_ms: int,
        rejected: list[Rejected],
        holes: list[tuple[int, int]],
    ) -> None:
        self._position = position
        self._out_of_order_ms = out_of_order_ms
        self._rejected = rejected
        self._holes = holes
        self._parts: list[Records] = []
        self._watermarks: list[int] = []
        self._entry_ids: list[str] = []

    def joined(self) -> tuple[Records, fold.Ints, Entries]:
        """All trades that count, a watermark for each, and the entry of each."""
        trades = np.concatenate(self._parts) if self._parts else np.empty(0, entry.RECORD)
        lengths = [len(part) for part in self._parts]
        entries = Entries(self._entry_ids, np.cumsum(lengths))
        return trades, np.repeat(np.array(self._watermarks, np.int64), lengths), entries

    def add(self, one: Entry) -> None:
        """Take in the entry at which the position is."""
        position = self._position
        latest_ms = _latest_ms(position.entry_id)
        if len(one.trades):
            trades, places = self._possible(one, latest_ms)
            if len(trades):
                self._take(trades, places)
        if one.heartbeat_ms:
            self._beat(one.heartbeat_ms, latest_ms)

    def _possible(self, one: Entry, latest_ms: int) -> tuple[Records, Sequence[int]]:
        """The entry's possible trades, symbols by the shard's codes, and their indices: a copy."""
        codes = self._codes(one.symbols)
        wrong = entry.impossible(one.trades, latest_ms)
        if min(codes) < 0:
            wrong |= np.array(codes)[one.trades["symbol"]] < 0
        places: Sequence[int] = range(len(one.trades))
        trades = one.trades.copy()
        if wrong.any():
            for i in np.flatnonzero(wrong).tolist():
                reason = entry.fault(trades[i], latest_ms) or f"more than {MAX_SYMBOLS} symbols"
                self._reject(reason, f"{self._position.entry_id}:{i}", trades[i], one.symbols)
            places = np.flatnonzero(~wrong).tolist()
            trades = trades[~wrong]
        trades["symbol"] = np.array(codes)[trades["symbol"]]
        return trades, places

    def _codes(self, names: Sequence[str]) -> list[int]:
        """The shard's code of each name; -1 where there is no room for another."""
        known = self._position.symbols
        try:
            return [known[name] for name in names]
        except KeyError:
            pass
        return [
            known.setdefault(name, len(known)) if name in known or len(known) < MAX_SYMBOLS else -1
            for name in names
        ]

    def _take(self, trades: Records, places: Sequence[int]) -> None:
        """Let trades count that are not far ahead of the stream; nearly always all of them."""
        position = self._position
        newest_ms = int(trades["event_time_ms"].max())
        if (
            not position.ahead.held
            and position.event_time_ms
            and (newest_ms <= position.event_time_ms + ahead.AHEAD_MS)
        ):
            self._count(trades, newest_ms)
            return
        group = Group(position.entry_id, trades, tuple(places))
        self._settle(position.ahead.trades(group, position.event_time_ms))

    def _beat(self, heartbeat_ms: int, latest_ms: int) -> None:
        position = self._position
        if heartbeat_ms != END_OF_STREAM and heartbeat_ms >= latest_ms + ahead.AHEAD_MS:
            origin, text = position.entry_id, f"heartbeat {heartbeat_ms}"
            self._rejected.append(Rejected("heartbeat is in the future", origin, text))
            return
        if position.ahead.held:
            self._settle(position.ahead.heartbeat(heartbeat_ms))
        self._note_hole(heartbeat_ms)
        position.event_time_ms = max(position.event_time_ms, heartbeat_ms)

    def _note_hole(self, next_ms: int) -> None:
        """Note what lies between the newest word and the next, if it is too much to be silence."""
        before_ms = self._position.event_time_ms
        if before_ms and next_ms - before_ms > HOLE_MS:
            self._holes.append((before_ms, next_ms))

    def _settle(self, verdict: ahead.Verdict) -> None:
        for group in verdict.counted:
            self._count(group.trades, group.newest_ms)
        names = tuple(self._position.symbols) if verdict.refused else ()
        for group in verdict.refused:
            for place, trade in zip(group.places, group.trades, strict=True):
                self._reject(ahead.REASON, f"{group.entry_id}:{place}", trade, names)

    def _count(self, trades: Records, newest_ms: int) -> None:
        position = self._position
        if position.begins_cut:
            # Nothing newer than this can have been in what was trimmed, or these would be late.
            position.begins_cut = False
            position.whole_from_ms = newest_ms + self._out_of_order_ms
        self._parts.append(trades)
        self._entry_ids.append(position.entry_id)
        self._watermarks.append(position.event_time_ms - self._out_of_order_ms)
        if newest_ms - position.event_time_ms > HOLE_MS:
            self._note_hole(int(trades["event_time_ms"].min()))
        position.event_time_ms = max(position.event_time_ms, newest_ms)

    def _reject(self, reason: str, origin: str, trade: np.void, names: Sequence[str]) -> None:
        self._rejected.append(Rejected(reason, origin, trade_json(trade, names)))


def _latest_ms(entry_id: str) -> int:
    """From when on a trade was written before it happened. LATEST_MS where the id is not a time."""
    received_ms = int(entry_id.partition("-")[0])
    return received_ms + CLOCKS_MS if EARLIEST_MS <= received_ms < LATEST_MS else LATEST_MS


def trade_json(trade: np.void, symbols: Sequence[str], missed: str = "") -> str:
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
