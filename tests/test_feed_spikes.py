"""The simulated market's spikes: seen by the alert rules, believable, and the same over any restart."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from test_feed_simulator import NOW_MS, SETTINGS, START, SYMBOLS, Clock, seconds

from pipeline import keys
from pipeline.alert import Alert
from pipeline.alerts.rules import Rules
from pipeline.alerts.watch import Watch
from pipeline.entry import Records
from pipeline.feed import spikes
from pipeline.feed.market_model import Market, load
from pipeline.feed.spikes import Spike
from pipeline.fold import Windows, fold_trades, no_partials
from pipeline.market import INTERVALS
from pipeline.settings import Settings

HOURS = 2
BEGIN = START // 3_600 * 3_600
MOVES = {"PRICE_SPIKE", "PRICE_DROP"}


def planned(market: Market, begin: int, end: int) -> list[Spike]:
    """Those that begin from ``begin`` on and before ``end``, in order."""
    found = spikes.between(market.seed, market.spike_minutes, len(market.symbols), begin, end, 0)
    return sorted((spike for spike in found if begin <= spike.begin), key=lambda spike: spike.begin)


def alerts_of(trades: Records) -> list[Alert]:
    """What the rules say of ``trades``, all at once."""
    windows, watch = Windows(), Watch(Rules.of(Settings()))
    folded = fold_trades(
        trades["symbol"].astype(np.int64),
        trades["event_time_ms"].copy(),
        trades["trade_id"].copy(),
        trades["price"].copy(),
        trades["quantity"].copy(),
        trades["side"] == 1,
    )
    windows.add([folded, *(no_partials() for _ in INTERVALS[1:])])
    end_ms = int(trades["event_time_ms"][-1]) // 60_000 * 60_000
    return watch.closed(SYMBOLS, windows.close(end_ms)[1], end_ms)


@pytest.fixture(scope="module", params=[7, 8])
def run(request: pytest.FixtureRequest) -> tuple[Market, Records]:
    """Two hours of a market with a spike in every ten minutes."""
    market = Market(request.param, 60, SYMBOLS, 10)
    parts = [trades for trades, _ in seconds(market, market.first_state(BEGIN), HOURS * 3_600)]
    return market, np.concatenate(parts)


def test_every_spike_is_an_alert_and_nothing_else_is(run: tuple[Market, Records]) -> None:
    market, trades = run
    expected = [
        (SYMBOLS[spike.coin], spike.begin // 60 * 60_000, spike.size > 0)
        for spike in planned(market, BEGIN, BEGIN + HOURS * 3_600 - 60)
    ]
    found = [
        (one.symbol, one.window_start_ms, one.alert_type.value == "PRICE_SPIKE")
        for one in alerts_of(trades)
        if one.alert_type.value in MOVES
    ]
    assert found == expected
    assert len(found) >= 6 * HOURS - 1


def test_spikes_come_in_several_severities_with_volume(
    run: tuple[Market, Records],
) -> None:
    market, trades = run
    alerts = alerts_of(trades)
    assert len({one.severity for one in alerts if one.alert_type.value in MOVES}) > 1
    surges = {(one.symbol, one.window_start_ms) for one in alerts if one.alert_type.value == "VOLUME_SURGE"}
    late = planned(market, BEGIN + 3_660, BEGIN + HOURS * 3_600 - 60)
    loud = {(SYMBOLS[spike.coin], spike.begin // 60 * 60_000) for spike in late}
    assert len(loud & surges) >= 0.7 * len(loud), "once there is an hour to compare with"


def test_a_spike_moves_fast_within_one_minute_and_gives_a_part_back() -> None:
    for spike in planned(Market(3, 60, SYMBOLS, 10), BEGIN, BEGIN + 12 * 3_600):
        end = spike.begin // 60 * 60 + 60
        assert spike.level(spike.begin) == 0
        assert spike.begin + spike.rise_s <= end - 20
        peak, at_end, later = (spike.level(second) for second in (spike.begin + spike.rise_s, end, end + 240))
        assert 0.056 < abs(np.expm1(at_end)) < abs(np.expm1(peak)) < 0.1401
        assert 0.65 < later / peak < 0.75
        steps = [
            abs(spike.level(a) - spike.level(b)) for a, b in pairwise(range(spike.begin, spike.begin + 300))
        ]
        assert max(steps) < 0.15 * abs(spike.size), "no jump from one second to the next"


def test_the_moves_of_all_seconds_add_up_to_the_level() -> None:
    spike = planned(Market(3, 60, SYMBOLS, 10), BEGIN, BEGIN + 3_600)[0]
    moved = sum(spike.moves(second, 10).sum() for second in range(spike.begin - 5, spike.begin + 300))
    assert moved == pytest.approx(spike.level(spike.begin + 300))


def test_the_coins_take_turns_up_and_down_so_that_none_drifts_away() -> None:
    market = Market(5, 60, SYMBOLS, 10)
    month = planned(market, BEGIN, BEGIN + 30 * 24 * 3_600)
    assert len(month) == pytest.approx(30 * 24 * 6, abs=2)
    for coin in range(len(SYMBOLS)):
        sizes = [spike.size for spike in month if spike.coin == coin]
        assert len(sizes) == pytest.approx(len(month) / len(SYMBOLS), abs=2)
        assert all((a > 0) != (b > 0) for a, b in pairwise(sizes))
        assert abs(np.cumsum(sizes)).max() < 0.2
        assert len({abs(size) for size in sizes}) > 0.4 * len(sizes)


def test_until_a_spike_begins_the_market_is_what_it_is_without_any() -> None:
    plain, spiky = Market(7, 60, SYMBOLS), Market(7, 60, SYMBOLS, 10)
    begin = planned(spiky, BEGIN, BEGIN + 3_600)[0].begin
    for start, same in ((begin - 60, True), (begin, False)):
        runs = [[t.tobytes() for t, _ in seconds(m, m.first_state(start), 50)] for m in (plain, spiky)]
        assert (runs[0] == runs[1]) is same


def test_a_market_in_mid_spike_goes_on_from_its_saved_text_bit_by_bit() -> None:
    market = Market(7, 60, SYMBOLS, 10)
    begin = planned(market, BEGIN, BEGIN + 3_600)[0].begin
    *_, (_, state) = seconds(market, market.first_state(begin - 5, welcome=begin), 20)
    again, loaded = load(market.save(state))
    assert (again, loaded.welcome) == (market, begin)
    here, there = market.advance(state), again.advance(loaded)
    assert here.trades.tobytes() == there.trades.tobytes()
    assert np.array_equal(here.after.log_price, there.after.log_price)


def test_a_state_of_before_there_were_spikes_is_read_as_one_without_any() -> None:
    market = Market(7, 60, SYMBOLS)
    saved = json.loads(market.save(market.first_state(START)))
    del saved["spikes"], saved["welcome"]
    again, state = load(json.dumps(saved))
    assert again == market and state.welcome == 0


@pytest.mark.parametrize("second", range(0, 60, 7))
def test_a_newcomer_sees_one_within_three_minutes(redis_client, second: int) -> None:
    now_ms = NOW_MS // 60_000 * 60_000 + second * 1_000
    Clock(now_ms).run(redis_client, SETTINGS, 1)
    _, state = load(redis_client.get(keys.feed_state("simulator")))
    first = next(
        spike
        for after in range(200)
        for spike in spikes.active(7, 10**6, len(SYMBOLS), now_ms // 1_000 + after, state.welcome)
    )
    closed_ms = (first.begin // 60 + 1) * 60_000 + 1_500
    assert 60_000 < closed_ms - now_ms < 180_000
