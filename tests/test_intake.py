"""What the source does to a poll: the outcome is the stream's alone, however it was cut into polls."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import entry
from pipeline.arrivals import Position
from pipeline.entry import END_OF_STREAM, RECORD
from pipeline.fold import Windows
from pipeline.intake import Batch, Intake, RawEntry
from pipeline.market import INTERVALS, Interval
from tests.golden import Deal, Folded, golden, read

T0 = 1_700_000_000_000 // 3_600_000 * 3_600_000
"""A full hour."""
ALLOWED_MS = 1_000
NAMES = ("BTC", "ETH", "SOL")
DEALS = st.builds(
    Deal,
    symbol=st.integers(0, 2),
    time_ms=st.integers(T0, T0 + 5_000) | st.integers(T0, T0 + 7_200_000),
    id=st.integers(0, 9),
    price=st.integers(1, 10**13),
    quantity=st.integers(1, 10**13),
    is_buy=st.booleans(),
)
ENTRIES = st.lists(
    st.tuples(st.lists(DEALS, max_size=4), st.just(0) | st.integers(T0, T0 + 7_200_000)).filter(any),
    max_size=12,
)


def records(deals: Sequence[Deal]) -> entry.Records:
    return np.array([(d.time_ms, d.id, d.price, d.quantity, d.symbol, d.is_buy) for d in deals], RECORD)


def fields(deals: Sequence[Deal], heartbeat_ms: int = 0) -> dict[bytes, bytes]:
    """An entry's fields as Redis gives them back."""
    encoded = entry.encode(NAMES, records(deals), heartbeat_ms)
    return {k.encode(): v if isinstance(v, bytes) else str(v).encode() for k, v in encoded.items()}


def stream(*entries: dict[bytes, bytes]) -> list[RawEntry]:
    return [(b"%d-0" % number, one) for number, one in enumerate(entries, 1)]


END = {b"heartbeat": str(END_OF_STREAM).encode()}


class Shard:
    """Intake and windows of one shard, and all that came out of them."""

    def __init__(self) -> None:
        self.intake, self.position, self.windows = Intake(0, ALLOWED_MS), Position(), Windows()
        self.closed: list[Folded] = [{} for _ in INTERVALS]
        self.late: list[dict[str, Any]] = []
        self.rejected: list[tuple[str, str, str]] = []

    def poll(self, raw_entries: Sequence[RawEntry]) -> Batch:
        batch = self.intake.take(self.position, raw_entries, is_backlog=False)
        self.windows.add(batch.partials)
        for known, partials in zip(self.closed, self.windows.close(batch.watermark_ms), strict=True):
            closed = {
                (NAMES.index(batch.symbols[code]), time): sums for (code, time), sums in read(partials).items()
            }
            assert not known.keys() & closed.keys(), "a candle was closed twice"
            known.update(closed)
        self.late += [json.loads(text) for text in batch.late]
        self.rejected += [(one.reason, one.origin, one.record) for one in batch.rejected]
        return batch


def expected(entries: Sequence[tuple[list[Deal], int]]) -> tuple[list[Folded], list[tuple[int, str]]]:
    """Closed candles an interval, and (trade id, missed intervals) of the late: one trade after the other."""
    counted: list[list[Deal]] = [[] for _ in INTERVALS]
    late, newest = [], 0
    for deals, heartbeat_ms in entries:
        for deal in deals:
            missed = [i for i in INTERVALS if i.open_time(deal.time_ms) + i.ms <= newest - ALLOWED_MS]
            for interval, on_time in zip(INTERVALS, counted, strict=True):
                if interval not in missed:
                    on_time.append(deal)
            if missed:
                late.append((deal.id, ",".join(interval.value for interval in missed)))
        newest = max([newest, heartbeat_ms, *(deal.time_ms for deal in deals)])
    return [golden(deals, interval) for deals, interval in zip(counted, INTERVALS, strict=True)], late


