"""Which forming candles are published when; the clock is the test's."""

from __future__ import annotations

import pytest

from pipeline.fold import Partials, Windows, no_partials
from pipeline.intake import Batch
from pipeline.market import INTERVALS, Interval
from pipeline.rollup import BACKLOG_GAP_S, WIDE_GAP_S, Forming
from tests.golden import Deal, folded, golden, read

T0 = 1_700_000_000_000 // 3_600_000 * 3_600_000
"""A full hour."""
S1, M1, M5, M15, H1 = range(len(INTERVALS))


class Clockwork:
    """Open windows and what is due of them, poll by poll."""

    def __init__(self) -> None:
        self.windows, self.forming, self.deals = Windows(), Forming(), list[Deal]()

    def poll(self, now_s: float, *deals: Deal, at: int = S1, is_backlog: bool = False) -> list[Partials]:
        """``deals`` count from the interval ``at`` upwards."""
        self.deals += deals
        partials = [no_partials() for _ in INTERVALS]
        partials[at] = folded(deals)
        self.windows.add(partials)
        batch = Batch(0, "1-0", ("BTC", "ETH"), tuple(partials), 0, 0, (), (), {}, is_backlog)
        return self.forming.due(self.windows.open_partials, batch, now_s)


def deal(time_ms: int, symbol: int = 0) -> Deal:
    return Deal(symbol, time_ms, time_ms, 100 + time_ms % 7, 5, True)


def sizes(due: list[Partials]) -> list[int]:
    return [partials.shape[1] for partials in due]


def test_the_first_trade_publishes_a_forming_candle_of_every_interval() -> None:
    job = Clockwork()
    due = job.poll(100.0, deal(T0 + 5))
    for interval, partials in zip(INTERVALS, due, strict=True):
        assert read(partials) == golden(job.deals, interval)


def test_only_the_newest_open_window_of_a_symbol_is_published() -> None:
    job = Clockwork()
    due = job.poll(100.0, deal(T0), deal(T0 + 1_000), deal(T0 + 61_000), deal(T0 + 2_000, symbol=1))
    assert list(read(due[S1])) == [(0, T0 + 61_000), (1, T0 + 2_000)]
    assert list(read(due[M1])) == [(0, T0 + 60_000), (1, T0)]
    assert read(due[H1]) == golden(job.deals, Interval.H1)


def test_a_symbol_without_a_new_trade_is_not_published_again() -> None:
    job = Clockwork()
    job.poll(100.0, deal(T0), deal(T0, symbol=1))
    due = job.poll(200.0, deal(T0 + 1, symbol=1))
    assert [list(read(partials)) for partials in due] == [[(1, T0)]] * len(INTERVALS)


def test_seconds_and_minutes_go_out_at_every_poll_and_wider_ones_after_a_gap() -> None:
    job = Clockwork()
    assert sizes(job.poll(100.0, deal(T0))) == [1, 1, 1, 1, 1]
    assert sizes(job.poll(100.0, deal(T0 + 1))) == [1, 1, 0, 0, 0]
    assert sizes(job.poll(100.0 + WIDE_GAP_S - 0.01, deal(T0 + 2))) == [1, 1, 0, 0, 0]
    due = job.poll(100.0 + WIDE_GAP_S, deal(T0 + 3))
    assert sizes(due) == [1, 1, 1, 1, 1]
    assert read(due[M5]) == golden(job.deals, Interval.M5)
    assert sizes(job.poll(100.0 + WIDE_GAP_S + 0.01, deal(T0 + 4))) == [1, 1, 0, 0, 0]


def test_what_was_held_back_goes_out_with_the_next_one_that_is_due_also_for_other_symbols() -> None:
    job = Clockwork()
    job.poll(100.0, deal(T0))
    job.poll(100.1, deal(T0 + 1, symbol=1))
    due = job.poll(100.0 + WIDE_GAP_S, deal(T0 + 2))
    assert list(read(due[S1])) == [(0, T0)]
    assert read(due[M15]) == golden(job.deals, Interval.M15)


def test_an_empty_batch_publishes_all_that_was_held_back_once() -> None:
    job = Clockwork()
    job.poll(100.0, deal(T0))
    job.poll(100.1, deal(T0 + 1))
    due = job.poll(100.1)
    assert sizes(due) == [0, 0, 1, 1, 1]
    assert read(due[H1]) == golden(job.deals, Interval.H1)
    assert sizes(job.poll(100.1)) == [0] * len(INTERVALS)


def test_a_backlog_holds_back_seconds_and_minutes_too() -> None:
    job = Clockwork()
    assert sizes(job.poll(100.0, deal(T0), is_backlog=True)) == [1, 1, 1, 1, 1]
    assert sizes(job.poll(100.0, deal(T0 + 1), is_backlog=True)) == [0, 0, 0, 0, 0]
    assert sizes(job.poll(100.0 + BACKLOG_GAP_S - 0.01, deal(T0 + 2), is_backlog=True)) == [0, 0, 0, 0, 0]
    due = job.poll(100.0 + BACKLOG_GAP_S, deal(T0 + 3), is_backlog=True)
    assert sizes(due) == [1, 1, 0, 0, 0]
    assert read(due[M1]) == golden(job.deals, Interval.M1)
    assert sizes(job.poll(100.3)) == [0, 0, 1, 1, 1]


def test_after_a_backlog_every_poll_is_published_again() -> None:
    job = Clockwork()
    job.poll(100.0, deal(T0), is_backlog=True)
    assert sizes(job.poll(100.0 + BACKLOG_GAP_S, deal(T0 + 1)))[:2] == [1, 1]
    assert sizes(job.poll(100.0 + BACKLOG_GAP_S, deal(T0 + 2)))[:2] == [1, 1]


@pytest.mark.parametrize("at", [M1, H1])
def test_a_late_trade_publishes_the_wider_candles_that_it_changed(at: int) -> None:
    job = Clockwork()
    due = job.poll(100.0, deal(T0), at=at)
    assert sizes(due) == [0] * at + [1] * (len(INTERVALS) - at)


def test_a_symbol_whose_windows_have_all_closed_has_nothing_forming() -> None:
    job = Clockwork()
    job.poll(100.0, deal(T0))
    job.poll(100.1, deal(T0 + 1))
    job.windows.close(T0 + 3_600_000)
    assert sizes(job.poll(100.2)) == [0] * len(INTERVALS)
