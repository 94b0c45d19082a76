import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.indicators import Bar, Indicator, bollinger, ema, heikin_ashi, rsi, sma, vwap

prices = st.lists(st.floats(1, 1e5), min_size=1, max_size=60)
DAY = 86_400_000


def bars(closes: list[float], volumes: list[float] | None = None) -> list[Bar]:
    volumes = volumes or [1.0] * len(closes)
    return [
        Bar(minute * 60_000, price, price, price, price, volume, price * volume, 1)
        for minute, (price, volume) in enumerate(zip(closes, volumes, strict=True))
    ]


@given(prices, st.integers(2, 20))
def test_sma_is_the_mean_of_the_window(values: list[float], length: int) -> None:
    line = sma(values, length)
    assert len(line) == len(values)
    for index, mean in enumerate(line):
        if index < length - 1:
            assert mean is None
        else:
            assert mean == pytest.approx(statistics.fmean(values[index - length + 1 : index + 1]), rel=1e-6)


def test_ema_begins_with_a_mean_and_then_moves_by_its_weight() -> None:
    assert ema([1, 2, 3, 7], 3) == [None, None, 2.0, 2.0 + 0.5 * 5]
    assert ema([1, 2], 3) == [None, None]


@given(prices)
def test_bollinger_bands_stand_two_deviations_around_the_mean(values: list[float]) -> None:
    upper, middle, lower = bollinger(values, 5, 2)
    for index in range(4, len(values)):
        spread = statistics.pstdev(values[index - 4 : index + 1])
        mean, top, bottom = middle[index], upper[index], lower[index]
        assert mean is not None and top is not None and bottom is not None
        assert top - mean == pytest.approx(2 * spread, rel=1e-4, abs=1e-3)
        assert top - mean == pytest.approx(mean - bottom, rel=1e-9, abs=1e-6)


def test_vwap_weighs_by_volume_and_starts_afresh_each_utc_day() -> None:
    first = bars([10, 20], [1, 3])
    second = [bar._replace(open_time_ms=bar.open_time_ms + DAY) for bar in bars([50])]
    assert vwap([*first, *second]) == [10, 17.5, 50]


def test_vwap_of_nothing_traded_is_nothing() -> None:
    assert vwap(bars([10], [0])) == [None]


@given(prices)
def test_rsi_stays_between_0_and_100(values: list[float]) -> None:
    assert all(value is None or 0 <= value <= 100 for value in rsi(values, 5))


def test_rsi_follows_wilder() -> None:
    closes = [
        44.34,
        44.09,
        44.15,
        43.61,
        44.33,
        44.83,
        45.10,
        45.42,
        45.84,
        46.08,
        45.89,
        46.03,
        45.61,
        46.28,
        46.28,
    ]
    line = rsi(closes, 14)
    assert line[:14] == [None] * 14
    assert line[14] == pytest.approx(70.46, abs=0.01)  # the example in Wilder's own worksheet


def test_rsi_of_a_price_that_does_not_move_is_in_the_middle() -> None:
    assert rsi([5, 5, 5], 2)[-1] == 50


def test_heikin_ashi_opens_in_the_middle_of_the_body_before() -> None:
    first, second = heikin_ashi([Bar(0, 10, 14, 8, 12, 1, 1, 1), Bar(60_000, 12, 20, 11, 19, 1, 1, 1)])
    assert (first.open, first.close) == (11, 11)
    assert (second.open, second.close, second.high, second.low) == (11, 15.5, 20, 11)


@pytest.mark.parametrize("name", ["SMA 7", "EMA 12", "BB 20", "RSI 14", "VWAP"])
def test_a_name_is_read_back_as_itself(name: str) -> None:
    indicator = Indicator.parse(name.lower())
    assert indicator is not None and indicator.name == name
    lines = indicator.lines(bars([float(price) for price in range(1, 40)]))
    assert len(lines) == (3 if name.startswith("BB") else 1)
    assert all(len(line) == 39 and math.isfinite(line[-1] or 0) for line in lines)


@pytest.mark.parametrize("name", ["", "SMA", "SMA 1", "SMA 501", "MACD 12", "SMA 7 7", "RSI -3"])
def test_what_is_no_indicator_is_none(name: str) -> None:
    assert Indicator.parse(name) is None