@given(ENTRIES, st.lists(st.integers(0, 13), max_size=6), st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_any_cut_into_polls_gives_the_same_candles_late_records_and_totals(
    entries: list[tuple[list[Deal], int]], cuts: list[int], restored_at: int
) -> None:
    raw = stream(*(fields(*one) for one in entries), END)
    closed, late = expected(entries)
    shard = Shard()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        if number == restored_at:
            shard.intake, shard.position = Intake(0, ALLOWED_MS), pickle.loads(pickle.dumps(shard.position))
        batch = shard.poll(raw[start:end])
    assert shard.closed == closed
    assert [(trade["trade_id"], trade["missed"]) for trade in shard.late] == late
    trades = sum(len(deals) for deals, _ in entries)
    assert batch.totals == {"trades": trades, "late": len(late), "rejected": 0, "lost": 0, "rewound": 0}
    assert (batch.entry_id, batch.event_time_ms) == (raw[-1][0].decode(), END_OF_STREAM)


def test_a_position_that_was_pickled_goes_on_as_if_nothing_had_happened() -> None:
    first = stream(fields([Deal(2, T0 + 5_000, 1, 5, 1, True), Deal(0, T0 + 9_000, 2, 6, 1, True)]))
    second = [(b"7-3", fields([Deal(0, T0 + 100, 3, 7, 1, False), Deal(1, T0 + 9_500, 4, 8, 1, True)]))]
    shard = Shard()
    shard.poll(first)
    restored = pickle.loads(pickle.dumps(shard.position))
    again = Intake(0, ALLOWED_MS).take(restored, second, is_backlog=True)
    went_on = shard.intake.take(shard.position, second, is_backlog=True)
    for found, wanted in zip(again.partials, went_on.partials, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert again.late == went_on.late and len(again.late) == 1
    assert (again.symbols, again.totals, again.entry_id) == (went_on.symbols, went_on.totals, "7-3")
    assert restored == shard.position


def test_a_late_trade_counts_in_the_wider_intervals_and_is_noted_with_those_it_missed() -> None:
    on_time = Deal(0, T0 + 61_500, 8, 60 * 10**10, 10**8, True)
    late = Deal(0, T0 + 200, 7, 615_000_000_000, 12_500_000, False)
    shard = Shard()
    shard.poll(stream(fields([on_time]), fields([late])))
    assert shard.late == [
        {
            "symbol": "BTC", "trade_id": 7, "event_time_ms": T0 + 200, "price": "61.5", "quantity": "0.125",
            "side": "sell", "missed": "1s,1m",
        }
    ]  # fmt: skip
    shard.poll(stream(END))
    for interval, closed in zip(INTERVALS, shard.closed, strict=True):
        counted = [on_time] if interval.ms <= Interval.M1.ms else [on_time, late]
        assert closed == golden(counted, interval)


def test_a_trade_late_for_every_interval_is_counted_and_noted_and_changes_no_candle() -> None:
    shard = Shard()
    shard.poll(stream(fields([Deal(0, T0, 1, 5, 1, True)]), {b"heartbeat": b"%d" % (T0 + 7_200_000)}))
    before = [dict(closed) for closed in shard.closed]
    batch = shard.poll(stream(fields([Deal(0, T0 + 1, 2, 9, 1, True)]), END))
    assert shard.closed == before
    assert shard.late[0]["missed"] == "1s,1m,5m,15m,1h"
    assert batch.totals == {"trades": 2, "late": 1, "rejected": 0, "lost": 0, "rewound": 0}


def test_trades_of_one_entry_never_make_each_other_late() -> None:
    deals = [Deal(0, T0 + 7_000_000, 1, 5, 1, True), Deal(0, T0, 2, 6, 1, True)]
    shard = Shard()
    shard.poll(stream(fields(deals), END))
    assert shard.late == [] and shard.closed[0] == golden(deals)


def test_a_heartbeat_closes_the_candles_of_an_idle_market() -> None:
    deal = Deal(1, T0 + 100, 1, 5, 1, True)
    shard = Shard()
    assert shard.poll(stream(fields([deal]))).watermark_ms == T0 + 100 - ALLOWED_MS
    shard.poll(stream({b"heartbeat": b"%d" % (T0 + 1_000 + ALLOWED_MS - 1)}))
    assert shard.closed[0] == {}
    shard.poll(stream({b"heartbeat": b"%d" % (T0 + 1_000 + ALLOWED_MS)}))
    assert shard.closed[0] == golden([deal]) and shard.closed[1] == {}
    shard.poll(stream({b"heartbeat": b"%d" % (T0 + 60_000 + ALLOWED_MS)}))
    assert shard.closed[1] == golden([deal], Interval.M1)


def test_a_heartbeat_beside_trades_counts_after_them_and_an_older_one_changes_nothing() -> None:
    deal = Deal(0, T0, 1, 5, 1, True)
    shard = Shard()
    assert shard.poll(stream(fields([deal], T0 + 90_000))).watermark_ms == T0 + 90_000 - ALLOWED_MS
    assert shard.late == [] and shard.closed[1] == golden([deal], Interval.M1)
    assert shard.poll(stream({b"heartbeat": b"%d" % T0})).watermark_ms == T0 + 90_000 - ALLOWED_MS


GOOD = fields([Deal(0, T0, 1, 5, 1, True)])


@pytest.mark.parametrize(
    ("torn", "why", "words"),
    [
        (GOOD | {b"trades": GOOD[b"trades"][:-1]}, "trades are cut off", "39 bytes"),
        (GOOD | {b"symbols": b"btc,ETH"}, "symbol table", "'btc'"),
        (GOOD | {b"symbols": b"\xff\xfe"}, "symbol table", "ascii"),
        ({b"trades": GOOD[b"trades"]}, "a record points past its symbols", "0 symbols"),
        (GOOD | {b"heartbeat": b"soon"}, "heartbeat is not a time in milliseconds", "soon"),
        (GOOD | {b"heartbeat": b"1700000000"}, "heartbeat is not a time in milliseconds", "1700000000"),
        (GOOD | {b"heartbeat": b"%d" % (END_OF_STREAM + 1)}, "heartbeat is not a time in milliseconds", "1"),
        ({b"price": b"5"}, "neither trades nor heartbeat", "price"),
    ],
)
def test_a_torn_entry_is_rejected_whole_with_its_origin_and_costs_its_neighbours_nothing(
    torn: dict[bytes, bytes], why: str, words: str
) -> None:
    before, after = Deal(0, T0, 1, 5, 1, True), Deal(1, T0 + 10, 2, 6, 1, True)
    shard = Shard()
    batch = shard.poll(stream(fields([before]), torn, fields([after]), END))
    ((reason, origin, record),) = shard.rejected
    assert (reason, origin) == (f"torn entry: {why}", "2-0")
    assert words in record
    assert shard.closed[0] == golden([before, after])
    assert batch.totals == {"trades": 2, "late": 0, "rejected": 1, "lost": 0, "rewound": 0}


def test_impossible_records_are_rejected_one_by_one_with_their_place_and_never_move_the_watermark() -> None:
    good = [Deal(0, T0, 1, 5, 1, True), Deal(2, T0 + 20, 6, 7, 2, False)]
    bad = [
        Deal(1, T0, 2, 0, 1, True),
        Deal(1, T0, 3, 5, -1, True),
        Deal(1, T0 // 1_000, 4, 5, 1, True),  # seconds
        Deal(1, T0 * 1_000, 5, 5, 1, True),  # microseconds
        Deal(1, T0, 6, 2**52, 2**48 + 1, True),
        Deal(1, 1_000, 7, 5, 1, True),
    ]
    trades = records([good[0], *bad, good[1], Deal(1, T0, 8, 5, 1, True)])
    trades["side"][-1] = 2
    raw = stream(GOOD | {b"trades": trades.tobytes(), b"symbols": ",".join(NAMES).encode()})
    shard = Shard()
    batch = shard.poll(raw)
    assert [(origin, reason) for reason, origin, _ in shard.rejected] == [
        ("1-0:1", "price: not above zero"),
        ("1-0:2", "quantity: not above zero"),
        ("1-0:3", "event time is in seconds, not in milliseconds"),
        ("1-0:4", "event time is in microseconds, not in milliseconds"),
        ("1-0:5", "price times quantity is too large"),
        ("1-0:6", "event time is before 2009"),
        ("1-0:8", "side is neither buy nor sell"),
    ]
    shown = [json.loads(record) for _, _, record in shard.rejected]
    assert [(one["trade_id"], one["symbol"]) for one in shown] == [(i, "ETH") for i in (2, 3, 4, 5, 6, 7, 8)]
    assert (shown[1]["quantity"], shown[6]["side"]) == ("-0.00000001", 2)
    assert batch.event_time_ms == T0 + 20
    assert batch.totals == {"trades": 2, "late": 0, "rejected": 7, "lost": 0, "rewound": 0}
    shard.poll(stream(END))
    assert shard.closed[0] == golden(good)


def test_an_empty_poll_keeps_the_position_and_adds_nothing() -> None:
    shard = Shard()
    shard.poll([(b"5-2", fields([Deal(0, T0, 1, 5, 1, True)]))])
    batch = shard.poll([])
    assert (batch.entry_id, batch.event_time_ms, batch.totals["trades"]) == ("5-2", T0, 1)
    assert all(partials.shape[1] == 0 for partials in batch.partials)


def test_a_trade_dated_after_its_entry_was_written_is_rejected_and_makes_nothing_late() -> None:
    good = [Deal(0, T0, 1, 5, 1, True), Deal(0, T0 + 10, 3, 6, 1, True)]
    tomorrow = Deal(0, T0 + 86_400_000, 2, 9, 1, True)
    shard = Shard()
    # Redis took these entries at T0, as their ids say; the first thing it took was the false one.
    raw = [fields([tomorrow]), fields([good[0], tomorrow]), fields([good[1]]), END]
    batch = shard.poll([(b"%d-%d" % (T0, number), one) for number, one in enumerate(raw)])
    assert [(reason, origin) for reason, origin, _ in shard.rejected] == [
        ("event time is in the future", f"{T0}-0:0"),
        ("event time is in the future", f"{T0}-1:1"),
    ]
    assert batch.totals == {"trades": 2, "late": 0, "rejected": 2, "lost": 0, "rewound": 0}
    assert shard.closed[0] == golden(good)


def test_a_heartbeat_from_the_future_is_rejected_and_closes_nothing() -> None:
    shard = Shard()
    beats = [T0, T0 + 7_200_000, T0 + 86_400_000]
    batch = shard.poll([(b"%d-%d" % (T0, i), {b"heartbeat": b"%d" % ms}) for i, ms in enumerate(beats)])
    assert batch.event_time_ms == T0 + 7_200_000
    assert shard.rejected == [("heartbeat is in the future", f"{T0}-2", f"heartbeat {beats[2]}")]


FAR = T0 + 20 * 86_400_000
POISON = st.builds(
    Deal,
    symbol=st.integers(0, 2),
    time_ms=st.integers(FAR, FAR + 86_400_000 * 365),
    id=st.integers(1_000, 2_000),
    price=st.integers(1, 10**13),
    quantity=st.integers(1, 10**13),
    is_buy=st.booleans(),
)


@given(
    st.lists(st.lists(DEALS, min_size=1, max_size=4), min_size=2, max_size=10),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4), POISON), max_size=9),
    st.lists(st.integers(0, 20), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_a_stream_with_trades_from_far_ahead_gives_what_it_gives_without_them(
    entries: list[list[Deal]], poison: list[tuple[int, int, Deal]], cuts: list[int]
) -> None:
    clean = Shard()
    clean.poll(stream(*map(fields, entries), END))
    # Anywhere and several in a row, but not after the last good trade, where nobody could tell.
    poisoned = [list(one) for one in entries]
    for where, place, deal in poison:
        chosen = poisoned[1 + where % (len(poisoned) - 1)]
        chosen.insert(place % len(chosen), deal)
    raw = stream(*map(fields, poisoned), END)
    shard = Shard()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    for start, end in itertools.pairwise(edges):
        shard.intake, shard.position = Intake(0, ALLOWED_MS), pickle.loads(pickle.dumps(shard.position))
        batch = shard.poll(raw[start:end])
    assert shard.closed == clean.closed
    assert shard.late == clean.late
    assert {reason for reason, _, _ in shard.rejected} <= {"event time is hours ahead of the stream"}
    told = sorted(json.loads(record)["trade_id"] for _, _, record in shard.rejected)
    assert told == sorted(deal.id for _, _, deal in poison)
    assert batch.totals["rejected"] == len(poison)
    for _, origin, record in shard.rejected:
        number, place = int(origin.split("-")[0]), int(origin.split(":")[1])
        assert poisoned[number - 1][place].id == json.loads(record)["trade_id"]


def test_a_position_saved_by_an_earlier_version_gets_what_was_added_since_as_in_a_new_one() -> None:
    older = Position("7-0", "abc", {"BTC": 0}, T0, trades=9)
    del older.rewound, older.ahead  # as if there had never been such fields
    position = pickle.loads(pickle.dumps(older))
    assert position == Position("7-0", "abc", {"BTC": 0}, T0, trades=9)
