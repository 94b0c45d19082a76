"""The pure parts of the live feed: ticks, lanes, gate, clock, pulse, markets, the relay's addresses."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidTrade, SettingsError
from pipeline.feed.exchange.client import through
from pipeline.feed.exchange.clock import AGREED, ExchangeClock
from pipeline.feed.exchange.gate import HOLD_S, Blocked, Gate
from pipeline.feed.exchange.lane import Hole, Lane, Place
from pipeline.feed.exchange.markets import Market, check_all_found, choose, exchanges_of
from pipeline.feed.exchange.pulse import LEAST_S, LONGEST_S, Pulse
from pipeline.feed.exchange.tick import Tick, read_tick
from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS, scale

T0 = 1_700_000_040_000
BTC = Market("kraken", "BTC/USD", "BTC")
ETH = Market("kraken", "ETH/USD", "ETH")


def tick(number: int, time_ms: int | None = None, text: str = "") -> Tick:
    return Tick(T0 + number if time_ms is None else time_ms, number, 1, 1, 1, text or str(number))


def numbers(ticks: list[Tick]) -> list[int]:
    return [one.trade_id for one in ticks]


def trade(**changes: Any) -> dict[str, Any]:
    return {"id": "7", "timestamp": T0, "price": "1.5", "amount": "0.00000001", "side": "buy"} | changes


class TestTick:
    @given(st.decimals(min_value="1e-10", max_value="900000000", places=10))
    def test_prices_are_read_exactly_as_the_rule_reads_them(self, price: Any) -> None:
        text = format(price, "f")
        assert read_tick(trade(price=text)).price == scale(text, PRICE_DECIMALS)

    def test_exponents_and_short_forms_are_read_exactly(self) -> None:
        assert read_tick(trade(amount="8.2e-07")).quantity == scale("0.00000082", QUANTITY_DECIMALS)
        assert read_tick(trade(price=".5", amount="5.")).price == scale("0.5", PRICE_DECIMALS)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"price": None}, "price: not a number"),
            ({"price": 1.5}, "price: not a number"),
            ({"price": "0"}, "price: not above zero"),
            ({"price": "-1"}, "price: not above zero"),
            ({"price": "1.00000000001"}, "price: more than 10 decimals"),
            ({"amount": "1e30"}, "quantity: too large"),
            ({"amount": "\u0663"}, "quantity: "),
            ({"side": None}, "side is neither buy nor sell"),
            ({"timestamp": None}, "event time is not in milliseconds"),
            ({"timestamp": 1_700_000_040}, "event time is not in milliseconds"),
        ],
    )
    def test_what_is_no_trade_is_named(self, changes: dict[str, Any], reason: str) -> None:
        with pytest.raises(InvalidTrade) as caught:
            read_tick(trade(**changes))
        assert caught.value.reason.startswith(reason)

    def test_an_id_that_is_no_number_is_kept_as_text(self) -> None:
        assert read_tick(trade(id="a-1"))[1] == -1 and read_tick(trade(id="a-1")).id_text == "a-1"
        assert read_tick(trade(id=str(2**63)))[1] == -1
        with pytest.raises(InvalidTrade, match="trade id is not a number"):
            read_tick(trade(id="a-1"), needs_number=True)

    def test_the_takers_side_is_the_other_than_the_makers(self) -> None:
        assert (read_tick(trade()).side, read_tick(trade(), flip=True).side) == (1, 0)


class TestLane:
    def test_any_order_of_arrival_leaves_in_order_and_once(self) -> None:
        for order in permutations((11, 12, 13, 14)):
            lane = Lane(True, Place(10, T0))
            out = []
            for number in (*order, *order):
                lane.take([tick(number)])
                out += numbers(lane.ready())
            assert out == [11, 12, 13, 14]
            assert lane.duplicates == 4

    def test_a_hole_holds_what_follows_until_it_is_filled_or_given_up(self) -> None:
        lane = Lane(True, Place(10, T0))
        lane.take([tick(11), tick(14), tick(17)])
        assert numbers(lane.ready()) == [11]
        assert lane.hole() == Hole(12, 13, T0 + 11, T0 + 14)
        lane.take([tick(13)])
        assert lane.ready() == [] and lane.hole() == Hole(12, 12, T0 + 11, T0 + 13)
        lane.skip(Hole(12, 13, 0, 0))
        assert numbers(lane.ready()) == [13, 14]
        lane.take([tick(15), tick(16)])
        assert numbers(lane.ready()) == [15, 16, 17] and not lane.has_hole

    def test_a_hole_that_was_filled_meanwhile_is_not_given_up(self) -> None:
        lane = Lane(True, Place(10, T0))
        lane.take([tick(13), tick(20)])
        given_up = lane.hole()
        lane.take([tick(11), tick(12)])
        assert numbers(lane.ready()) == [11, 12, 13]
        assert given_up is not None
        lane.skip(given_up)
        assert lane.hole() == Hole(14, 19, T0 + 13, T0 + 20)

    def test_a_lane_without_a_place_waits_until_it_begins(self) -> None:
        lane = Lane(True, None)
        lane.take([tick(5), tick(6)])
        assert lane.ready() == []
        lane.leave_out(T0 + 6)
        lane.begin()
        lane.is_open = True
        assert numbers(lane.ready()) == [6]

    def test_where_ids_jump_trades_go_by_time_and_once(self) -> None:
        lane = Lane(False, None)
        lane.take([tick(9, T0 + 5), tick(3, T0 + 1)])
        assert lane.ready() == [], "not before it was healed"
        lane.is_open = True
        assert numbers(lane.ready()) == [3, 9]
        lane.take([tick(9, T0 + 5), tick(40, T0 + 6)])
        assert numbers(lane.ready()) == [40] and lane.duplicates == 1
        assert lane.place == Place(40, T0 + 6, ("40",))

    def test_a_restarted_lane_knows_the_trades_of_its_last_millisecond(self) -> None:
        before = Lane(False, None)
        before.is_open = True
        before.take([tick(-1, T0, "a"), tick(-1, T0, "b")])
        before.ready()
        assert before.place is not None
        after = Lane(False, Place.from_list(before.place.to_list()))
        after.is_open = True
        after.take([tick(-1, T0, "b"), tick(-1, T0, "c"), tick(-1, T0, "a")])
        assert [one.id_text for one in after.ready()] == ["c"]


class TestGate:
    def test_trades_leave_by_event_time_and_keep_their_markets_order(self) -> None:
        gate = Gate()
        gate.add(BTC, [tick(1, T0 + 10), tick(2, T0 + 5), tick(3, T0 + 30)])
        gate.add(ETH, [tick(7, T0 + 20)])
        assert [(m.symbol, one.trade_id) for m, one in gate.release(None, 99)] == [
            ("BTC", 1), ("BTC", 2), ("ETH", 7), ("BTC", 3),
        ]  # fmt: skip

    def test_a_blocked_market_holds_the_others_at_its_last_trade_but_not_for_ever(self) -> None:
        gate = Gate()
        gate.add(ETH, [tick(1, T0 + 10), tick(2, T0 + 20)])
        blocked = [Blocked(T0 + 15, since_s=100.0)]
        assert numbers([one for _, one in gate.release(gate.limit_ms(blocked, 101.0), 99)]) == [1]
        assert gate.limit_ms(blocked, 100.0 + HOLD_S) is None
        assert numbers([one for _, one in gate.release(None, 99)]) == [2]

    def test_what_has_left_already_does_not_come_back(self) -> None:
        gate = Gate()
        gate.told(T0 + 100)
        assert gate.limit_ms([Blocked(T0, 0.0)], 1.0) == T0 + 100


class TestClock:
    def test_the_offset_is_the_median_and_the_slowest_trade_sets_the_margin(self) -> None:
        clock = ExchangeClock()
        for number, lag_ms in enumerate([100, 120, 80, 4_000, 110]):
            clock.add(T0 + 1_000 * number + 1_270 - lag_ms, T0 + 1_000 * number)
        assert clock.offset_ms == 1_160
        assert clock.silent_until(T0 + 10_000) == T0 + 10_000 + 1_160 - (4_000 - 110)

    def test_before_a_trade_nobody_can_say_what_is_still_to_come(self) -> None:
        clock = ExchangeClock()
        assert clock.offset_ms is None and clock.silent_until(T0) is None
        clock.seed(-500)
        assert clock.exchange_ms(T0) == T0 - 500 and clock.silent_until(T0) is None

    def test_one_trade_of_a_burst_counts_the_newest(self) -> None:
        clock = ExchangeClock()
        for age_ms in (60_000, 30_000, 100):
            clock.add(T0 - age_ms, T0)
        assert clock.offset_ms == -100

    def test_trades_that_all_come_from_the_future_say_that_our_clock_is_behind(self) -> None:
        clock = ExchangeClock()
        for _ in range(AGREED - 1):
            clock.refused(T0 + 60_000, T0)
        assert clock.offset_ms is None
        clock.refused(T0 + 60_001, T0)
        assert clock.offset_ms == 60_000

    def test_a_few_wrong_trades_among_good_ones_do_not(self) -> None:
        clock = ExchangeClock()
        for _ in range(3):
            for _ in range(AGREED - 1):
                clock.refused(T0 + 60_000, T0)
            clock.add(T0, T0)
        assert clock.offset_ms == 0


class TestPulse:
    def test_a_market_is_silent_after_many_times_its_usual_gap(self) -> None:
        pulse = Pulse()
        for second in range(0, 1_000, 5):
            pulse.beat(second)
        assert pulse.allowed_s() == pytest.approx(100)
        assert not pulse.is_silent(995 + 99) and pulse.is_silent(995 + 101)

    def test_a_busy_market_may_still_pause(self) -> None:
        pulse = Pulse()
        for number in range(100):
            pulse.beat(number / 100)
        assert pulse.allowed_s() == LEAST_S

    def test_a_market_that_stays_quiet_is_asked_less_and_less_often(self) -> None:
        pulse = Pulse()
        pulse.connected(0)
        waits = []
        for _ in range(7):
            waits.append(pulse.allowed_s())
            pulse.reconnected(0)
        assert waits == [30, 60, 120, 240, 480, 900, LONGEST_S]
        pulse.beat(1)
        assert pulse.allowed_s() < LONGEST_S


LISTED = {
    name: {"spot": True, "active": True} for name in ("BTC/USD", "BTC/USDT", "ETH/USD", "SOL/USDT", "BCH/USD")
} | {"OLD/USD": {"spot": True, "active": False}, "BTC/USD:USD": {"spot": False, "active": True}}


class TestMarkets:
    def test_without_a_quote_dollars_come_first_and_then_their_tokens(self) -> None:
        names = [one.name for one in choose("kraken", LISTED, ["BTC", "SOL"], None, ["kraken"])]
        assert names == ["BTC/USD", "SOL/USDT"]
        assert [one.name for one in choose("kraken", LISTED, ["BTC"], "USDT", ["kraken"])] == ["BTC/USDT"]
        assert [one.name for one in choose("kraken", LISTED, ["BTC-USDT"], "USD", ["kraken"])] == ["BTC/USDT"]

    @pytest.mark.parametrize(
        ("symbol", "near"), [("BTX", "BTC/USD"), ("SOL", "SOL/USDT"), ("OLD", "OLD/USD (QUOTE=USD)")]
    )
    def test_a_market_that_there_is_not_is_named_with_near_ones(self, symbol: str, near: str) -> None:
        with pytest.raises(
            SettingsError, match=f"SYMBOLS={symbol}: kraken has no market {symbol}/USD"
        ) as caught:
            choose("kraken", LISTED, [symbol], "USD", ["kraken"])
        assert near in str(caught.value)

    def test_a_symbol_with_an_exchange_is_taken_from_that_one_alone(self) -> None:
        symbols, exchanges = ["BTC", "ETH@KRAKEN"], ["coinbase", "kraken"]
        assert [one.symbol for one in choose("kraken", LISTED, symbols, "USD", exchanges)] == [
            "BTC",
            "ETH@KRAKEN",
        ]
        assert [one.symbol for one in choose("coinbase", LISTED, symbols, "USD", exchanges)] == ["BTC"]
        assert exchanges_of(["BTC", "ETH@BITSTAMP"], ["kraken"]) == ["kraken", "bitstamp"]
        assert (
            choose("bitstamp", LISTED, ["BTC", "ETH@BITSTAMP"], "USD", ["kraken"])[0].symbol == "ETH@BITSTAMP"
        )

    def test_of_several_exchanges_one_must_have_each_symbol(self) -> None:
        found = choose("kraken", LISTED, ["BTC", "DOGE"], "USD", ["kraken", "coinbase"])
        with pytest.raises(SettingsError, match="SYMBOLS=DOGE: no exchange of FEED has it in QUOTE=USD"):
            check_all_found(["BTC", "DOGE"], found, "USD")


def test_a_relay_stands_before_every_address_and_leaves_what_is_none() -> None:
    urls = {
        "api": {"ws": "wss://a.b:9443/ws", "rest": "https://{hostname}/x"},
        "doc": ["http://d"],
        "logo": None,
    }
    assert through("http://127.0.0.1:1/", urls) == {
        "api": {"ws": "ws://127.0.0.1:1/a.b:9443/ws", "rest": "http://127.0.0.1:1/{hostname}/x"},
        "doc": ["http://127.0.0.1:1/d"],
        "logo": None,
    }
