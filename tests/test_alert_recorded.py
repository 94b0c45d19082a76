"""Every rule on an hour of recorded trades: what was injected is found, what was not is left alone."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.alert import Alert, AlertType, Severity
from pipeline.entry import Records
from pipeline.market import PRICE_DECIMALS
from tests import alert_market
from tests.alert_market import DROP, MINUTE, SILENT, SPIKE, START_MS, SURGE


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> Records:
    return alert_market.recorded_trades(shared_data)


@pytest.fixture(scope="module")
def alerts(recorded: Records) -> list[Alert]:
    return alert_market.expected(alert_market.injected(recorded))


def minutes(alerts: list[Alert], alert_type: AlertType) -> list[int]:
    return [(one.window_start_ms - START_MS) // MINUTE for one in alerts if one.alert_type is alert_type]


def only(alerts: list[Alert], alert_type: AlertType) -> Alert:
    (found,) = [one for one in alerts if one.alert_type is alert_type]
    return found


def test_the_hour_itself_holds_no_move_of_five_percent_and_no_silence(recorded: Records) -> None:
    types = {one.alert_type for one in alert_market.expected(recorded)}
    assert not types & {AlertType.PRICE_SPIKE, AlertType.PRICE_DROP, AlertType.STALE}


def test_the_injected_moves_are_found_with_their_size(alerts: list[Alert], recorded: Records) -> None:
    spike, drop = only(alerts, AlertType.PRICE_SPIKE), only(alerts, AlertType.PRICE_DROP)
    for alert, minute, low, high in ((spike, SPIKE, "5.8", "6.2"), (drop, DROP, "-11.2", "-10.8")):
        assert alert.window_start_ms == START_MS + minute * MINUTE
        assert Decimal(low) < alert.price_change_percent < Decimal(high)
        of_minute = recorded["price"][alert_market.minutes_of(recorded) == minute]
        assert alert.open_price == Decimal(int(of_minute[0])).scaleb(-PRICE_DECIMALS)
    assert (spike.severity, drop.severity) == (Severity.LOW, Severity.HIGH)


def test_the_injected_sizes_are_a_volume_surge(alerts: list[Alert]) -> None:
    assert minutes(alerts, AlertType.VOLUME_SURGE) == [SURGE]


def test_the_moves_are_breakouts_and_volatile_once_each(alerts: list[Alert]) -> None:
    breakouts = minutes(alerts, AlertType.BREAKOUT)
    assert {SPIKE, DROP} <= set(breakouts)
    assert minutes(alerts, AlertType.VOLATILITY) == [SPIKE]


def test_every_breakout_is_one_by_the_trades_themselves_and_none_was_left_out(
    alerts: list[Alert], recorded: Records
) -> None:
    trades = alert_market.injected(recorded)
    of = alert_market.minutes_of(trades)
    candles = {number: trades["price"][of == number].tolist() for number in sorted(set(of.tolist()))}
    beyond = []
    for place, number in enumerate(candles):
        before = [candles[other] for other in list(candles)[max(0, place - 12) : place]]
        prices = [price for minute in before for price in minute]
        if len(before) == 12 and not min(prices) <= candles[number][-1] <= max(prices):
            beyond.append(number)
    news = [number for number in beyond if not set(range(number - 5, number)) & set(beyond)]
    assert minutes(alerts, AlertType.BREAKOUT) == news
    assert len(beyond) > len(news) > 3


def test_the_silence_is_told_by_event_time_when_its_first_minute_is_over(alerts: list[Alert]) -> None:
    stale = only(alerts, AlertType.STALE)
    assert stale.window_start_ms == START_MS + (SILENT.start - 1) * MINUTE
    assert stale.triggered_at_ms == START_MS + (SILENT.start + 1) * MINUTE
    assert stale.open_price == stale.close_price
