"""The alert rules: thresholds to the digit, and each told once until it has been quiet again."""

from __future__ import annotations

import itertools
import pickle
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import fold
from pipeline.alert import Alert, AlertType, Severity
from pipeline.alerts import rules as rule
from pipeline.alerts.past import Past
from pipeline.alerts.rules import Minute, Rules
from pipeline.alerts.watch import Hole, Watch
from pipeline.market import PRICE_DECIMALS, decimal_text
from pipeline.settings import Settings

T0 = 1_700_000_000_000 // 3_600_000 * 3_600_000
MINUTE = 60_000
OFF = Rules.of(
    Settings.from_env(
        {
            "ALERT_MOVE_PERCENT": "0",
            "ALERT_VOLUME_FACTOR": "0",
            "ALERT_BREAKOUT_CANDLES": "0",
            "ALERT_VOLATILITY_FACTOR": "0",
            "ALERT_STALE_SECONDS": "0",
        }
    )
)
ONE = 10**PRICE_DECIMALS


def minute(
    number: int = 0,
    open: int = 100 * ONE,
    close: int = 100 * ONE,
    *,
    high: int = 0,
    low: int = 0,
    volume: int = 10**8,
    trade_count: int = 60,
) -> Minute:
    start_ms = T0 + number * MINUTE
    return Minute(
        open_time_ms=start_ms,
        open=open,
        high=high or max(open, close),
        low=low or min(open, close),
        close=close,
        volume=volume,
        trade_count=trade_count,
        first_trade_ms=start_ms + 1_000,
        last_trade_ms=start_ms + 59_000,
    )


def partials(*minutes: Minute, symbol: int = 0) -> fold.Partials:
    """Minutes of one symbol as the fold's columns."""
    matrix = np.zeros((fold.ROWS, len(minutes)), np.int64)
    for column, one in zip(matrix.T, minutes, strict=True):
        column[fold.SYMBOL], column[fold.OPEN_TIME] = symbol, one.open_time_ms
        column[fold.OPEN], column[fold.HIGH] = one.open, one.high
        column[fold.LOW], column[fold.CLOSE] = one.low, one.close
        column[fold.VOLUME] = np.uint64(one.volume % 2**64).astype(np.int64)
        column[fold.VOLUME_HIGH] = (one.volume - int(column[fold.VOLUME])) >> 64
        column[fold.COUNT] = one.trade_count
        column[fold.OPEN_AT], column[fold.CLOSE_AT] = one.first_trade_ms, one.last_trade_ms
    return matrix


class Market:
    """One symbol under watch."""

    def __init__(self, rules: Rules) -> None:
        self.watch = Watch(rules)

    def close(self, *minutes: Minute, watermark_ms: int = 0, holes: Sequence[Hole] = ()) -> list[Alert]:
        watermark_ms = watermark_ms or max(one.open_time_ms for one in minutes) + MINUTE
        return self.watch.closed(("BTC",), partials(*minutes), watermark_ms, holes)

    def types(self, *minutes: Minute, **options: Any) -> list[str]:
        return [alert.alert_type.value for alert in self.close(*minutes, **options)]


def rules(**changes: Any) -> Rules:
    return replace(OFF, **changes)


MOVES = rules(move_percent=Decimal(5))


@pytest.mark.parametrize(
    ("open", "close", "alert_type"),
    [
        ("100", "105", None),
        ("100", "95", None),
        ("100", "105.0000000001", AlertType.PRICE_SPIKE),
        ("100", "94.9999999999", AlertType.PRICE_DROP),
        ("0.0000000020", "0.0000000021", None),
        ("0.0000000020", "0.0000000022", AlertType.PRICE_SPIKE),
        ("878400000", "922320000", None),
        ("878400000", "922320000.0000000001", AlertType.PRICE_SPIKE),
        ("0.0000000001", "0.0000000001", None),
    ],
)
def test_exactly_five_percent_does_not_fire_and_one_unit_more_does(
    open: str, close: str, alert_type: AlertType | None
) -> None:
    units = [int(Decimal(price).scaleb(PRICE_DECIMALS)) for price in (open, close)]
    alerts = Market(MOVES).close(minute(0, *units))
    assert [alert.alert_type for alert in alerts] == ([alert_type] if alert_type else [])
    for alert in alerts:
        assert (alert.open_price, alert.close_price) == (Decimal(open), Decimal(close))


