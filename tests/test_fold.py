"""The fold against a slow exact one, over any order, any split and numbers of any size."""

from __future__ import annotations

import csv
import itertools
import random
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import fold
from pipeline.fold import Windows, first_interval_on_time, fold_trades, merge, no_partials
from pipeline.market import INTERVALS, Interval
from tests.golden import Deal, folded, golden, read, recorded

T0 = 1_700_000_000_000 // 3_600_000 * 3_600_000
"""A full hour."""
SIZES = st.integers(1, 10**6) | st.integers(1, 2**62)
DEALS = st.builds(
    Deal,
    symbol=st.integers(0, 3),
    time_ms=st.integers(T0, T0 + 3_000) | st.integers(T0 - 3_600_000, T0 + 3_600_000),
    id=st.integers(0, 3) | st.integers(-(2**63), 2**63 - 1),
    price=SIZES,
    quantity=SIZES,
    is_buy=st.booleans(),
)
LISTS = st.lists(DEALS, max_size=40)
SPOT = "trades_binance_spot_20240808.csv.gz"


def joined(parts: list[fold.Partials]) -> fold.Partials:
    return np.concatenate([no_partials(), *parts], axis=1)


def cut(things: list[Deal], cuts: list[int]) -> list[list[Deal]]:
    edges = [0, *sorted(min(place, len(things)) for place in cuts), len(things)]
    return [things[start:end] for start, end in itertools.pairwise(edges)]


@given(LISTS)
@settings(max_examples=100, deadline=None)
def test_a_fold_equals_the_slow_exact_one_and_is_ordered_by_symbol_then_open_time(deals: list[Deal]) -> None:
    found = read(folded(deals))
    assert found == golden(deals)
    assert list(found) == sorted(found)


