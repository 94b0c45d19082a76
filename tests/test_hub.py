"""The hub: order, listeners, holes. No Redis."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hub import NOWHERE, Gap, Hub, follows
from pipeline.update import Update
from tests.candles import MINUTE, T0, update


def test_latest_is_the_newest_revision_of_the_newest_candle() -> None:
    hub = Hub()
    assert hub.latest("BTC", "1m") is None

    forming, next_forming = update(seq=1), update(seq=2, minute=1)
    closing = update(seq=3, minute=0, is_closed=True)
    hub.apply([forming, next_forming, closing])

    assert hub.latest("BTC", "1m") == next_forming, "the closing of the last minute is not the latest candle"
    assert hub.known(("BTC", "1m")).position == (1, 3)
    assert hub.known(("BTC", "1m")).closed_ms == T0
    assert hub.symbols() == ["BTC"]
    assert hub.snapshot() == [next_forming]


def test_a_revision_that_comes_twice_or_late_is_dropped_and_counted() -> None:
    hub, heard = Hub(), []
    hub.listen(heard.extend)
    one, two = update(seq=1), update(seq=2)

    assert hub.apply([one, two, one, two]) == [one, two]
    assert hub.apply([one]) == []
    assert heard == [one, two]
    assert hub.repeated == 3


def test_a_new_epoch_is_newer_whatever_its_seq() -> None:
    hub = Hub()
    hub.apply([update(epoch=1, seq=500)])

    assert hub.apply([update(epoch=2, seq=1)])
    assert not hub.apply([update(epoch=1, seq=501)]), "a writer that was replaced has no say"


def test_symbols_and_intervals_are_numbered_apart() -> None:
    hub = Hub()
    updates = [update("BTC", seq=5), update("ETH", seq=5)]
    assert hub.apply(updates) == updates
    assert hub.pairs() == [("BTC", "1m"), ("ETH", "1m")]


def test_a_listener_that_fails_is_logged_and_keeps_nobody_from_hearing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, heard = Hub(), []

    def broken(_: Any) -> None:
        raise RuntimeError("broken on purpose")

    hub.listen(broken)
    stop = hub.listen(heard.extend)
    with caplog.at_level(logging.ERROR):
        hub.apply([update(seq=1)])
    assert len(heard) == 1 and "a listener failed" in caplog.text

    stop()
    stop()
    hub.apply([update(seq=2)])
    assert len(heard) == 1, "it stopped listening"


@pytest.mark.parametrize(
    ("before", "position", "answer"),
    [
        (NOWHERE, (1, 1), True),
        (NOWHERE, (1, 2), False),
        ((1, 4), (1, 5), True),
        ((1, 4), (1, 6), False),
        ((1, 4), (2, 1), True),
        ((1, 4), (2, 2), False),
    ],
)
def test_follows_tells_a_hole_from_the_next_revision(
    before: tuple[int, int], position: tuple[int, int], answer: bool
) -> None:
    assert follows(before, position) is answer


def test_a_batch_is_split_at_the_holes_of_each_symbol() -> None:
    hub = Hub()
    hub.apply([update("BTC", seq=1), update("ETH", seq=1)])
    two, three, four, five = (update("BTC", seq=seq) for seq in (2, 3, 4, 5))
    other = update("ETH", seq=2)

    assert hub.split([two, three, update("ETH", seq=1)])[1] == []
    assert hub.split([two, four, other, five]) == ([two, other], [four, five])
    assert hub.split([three]) == ([], [three])
    third = update("SOL", seq=3)
    assert hub.split([update("SOL", seq=1), third])[1] == [third]


def test_another_database_is_told_as_gaps() -> None:
    hub, gaps = Hub(), []
    hub.listen_gaps(gaps.extend)
    hub.apply([update(seq=7)])

    hub.clear()

    assert gaps == [Gap("BTC", "1m", (1, 7))]
    assert hub.latest("BTC", "1m") is None and hub.symbols() == []
    assert hub.apply([update(epoch=1, seq=1)])


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(0, 3), st.booleans())))
def test_what_leaves_the_hub_rises_strictly_whatever_comes_in(
    revisions: list[tuple[int, int, int, bool]],
) -> None:
    hub = Hub()
    heard: list[Update] = []
    hub.listen(heard.extend)
    for epoch, seq, minute, is_closed in revisions:
        hub.apply([update(epoch=epoch, seq=seq, minute=minute, is_closed=is_closed, published_at_ms=0)])

    positions = [one.position for one in heard]
    assert positions == sorted(set(positions))
    latest = hub.latest("BTC", "1m")
    assert (latest is None) == (not heard)
    if latest:
        assert latest.open_time_ms == T0 + MINUTE * max((one.open_time_ms - T0) // MINUTE for one in heard)
