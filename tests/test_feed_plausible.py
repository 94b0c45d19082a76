"""A live trade that was received before it can have happened is refused, by the same rule one or many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.entry import RECORD
from pipeline.errors import InvalidTrade
from pipeline.feed.plausible import FUTURE_MS, IN_FUTURE, check_received, in_future

NOW = 1_700_000_000_000


def test_a_trade_may_run_ahead_of_its_receipt_by_ten_seconds_and_no_more() -> None:
    assert check_received(NOW + 10_000, NOW) == NOW + 10_000
    with pytest.raises(InvalidTrade, match=f"{IN_FUTURE}: {NOW + 10_001}") as caught:
        check_received(NOW + 10_001, NOW)
    assert caught.value.reason == IN_FUTURE


@given(st.lists(st.integers(-3 * FUTURE_MS, 3 * FUTURE_MS)))
def test_many_are_judged_as_each_by_itself(offsets: list[int]) -> None:
    trades = np.zeros(len(offsets), RECORD)
    trades["event_time_ms"] = [NOW + offset for offset in offsets]
    refused = []
    for time_ms in trades["event_time_ms"].tolist():
        try:
            check_received(time_ms, NOW)
        except InvalidTrade:
            refused.append(True)
        else:
            refused.append(False)
    assert in_future(trades, NOW).tolist() == refused
