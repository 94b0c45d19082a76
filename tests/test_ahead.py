"""A leap of the stream counts in full; a trade that only says so does not. Judged from the stream alone."""

from __future__ import annotations

import pytest

from pipeline.ahead import AHEAD_MS, VOTES
from pipeline.market import Interval
from tests.golden import Deal, golden
from tests.test_intake import END, T0, Shard, fields, stream

DAY = 86_400_000


def deals(start_ms: int, count: int, first_id: int, step_ms: int = 10) -> list[Deal]:
    return [Deal(0, start_ms + i * step_ms, first_id + i, 5 + i % 7, 3, i % 2 == 0) for i in range(count)]


def rejected_ids(shard: Shard) -> list[str]:
    return [origin for _, origin, _ in shard.rejected]


@pytest.mark.parametrize("size", [1, 7, 60, 500])
def test_files_of_two_days_one_after_the_other_count_in_full_however_they_are_cut_into_entries(
    size: int,
) -> None:
    both = deals(T0, 130, 1) + deals(T0 + DAY, 130, 1_000)
    entries = [fields(both[i : i + size]) for i in range(0, len(both), size)]
    shard = Shard()
    batch = shard.poll(stream(*entries, END))
    assert shard.closed[0] == golden(both) and shard.closed[4] == golden(both, Interval.H1)
    assert batch.totals == {"trades": 260, "late": 0, "rejected": 0, "lost": 0, "rewound": 0}


def test_until_enough_agree_the_watermark_stays_and_then_it_leaps() -> None:
    shard = Shard()
    shard.poll(stream(fields(deals(T0, 3, 1))))
    before = shard.poll(stream(fields(deals(T0 + DAY, VOTES - 1, 10))))
    assert (before.event_time_ms, before.totals["trades"]) == (T0 + 20, 3)
    after = shard.poll(stream(fields(deals(T0 + DAY + 5_000, 1, 1_000))))
    assert (after.event_time_ms, after.totals["trades"]) == (T0 + DAY + 5_000, 3 + VOTES)


def test_a_live_feed_that_was_off_for_a_day_is_believed_at_its_first_heartbeat() -> None:
    both = [*deals(T0, 2, 1), *deals(T0 + DAY, 2, 10)]
    shard = Shard()
    shard.poll(stream(fields(both[:2]), fields(both[2:])))
    batch = shard.poll(stream({b"heartbeat": b"%d" % (T0 + DAY + 250)}))
    assert (batch.event_time_ms, batch.totals["trades"]) == (T0 + DAY + 250, 4)
    shard.poll(stream(END))
    assert shard.closed[0] == golden(both) and shard.late == []


def test_a_heartbeat_of_the_streams_own_time_refuses_what_is_held() -> None:
    shard = Shard()
    shard.poll(stream(fields(deals(T0, 2, 1)), fields(deals(T0 + DAY, 2, 10))))
    assert shard.rejected == []
    batch = shard.poll(stream({b"heartbeat": b"%d" % (T0 + 250)}))
    assert rejected_ids(shard) == ["2-0:0", "2-0:1"]
    assert batch.totals == {"trades": 2, "late": 0, "rejected": 2, "lost": 0, "rewound": 0}


def test_a_quiet_market_with_hours_between_its_trades_loses_none() -> None:
    sparse = deals(T0, 250, 1, step_ms=2 * AHEAD_MS)
    shard = Shard()
    for deal in sparse:
        shard.poll(stream(fields([deal])))
    batch = shard.poll(stream(END))
    assert shard.closed[0] == golden(sparse)
    assert batch.totals == {"trades": 250, "late": 0, "rejected": 0, "lost": 0, "rewound": 0}


def test_false_dates_in_the_middle_of_a_leap_are_refused_and_the_leap_counts() -> None:
    day2 = deals(T0 + DAY, 150, 10)
    false = [Deal(0, T0 + 900 * DAY + i, 5_000 + i, 1, 1, True) for i in range(9)]
    mixed = [false[0], *day2[:40], *false[1:8], *day2[40:], false[8], Deal(0, T0 + DAY, 9_999, 1, 1, True)]
    shard = Shard()
    shard.poll(stream(fields(deals(T0, 3, 1)), *(fields([deal]) for deal in mixed), END))
    counted = [*deals(T0, 3, 1), *day2]
    assert len(shard.rejected) == 9
    assert shard.closed[4] == golden([*counted, mixed[-1]], Interval.H1)


def test_the_middle_of_a_streams_first_entry_says_when_it_begins() -> None:
    good = deals(T0, 5, 1)
    shard = Shard()
    shard.poll(stream(fields([Deal(0, T0 + 900 * DAY, 99, 1, 1, True), *good]), END))
    assert rejected_ids(shard) == ["1-0:0"]
    assert shard.closed[0] == golden(good)


def test_what_is_held_stays_small() -> None:
    shard = Shard()
    shard.poll(stream(fields(deals(T0, 1, 1))))
    for i in range(2_000):
        shard.poll(stream(fields([Deal(0, T0 + (i + 1) * DAY, i, 1, 1, True)])))
        assert len(shard.position.ahead.held) < VOTES