@given(st.integers(1, 2**62), st.integers(-(2**61), 2**61), st.decimals(0, 1_000, places=4))
@hypothesis_settings(max_examples=300, deadline=None)
def test_the_move_is_decided_as_exact_fractions_decide_it(open: int, change: int, percent: Decimal) -> None:
    close = max(1, open + change)
    fires = abs(Decimal(close) - open) * 100 > percent * open
    fires = fires and percent > 0
    assert bool(rule.move(rules(move_percent=percent), "BTC", minute(0, open, close))) is fires


@pytest.mark.parametrize(
    ("close", "severity"),
    [
        ("105.01", Severity.LOW),
        ("106.9999999999", Severity.LOW),
        ("107", Severity.MEDIUM),
        ("109.9999999999", Severity.MEDIUM),
        ("110", Severity.HIGH),
        ("300", Severity.HIGH),
        ("93.0000000001", Severity.LOW),
        ("93", Severity.MEDIUM),
        ("90.0000000001", Severity.MEDIUM),
        ("90", Severity.HIGH),
    ],
)
def test_severity_is_medium_from_seven_and_high_from_ten_percent(close: str, severity: Severity) -> None:
    (alert,) = Market(MOVES).close(minute(0, 100 * ONE, int(Decimal(close).scaleb(PRICE_DECIMALS))))
    assert alert.severity is severity