@given(LISTS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_arrival_never_shows(deals: list[Deal], chance: random.Random) -> None:
    shuffled = chance.sample(deals, len(deals))
    np.testing.assert_array_equal(folded(shuffled), folded(deals))


@given(LISTS, st.lists(st.integers(0, 40), max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_parts_folded_alone_and_merged_in_any_order_equal_the_whole(
    deals: list[Deal], cuts: list[int], chance: random.Random
) -> None:
    parts = [folded(part) for part in cut(deals, cuts)]
    chance.shuffle(parts)
    for interval in INTERVALS:
        at_once = merge(joined(parts), interval)
        one_by_one = no_partials()
        for part in parts:
            one_by_one = merge(joined([part, one_by_one]), interval)
        assert read(at_once) == golden(deals, interval)
        np.testing.assert_array_equal(one_by_one, at_once)


@given(LISTS, st.sets(st.sampled_from(INTERVALS)))
@settings(max_examples=60, deadline=None)
def test_rolling_up_through_any_intervals_equals_folding_straight_into_the_widest(
    deals: list[Deal], through: set[Interval]
) -> None:
    partials = folded(deals)
    for interval in INTERVALS:
        if interval in through:
            partials = merge(partials, interval)
    np.testing.assert_array_equal(merge(partials, Interval.H1), merge(folded(deals), Interval.H1))
    assert read(merge(partials, Interval.H1)) == golden(deals, Interval.H1)


def test_sums_far_beyond_64_bits_keep_their_last_digit() -> None:
    # SHIB: 92 billion coins a trade; the quantities alone outgrow 64 bits at the third trade.
    deals = [Deal(0, T0 + i % 1_000, i, 123_456 + i, 2**62 + i, i % 2 == 0) for i in range(5_000)]
    (sums,) = read(folded(deals)).values()
    assert sums == golden(deals)[0, T0]
    assert sums.volume > 2**74 and sums.quote_volume > 2**90


@pytest.mark.parametrize(
    ("price", "quantity"),
    [(2**62, 2**40), (2**40, 2**62), (2**51 - 1, 2**51 - 1), (2**62 + 12_345, 2**58 + 987)],
)
def test_sums_are_exact_on_both_sides_of_the_bound_that_the_module_names(price: int, quantity: int) -> None:
    # sum * summands < 2**115: 80 trades of 2**102 are 2**108.4 * 2**6.4; of 2**120, far beyond
    deals = [Deal(0, T0 + i, i, price - i, quantity - 3 * i, True) for i in range(80)]
    assert read(folded(deals)) == golden(deals)
    single = joined([folded([deal]) for deal in deals])
    assert read(merge(single, Interval.H1)) == golden(deals, Interval.H1)


def test_equal_times_are_ordered_by_trade_id_and_equal_ids_by_price() -> None:
    by_id = [Deal(0, T0, trade_id, price, 1, True) for trade_id, price in ((7, 50), (5, 90), (9, 10))]
    assert read(folded(by_id))[0, T0][:4] == (90, 90, 10, 10)
    by_price = [Deal(0, T0, 1, price, 1, True) for price in (50, 90, 10)]
    for deals in (by_price, by_price[::-1]):
        assert read(folded(deals))[0, T0][:4] == (10, 90, 10, 90)
        assert read(merge(joined([folded([deal]) for deal in deals]), Interval.M1))[0, T0][:4] == (
            10,
            90,
            10,
            90,
        )


@pytest.mark.parametrize("windows", [65_535, 65_536, 65_537, 70_001])
def test_more_group_keys_than_fit_16_bits_do_not_run_into_each_other(windows: int) -> None:
    # The keys of the first and of the last windows differ by 65,536: as 16-bit numbers they are equal.
    seconds = [*range(300), *range(windows - 300, windows)]
    deals = [Deal(0, T0 + second * 1_000, second, 100 + second, 7, second % 2 == 0) for second in seconds]
    assert read(folded(random.Random(1).sample(deals, len(deals)))) == golden(deals)


@pytest.mark.parametrize("interval", INTERVALS, ids=lambda interval: interval.value)
def test_recorded_trades_shuffled_and_split_fold_exactly(shared_data: Path, interval: Interval) -> None:
    deals = recorded(shared_data / SPOT, "binance-spot")
    assert len(deals) == 34_419
    expected = golden(deals, interval)
    chance = random.Random(8)
    chance.shuffle(deals)
    parts = [folded(part) for part in cut(deals, chance.choices(range(len(deals)), k=20))]
    chance.shuffle(parts)
    assert read(merge(merge(joined(parts), Interval.S1), interval)) == expected


def test_the_fold_gives_the_exchanges_own_klines_digit_by_digit(shared_data: Path) -> None:
    deals = recorded(shared_data / "trades_binance_20230404.csv.gz", "binance-um")
    minutes = read(merge(folded(deals[::-1]), Interval.M1))
    with (shared_data / "klines_1m_binance_um_BTCUSDT.csv").open() as lines:
        klines = {(0, int(row["open_time"])): row for row in csv.DictReader(lines)}
    whole = sorted(minutes)[1:-1]  # the capture begins and ends inside a minute
    assert len(whole) >= 5
    for key in whole:
        row, sums = klines[key], minutes[key]
        names = ("open", "high", "low", "close")
        assert [int(Decimal(row[name]).scaleb(10)) for name in names] == list(sums[:4])
        assert int(row["count"]) == sums.count
        assert Decimal(row["volume"]).scaleb(8) == sums.volume
        assert Decimal(row["quote_volume"]).scaleb(18) == sums.quote_volume
        assert Decimal(row["taker_buy_volume"]).scaleb(8) == sums.taker_buy_volume


def test_nothing_folds_into_nothing() -> None:
    assert folded([]).shape == (fold.ROWS, 0)
    assert merge(no_partials(), Interval.H1).shape == (fold.ROWS, 0)
    empty = np.empty(0, np.int64)
    assert fold_trades(empty, empty, empty, empty, empty, np.empty(0, bool)).shape == (fold.ROWS, 0)


def test_a_trade_goes_in_once_and_counts_from_its_interval_upwards() -> None:
    windows = Windows()
    on_time, late = Deal(0, T0 + 61_000, 2, 5, 1, True), Deal(0, T0 + 100, 1, 9, 1, True)
    nothing = no_partials()
    windows.add([folded([on_time]), nothing, folded([late]), nothing, nothing])  # too late for 1s and 1m
    for interval, partials in zip(INTERVALS, windows.open_partials, strict=True):
        counted = [on_time] if interval.ms <= Interval.M1.ms else [on_time, late]
        assert read(partials) == golden(counted, interval)


def test_a_window_closes_when_the_watermark_reaches_its_end_and_not_before() -> None:
    windows = Windows()
    deals = [Deal(0, T0, 1, 5, 1, True), Deal(1, T0 + 60_000, 2, 6, 1, False)]
    windows.add([folded(deals), *[no_partials()] * 4])
    assert [closed.shape[1] for closed in windows.close(T0 + 999)] == [0, 0, 0, 0, 0]
    assert [list(read(closed)) for closed in windows.close(T0 + 1_000)] == [[(0, T0)], [], [], [], []]
    assert [closed.shape[1] for closed in windows.close(T0 + 59_999)] == [0, 0, 0, 0, 0]
    assert [list(read(closed)) for closed in windows.close(T0 + 60_000)] == [[], [(0, T0)], [], [], []]
    assert [closed.shape[1] for closed in windows.close(T0 + 3_600_000)] == [1, 1, 2, 2, 2]
    assert all(partials.shape == (fold.ROWS, 0) for partials in windows.open_partials)


@pytest.mark.parametrize("number", range(len(INTERVALS)))
def test_a_trade_is_on_time_until_the_watermark_reaches_the_end_of_its_window(number: int) -> None:
    end = T0 + INTERVALS[number].ms
    times = np.array([T0, T0, T0, end - 1, end - 1, end], np.int64)
    watermarks = np.array([end - 1, end, end + 1, end - 1, end, end], np.int64)
    found = first_interval_on_time(times, watermarks).tolist()
    # T0 begins every interval, so a narrower window of it has ended long before.
    assert found == [number, number + 1, number + 1, 0, number + 1, 0]


def test_a_trade_late_for_everything_has_no_interval() -> None:
    assert first_interval_on_time(np.array([T0], np.int64), np.array([T0 + 3_600_000], np.int64)) == [5]
