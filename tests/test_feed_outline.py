"""The further past in outline: the market that goes on trade by trade, in four trades a minute."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import redis
from feeding import Written, written
from test_feed_simulator import NOW_MS, SETTINGS, START, SYMBOLS, Clock, seconds
from test_feed_spikes import MOVES, alerts_of, planned

from pipeline import keys
from pipeline.entry import Records, impossible
from pipeline.feed import outline
from pipeline.feed.market_model import Market, State
from pipeline.feed.profiles import profile
from pipeline.feed.simulator import DETAILED_MINUTES, Simulator
from pipeline.feed.stream import TradeWriter
from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS

BEGIN = START // 3_600 * 3_600
HOURS = 6


def minutes_of(trades: Records, coin: int) -> list[Records]:
    """The trades of ``coin``, by minute."""
    own = trades[trades["symbol"] == coin]
    minute = own["event_time_ms"] // 60_000
    return np.split(own, np.flatnonzero(np.diff(minute)) + 1)


def moves_and_volumes(trades: Records) -> tuple[np.ndarray, np.ndarray]:
    """Of the first coin, by minute: the logarithm of close to open, and the volume."""
    minutes = minutes_of(trades, 0)
    moves = [np.log(one["price"][-1] / one["price"][0]) for one in minutes]
    return np.array(moves), np.array([one["quantity"].sum() for one in minutes], float)


@pytest.fixture(scope="module")
def day() -> list[tuple[Market, Records, State]]:
    """Six hours of each of four markets."""
    runs = []
    for seed in range(4):
        market = Market(seed, 200, SYMBOLS)
        runs.append((market, *outline.advance(market, market.first_state(BEGIN), BEGIN + HOURS * 3_600)))
    return runs


def test_every_minute_has_its_four_trades_within_it_possible_and_numbered_without_gaps(day) -> None:
    for market, trades, after in day:
        assert not impossible(trades).any()
        assert (np.diff(trades["event_time_ms"]) >= 0).all()
        for coin, symbol in enumerate(market.symbols):
            own = trades[trades["symbol"] == coin]
            assert own["trade_id"].tolist() == list(range(1, 4 * 60 * HOURS + 1))
            assert after.next_id[coin] == len(own) + 1
            minutes = own["event_time_ms"] // 60_000
            assert minutes.tolist() == [BEGIN // 60 + n // 4 for n in range(len(own))]
            assert (own["price"] % 10 ** (PRICE_DECIMALS - profile(symbol).price_digits) == 0).all()
            assert (own["quantity"] % 10 ** (QUANTITY_DECIMALS - profile(symbol).quantity_digits) == 0).all()


def test_a_minute_is_told_within_one_second_whichever_so_that_the_market_is_never_silent_for_long(day) -> None:
    _, trades, _ = day[0]
    seconds_in = [{int(time) // 1_000 % 60 for time in one["event_time_ms"]} for one in minutes_of(trades, 0)]
    assert all(len(one) == 1 for one in seconds_in)
    assert len(set().union(*seconds_in)) > 50
    assert np.diff(trades["event_time_ms"]).max() < 60_000


def test_wicks_reach_beyond_the_body_in_most_minutes(day) -> None:
    for _, trades, _ in day:
        minutes = minutes_of(trades, 0)
        beyond = [
            one["price"].max() > max(one["price"][0], one["price"][-1])
            or one["price"].min() < min(one["price"][0], one["price"][-1])
            for one in minutes
        ]
        assert np.mean(beyond) > 0.8


def test_minutes_move_and_trade_as_much_as_those_that_are_told_trade_by_trade(day) -> None:
    told, outlined = [], []
    for market, trades, _ in day:
        parts = [found for found, _ in seconds(market, market.first_state(BEGIN), 3_600)]
        told.append(moves_and_volumes(np.concatenate(parts)))
        outlined.append(moves_and_volumes(trades))
    moves = [np.concatenate([one[0] for one in some]).std() for some in (told, outlined)]
    volumes = [np.median(np.concatenate([one[1] for one in some])) for some in (told, outlined)]
    assert 0.6 < moves[1] / moves[0] < 1.6
    assert 0.6 < volumes[1] / volumes[0] < 1.6


def test_coins_move_together_and_busy_minutes_are_wild(day) -> None:
    for _, trades, _ in day:
        closes = np.array(
            [[one["price"][-1] for one in minutes_of(trades, coin)] for coin in range(len(SYMBOLS))]
        )
        returns = np.diff(np.log(closes), axis=1)
        assert 0.4 < np.corrcoef(returns)[np.triu_indices(len(SYMBOLS), 1)].mean() < 0.95
        moves, volumes = moves_and_volumes(trades)
        assert np.corrcoef(np.log(volumes), np.log(np.abs(moves) + 1e-6))[0, 1] > 0.15


def test_the_market_goes_on_from_where_the_outline_ends(day) -> None:
    for market, trades, after in day:
        assert after.step == BEGIN + HOURS * 3_600
        on, _ = market.advance(after)
        for coin in range(len(SYMBOLS)):
            last = trades[trades["symbol"] == coin]["price"][-1]
            first = on[on["symbol"] == coin]["price"]
            assert not len(first) or abs(np.log(first[0] / last)) < 0.002


def test_the_same_stretch_is_the_same_trades_and_what_is_no_whole_minute_is_refused() -> None:
    market = Market(7, 200, SYMBOLS)
    runs = [outline.advance(market, market.first_state(BEGIN), BEGIN + 600) for _ in range(2)]
    assert runs[0].trades.tobytes() == runs[1].trades.tobytes()
    for begin, until in ((BEGIN + 1, BEGIN + 60), (BEGIN, BEGIN + 61), (BEGIN, BEGIN)):
        with pytest.raises(ValueError, match=f"no whole minutes: from {begin} to {until}"):
            outline.advance(market, market.first_state(begin), until)


@pytest.mark.parametrize("seed", [7, 8])
def test_every_spike_of_the_outline_is_an_alert_and_no_other_move_is(seed: int) -> None:
    market = Market(seed, 200, SYMBOLS, 2)
    every = market.spike_minutes * outline.SPIKES_RARER
    trades, _ = outline.advance(market, market.first_state(BEGIN), BEGIN + HOURS * 3_600)
    spikes = planned(replace(market, spike_minutes=every), BEGIN, BEGIN + HOURS * 3_600 - 60)
    expected = [(SYMBOLS[spike.coin], spike.begin // 60 * 60_000, spike.size > 0) for spike in spikes]
    found = [
        (one.symbol, one.window_start_ms, one.alert_type.value == "PRICE_SPIKE")
        for one in alerts_of(trades)
        if one.alert_type.value in MOVES
    ]
    assert len(found) >= 60 // every * HOURS - 1
    # A minute's open is the price at the end of its first second: of the least spikes a breath may be missing.
    missing = set(expected) - set(found)
    assert not set(found) - set(expected) and len(missing) <= len(expected) // 20


class TestFeed:
    LONG = replace(SETTINGS, simulator_history_minutes=600)

    def detailed_from(self, now_ms: int) -> int:
        return (now_ms // 60_000 - DETAILED_MINUTES) * 60_000

    def by_symbol(self, trades: list[Written]) -> dict[str, list[Written]]:
        found = defaultdict(list)
        for trade in trades:
            found[trade.symbol].append(trade)
        return found

    def test_a_new_market_has_its_whole_past_in_order_and_its_last_hour_trade_by_trade(
        self, redis_client: redis.Redis
    ) -> None:
        settings = replace(self.LONG, simulator_rate=20)
        Clock(NOW_MS).run(redis_client, settings, 1)
        trades = written(redis_client)
        times = [trade.event_time_ms for trade in trades]
        assert times == sorted(times)
        begin, detailed = (NOW_MS // 60_000 - 600) * 60_000, self.detailed_from(NOW_MS)
        outlined = [trade for trade in trades if trade.event_time_ms < detailed]
        assert len(outlined) == 4 * len(SYMBOLS) * (600 - DETAILED_MINUTES)
        assert begin <= times[0] < begin + 60_000
        rate = sum(time >= detailed for time in times) / (NOW_MS - detailed) * 1_000
        assert 10 < rate < 40
        for own in self.by_symbol(trades).values():
            assert [trade.trade_id for trade in own] == list(range(1, len(own) + 1))

    def test_a_feed_that_is_killed_after_any_of_its_writes_writes_the_rest_of_its_past_once(
        self, redis_client: redis.Redis
    ) -> None:
        settings = replace(self.LONG, simulator_rate=1, stream_max_entries=4)  # of 500 trades a write
        read_all(redis_client)
        Clock(NOW_MS).run(redis_client, settings, 1)
        whole = written(redis_client)
        redis_client.flushall()
        read_all(redis_client)
        clock, kills = Clock(NOW_MS), 0
        clock.end_ms = NOW_MS + 1
        while True:
            writer = Killed(redis_client, settings, "simulator", source="simulator", stop=clock)  # type: ignore[arg-type]
            writer.writes = 1 + kills % 3
            try:
                Simulator(settings, writer, clock).run()
            except KilledHere:
                kills += 1
            else:
                break
        assert kills > 20
        assert written(redis_client) == whole

    def test_a_stop_of_hours_is_bridged_in_outline_and_the_last_hour_trade_by_trade(
        self, redis_client: redis.Redis
    ) -> None:
        settings = replace(self.LONG, simulator_rate=20, simulator_spike_minutes=0)
        clock = Clock(NOW_MS)
        clock.run(redis_client, settings, 1_500)
        count = len(written(redis_client))
        clock.now_ms += 5 * 3_600_000
        read_all(redis_client)
        clock.run(redis_client, settings, 1_500)
        trades = written(redis_client)
        times = np.array([trade.event_time_ms for trade in trades])
        assert (np.diff(times) >= 0).all()
        assert np.diff(times).max() < 60_000, "no minute is left out"
        bridged = times[count:]
        outlined = bridged[bridged < self.detailed_from(clock.now_ms)]
        minutes = 5 * 60 - DETAILED_MINUTES
        assert 4 * len(SYMBOLS) * (minutes - 2) < len(outlined) < 4 * len(SYMBOLS) * (minutes + 2) + 20 * 60 * 5
        for own in self.by_symbol(trades).values():
            assert [trade.trade_id for trade in own] == list(range(1, len(own) + 1))
            prices = np.array([float(trade.price) for trade in own])
            assert np.abs(np.diff(np.log(prices))).max() < 0.05


def read_all(client: redis.Redis) -> None:
    """As a job that has read whatever is written, now and later."""
    client.hset(keys.progress(0), "position", f"{2**62}-0")


class KilledHere(Exception):
    """In the place of SIGKILL."""


class Killed(TradeWriter):
    """Ends its process, as it were, right behind a transaction."""

    writes = 0

    def write(self, *args, **kwargs) -> None:
        super().write(*args, **kwargs)
        self.writes -= 1
        if not self.writes:
            raise KilledHere