def test_the_percentage_shown_is_cut_off_so_that_it_never_reaches_what_was_not_reached() -> None:
    (alert,) = Market(MOVES).close(minute(0, 3 * ONE, 3 * ONE + ONE * 7 * 3 // 100 - 1))
    assert (alert.severity, alert.price_change_percent) == (Severity.LOW, Decimal("6.9999"))
    (alert,) = Market(MOVES).close(minute(0, 100 * ONE, 94 * ONE))
    assert alert.price_change_percent == Decimal(-6)
    assert alert.message == "BTC fell 6 % within a minute, from 100 to 94"


def test_a_percentage_with_decimals_is_a_threshold_to_the_digit() -> None:
    settings = Settings.from_env({"ALERT_MOVE_PERCENT": "0.25"})
    market = Market(rules(move_percent=settings.alert_move_percent))
    assert market.types(minute(0, 400 * ONE, 401 * ONE)) == []
    assert market.types(minute(1, 400 * ONE, 401 * ONE + 1)) == ["PRICE_SPIKE"]


def test_a_move_fires_once_a_window_and_again_in_the_next() -> None:
    market = Market(MOVES)
    alerts = market.close(*(minute(n, 100 * ONE, 106 * ONE) for n in range(3)))
    assert [alert.window_start_ms for alert in alerts] == [T0, T0 + MINUTE, T0 + 2 * MINUTE]
    assert len({alert.id for alert in alerts}) == 3
    assert alerts[0].id == f"BTC:PRICE_SPIKE:{T0}"
    assert alerts[0].triggered_at_ms == alerts[0].window_end_ms == T0 + MINUTE


class TestForming:
    def test_a_move_on_its_way_is_told_once_as_provisional_with_an_id_of_its_own(self) -> None:
        watch = Watch(MOVES)
        forming = [minute(0, 100 * ONE, close) for close in (105 * ONE, 105 * ONE + 1, 104 * ONE, 107 * ONE)]
        told = [watch.forming(("BTC",), partials(one)) for one in forming]
        assert [len(alerts) for alerts in told] == [0, 1, 0, 0]
        (early,) = told[1]
        assert early.provisional and early.triggered_at_ms == forming[1].last_trade_ms
        (final,) = watch.closed(("BTC",), partials(forming[3]), T0 + MINUTE)
        assert not final.provisional
        assert early.id == f"{final.id}:provisional"

    def test_each_minute_and_each_symbol_has_its_own(self) -> None:
        watch = Watch(MOVES)
        both = np.concatenate((partials(minute(0, 100, 106)), partials(minute(0, 100, 94), symbol=1)), axis=1)
        assert len(watch.forming(("BTC", "ETH"), both)) == 2
        assert len(watch.forming(("BTC", "ETH"), partials(minute(1, 100, 106)))) == 1

    @given(st.integers(1, 2**62), st.integers(1, 2**62))
    def test_no_candidate_is_lost_to_rounding(self, open: int, close: int) -> None:
        alerts = Watch(MOVES).forming(("BTC",), partials(minute(0, open, close)))
        assert bool(alerts) is (abs(close - open) * 100 > 5 * open)


def fires(market: Market, minutes: Sequence[Minute]) -> list[int]:
    """Numbers of the minutes that gave an alert."""
    return [(one.open_time_ms - T0) // MINUTE for one in minutes if market.close(one)]


class TestVolumeSurge:
    RULES = rules(volume_factor=Decimal("2.5"), volume_candles=4, quiet_minutes=3)

    def test_exactly_the_factor_times_the_mean_does_not_fire_and_one_unit_more_does(self) -> None:
        usual = [minute(n, volume=volume) for n, volume in enumerate((2**64, 2**65, 2**64, 3))]
        threshold = (2**64 + 2**65 + 2**64 + 3) * 5 // 8  # an odd sum: the threshold is no whole number
        for volume, expected in ((threshold, []), (threshold + 1, ["VOLUME_SURGE"])):
            market = Market(self.RULES)
            assert market.types(*usual) == []
            assert market.types(minute(4, volume=volume)) == expected

    def test_it_says_nothing_before_it_has_seen_all_the_candles_of_its_mean(self) -> None:
        minutes = [minute(n, volume=1 if n < 3 else 10**9) for n in range(4)]
        assert fires(Market(self.RULES), minutes) == []

    def test_it_fires_once_until_it_has_been_quiet_for_so_many_minutes(self) -> None:
        loud = {4, 6, 9, 13}  # quiet for 1, 2 and 3 minutes in between
        minutes = [minute(n, volume=10**15 * 9**n if n in loud else 1) for n in range(16)]
        assert fires(Market(self.RULES), minutes) == [4, 13]

    @pytest.mark.parametrize(
        ("volume", "severity"),
        [(2_401, "LOW"), (4_799, "LOW"), (4_800, "MEDIUM"), (9_599, "MEDIUM"), (9_600, "HIGH")],
    )
    def test_severity_doubles(self, volume: int, severity: str) -> None:
        market = Market(replace(self.RULES, volume_factor=Decimal("2.4")))
        market.close(*(minute(n, volume=1_000) for n in range(4)))
        (alert,) = market.close(minute(4, volume=volume))
        assert alert.severity.name == severity
        assert "times the mean of its last 4 candles" in alert.message


class TestBreakout:
    RULES = rules(breakout_candles=3, quiet_minutes=2)

    def test_a_close_at_the_edge_is_inside_and_one_unit_beyond_is_out(self) -> None:
        past = [minute(n, 100, 100, high=100 + n, low=90 - n) for n in range(3)]
        for close, expected in ((102, 0), (88, 0), (103, 1), (87, 1)):
            market = Market(self.RULES)
            market.close(*past)
            assert len(market.close(minute(3, 100, close, high=200, low=1))) == expected

    def test_its_own_high_does_not_hide_it_and_a_high_that_has_left_the_range_does_not_either(self) -> None:
        market = Market(self.RULES)
        market.close(minute(0, 100, 100, high=500, low=1), *(minute(n, 100, 100) for n in range(1, 4)))
        (alert,) = market.close(minute(4, 100, 101, high=900))
        assert alert.alert_type is AlertType.BREAKOUT

    def test_a_trend_is_told_once(self) -> None:
        closes = [100, 100, 100, *range(101, 110), 109, 109, 109, 120]
        minutes = [minute(n, close, close) for n, close in enumerate(closes)]
        assert fires(Market(self.RULES), minutes) == [3, 15]

    @pytest.mark.parametrize(
        ("close", "severity"),
        [(10_099, "LOW"), (10_100, "MEDIUM"), (10_299, "MEDIUM"), (10_300, "HIGH"), (9_900, "MEDIUM")],
    )
    def test_severity_goes_by_how_far_beyond_it_is(self, close: int, severity: str) -> None:
        market = Market(self.RULES)
        market.close(*(minute(n, 10_000, 10_000) for n in range(3)))
        (alert,) = market.close(minute(3, close, close))
        assert alert.severity.name == severity


class TestVolatility:
    RULES = rules(volatility_factor=Decimal(3), volatility_candles=20, quiet_minutes=30)

    @staticmethod
    def walk(steps: Sequence[float]) -> list[Minute]:
        """Minutes whose closes go up and down by ``steps`` percent."""
        closes = [10**15]
        for number, step in enumerate(steps):
            closes.append(round(closes[-1] * (1 + step / 100 * (-1) ** number)))
        return [minute(n, close, close) for n, close in enumerate(closes)]

    def test_it_fires_when_the_newest_minutes_move_more_than_so_many_times_as_much(self) -> None:
        calm, wild = [0.1] * 40, [0.5] * 10
        minutes = self.walk([*calm, *wild])
        (number,) = fires(Market(self.RULES), minutes)
        # With k of the ten at five times the level: sqrt((k * 25 + 10 - k) / 10) > 3 first at k = 4.
        assert number == 44

    def test_it_is_silent_below_the_factor_and_where_nothing_ever_moved(self) -> None:
        assert fires(Market(self.RULES), self.walk([0.1] * 40 + [0.29] * 20)) == []
        assert fires(Market(self.RULES), self.walk([0.0] * 40 + [0.5] * 5)) == []

    def test_it_needs_its_whole_level_first(self) -> None:
        short = Past.RECENT + 20 - 4
        assert fires(Market(self.RULES), self.walk([0.1] * (short - 1) + [5] * 2)) == []
        assert fires(Market(self.RULES), self.walk([0.1] * short + [5] * 6)) == [30]

    def test_it_fires_again_only_after_a_quiet_time(self) -> None:
        minutes = self.walk([0.1] * 40 + [2] * 3 + [0.1] * 60 + [2] * 3)
        assert len(fires(Market(self.RULES), minutes)) == 2


class TestStale:
    RULES = rules(stale_seconds=60, stale_factor=50)

    def busy(self, count: int = Past.RATE_CANDLES, **options: Any) -> list[Minute]:
        return [minute(n, **options) for n in range(count)]

    def test_a_symbol_that_usually_trades_is_told_at_the_end_of_the_minute_in_which_it_was_silent_too_long(
        self,
    ) -> None:
        market = Market(self.RULES)
        busy = self.busy(trade_count=600)
        assert market.close(*busy) == []
        # Last heard of 59 s into the thirtieth minute; 60 s later the next minute is nearly over.
        end_ms = T0 + 31 * MINUTE
        nothing = partials()
        assert market.watch.closed(("BTC",), nothing, end_ms - 1) == []
        (alert,) = market.watch.closed(("BTC",), nothing, end_ms)
        assert alert.alert_type is AlertType.STALE
        assert alert.id == f"BTC:STALE:{T0 + 29 * MINUTE}"
        assert (alert.window_end_ms, alert.triggered_at_ms) == (end_ms, end_ms)
        assert alert.open_price == alert.close_price == 100 and alert.price_change_percent == 0
        assert alert.message.startswith("BTC has not traded for 61 s; usually it trades once in 0.099 s")
        assert market.watch.closed(("BTC",), nothing, end_ms + 10 * MINUTE) == [], "once"

    def test_it_may_fire_again_after_the_symbol_has_traded(self) -> None:
        market = Market(self.RULES)
        assert market.types(*self.busy(trade_count=600), minute(40)) == ["STALE"]
        assert market.types(minute(50)) == ["STALE"]

    def test_a_symbol_that_trades_rarely_is_given_more_time_and_a_stranger_says_nothing_by_silence(
        self,
    ) -> None:
        market = Market(self.RULES)
        market.close(*self.busy(trade_count=1))  # one in 62 s: 52 minutes
        nothing = partials()
        assert market.watch.closed(("BTC",), nothing, T0 + 82 * MINUTE - 1) == []
        assert len(market.watch.closed(("BTC",), nothing, T0 + 82 * MINUTE)) == 1
        stranger = Market(self.RULES)
        stranger.close(*self.busy(Past.RATE_CANDLES - 1))
        assert stranger.watch.closed(("BTC",), nothing, T0 + 9_999 * MINUTE) == []

    def test_a_hole_in_the_stream_is_not_silence(self) -> None:
        market = Market(self.RULES)
        busy = self.busy(trade_count=600)
        week_ms = T0 + 7 * 24 * 60 * MINUTE
        holes = [(busy[-1].last_trade_ms, week_ms)]
        assert market.types(*busy, watermark_ms=week_ms, holes=holes) == []
        nothing = partials()
        assert market.watch.closed(("BTC",), nothing, week_ms + MINUTE - 1) == []
        assert len(market.watch.closed(("BTC",), nothing, week_ms + MINUTE)) == 1, "silence after it is"

    def test_silence_before_a_hole_is_told(self) -> None:
        market = Market(self.RULES)
        busy = self.busy(trade_count=600)
        hole = (T0 + 35 * MINUTE, T0 + 600 * MINUTE)
        (alert,) = market.close(*busy, watermark_ms=hole[1], holes=[hole])
        assert alert.window_end_ms == T0 + 31 * MINUTE


class TestReplay:
    """The same stream gives the same alerts, however it was cut and wherever a crash fell."""

    RULES = Rules(Decimal(5), Decimal(3), 10, 15, Decimal(2), 20, 60, 20, 12)
    NAMES = ("BTC", "ETH", "SOL")

    @classmethod
    def stream(cls, seed: int) -> list[tuple[int, fold.Partials]]:
        """(watermark, minutes it closes) for two hours of three symbols, some of them silent at times."""
        dice = random.Random(seed)
        prices = [10**12, 10**11, 10**9]
        steps = []
        for number in range(120):
            columns = []
            for symbol in range(3):
                if dice.random() < (0.03 if number < 60 else 0.2):
                    continue
                before = prices[symbol]
                wild = 8 if dice.random() < 0.05 else 0.3
                prices[symbol] = max(1, round(before * (1 + dice.gauss(0, wild) / 100)))
                volume = round(10**9 * dice.lognormvariate(0, 1))
                one = minute(number, before, prices[symbol], volume=volume, trade_count=dice.randint(1, 90))
                columns.append(partials(one, symbol=symbol))
            joined = np.concatenate(columns, axis=1) if columns else partials()
            steps.append((T0 + (number + 1) * MINUTE, joined))
        return steps

    @classmethod
    def alerts(
        cls, steps: Sequence[tuple[int, fold.Partials]], cuts: set[int], crashes: set[int]
    ) -> list[Alert]:
        watch = Watch(cls.RULES)
        saved: bytes | None = None
        found: list[Alert] = []
        waiting: list[fold.Partials] = []
        for number, (watermark_ms, minutes) in enumerate(steps):
            waiting.append(minutes)
            if number not in cuts and number < len(steps) - 1:
                continue
            joined = np.concatenate(waiting, axis=1)
            order = np.lexsort((joined[fold.OPEN_TIME], joined[fold.SYMBOL]))
            found += watch.closed(cls.NAMES, joined[:, order], watermark_ms)
            waiting = []
            saved = watch.save() or saved
            if number in crashes:
                watch = Watch(cls.RULES, saved)
        return found

    @pytest.mark.parametrize("seed", range(8))
    def test_alerts_do_not_depend_on_polls_or_crashes(self, seed: int) -> None:
        steps = self.stream(seed)
        everything = set(range(len(steps)))
        whole = self.alerts(steps, everything, set())
        assert {alert.alert_type for alert in whole} >= {AlertType.VOLUME_SURGE, AlertType.STALE}
        dice = random.Random(seed)
        for _ in range(20):
            cuts = {number for number in everything if dice.random() < dice.choice([0.05, 0.4, 1])}
            crashes = {number for number in cuts if dice.random() < 0.3}
            again = self.alerts(steps, cuts, crashes)
            # Within one poll they are ordered by time, over polls as they are met.
            assert sorted(again, key=key) == sorted(whole, key=key)

    @pytest.mark.parametrize("seed", range(8))
    def test_windows_of_one_symbol_and_type_come_in_rising_order(self, seed: int) -> None:
        """What the writer's memory of the newest one relies on."""
        for cuts in ({10, 11, 70}, set(range(120))):
            found = self.alerts(self.stream(seed), cuts, set())
            newest: dict[tuple[str, str], int] = {}
            for alert in found:
                place = (alert.symbol, alert.alert_type.value)
                assert newest.get(place, 0) < alert.window_start_ms
                newest[place] = alert.window_start_ms

    def test_what_is_saved_is_small_and_only_when_it_has_changed(self) -> None:
        watch = Watch(Rules.of(Settings()))
        for number in range(300):
            watch.closed(("BTC",), partials(minute(number)), T0 + (number + 1) * MINUTE)
        saved = watch.save()
        assert saved and len(saved) < 10_000
        assert watch.save() is None
        watch.closed(("BTC",), partials(), T0 + 300 * MINUTE + 1)
        assert watch.save() is None
        assert pickle.loads(saved).keys() == {"BTC"}

    def test_other_settings_after_a_restart_begin_with_what_is_there(self) -> None:
        watch = Watch(replace(OFF, volume_factor=Decimal(2), volume_candles=10))
        watch.closed(("BTC",), partials(*(minute(n, volume=100) for n in range(10))), T0 + 10 * MINUTE)
        saved = watch.save()
        for candles, expected in ((4, 1), (10, 1), (11, 0)):
            later = Watch(replace(OFF, volume_factor=Decimal(2), volume_candles=candles), saved)
            assert len(later.closed(("BTC",), partials(minute(10, volume=201)), T0 + 11 * MINUTE)) == expected


def key(alert: Alert) -> tuple[int, str]:
    return (alert.triggered_at_ms, alert.id)


def test_every_rule_can_be_turned_off() -> None:
    market = Market(OFF)
    wild = [minute(n, 100, 100 * (n % 2) + 1, volume=9 ** (n % 40), trade_count=600) for n in range(400)]
    assert market.close(*wild, minute(900)) == []


def test_messages_fit_into_an_alert_however_long_the_numbers() -> None:
    longest = Minute(T0, 1, 2**63 - 1, 1, 2**63 - 1, 2**100, 10**9, T0, T0 + 59_999)
    past = Past()
    for number in range(300):
        past.take_return(minute(number), Rules.of(Settings()))
        past.take(minute(number, 1, 1, volume=1), Rules.of(Settings()))
    symbol = "A" * 20
    every = Rules.of(Settings())
    findings = [
        rule.move(every, symbol, longest),
        rule.volume_surge(every, symbol, longest, past),
        rule.breakout(every, symbol, longest, past),
    ]
    for finding in findings:
        assert finding and finding.severity is Severity.HIGH
        assert len(finding.message) < 300
    assert decimal_text(longest.volume, 8) in findings[1].message  # type: ignore[union-attr]


def test_severities_compare_by_their_weight() -> None:
    assert [a < b for a, b in itertools.pairwise(Severity)] == [True, True]
