from decimal import Decimal

import plotly.graph_objects as go
import pytest

from dashboard.chart import CHART_TYPES, View, bar, figure, fill_gaps, plotly_time
from dashboard.indicators import Indicator
from dashboard.theme import GREEN_RED
from pipeline.candle import Candle
from pipeline.market import Interval

MINUTE = 60_000
START = 1_700_000_040_000 // MINUTE * MINUTE


def candle(minute: int, close: str = "100", volume: str = "1") -> Candle:
    price = Decimal(close)
    return Candle(
        "BTC", Interval.M1, START + minute * MINUTE, price, price, price, price,
        Decimal(volume), Decimal(volume) * price, Decimal(0), 1, is_closed=True,
    )  # fmt: skip


EVERY_INDICATOR = tuple(
    indicator for name in ("SMA 7", "EMA 12", "BB 20", "VWAP", "RSI 14") if (indicator := Indicator.parse(name))
)


@pytest.mark.parametrize("chart_type", CHART_TYPES)
def test_every_figure_is_a_figure_that_plotly_accepts(chart_type: str) -> None:
    candles = [candle(minute, str(100 + minute % 7)) for minute in range(60)]
    drawn = figure(candles, View(chart_type, EVERY_INDICATOR), GREEN_RED)  # type: ignore[arg-type]
    checked = go.Figure(drawn)
    assert len(checked.data) == 2 + 1 + 1 + 3 + 1 + 1
    assert checked.layout.yaxis3.range == (0, 100)


def test_no_candles_make_an_empty_figure() -> None:
    assert figure([], View(), GREEN_RED)["data"][0]["x"] == []


def test_the_figure_says_of_each_trace_what_it_shows() -> None:
    drawn = figure([candle(0)], View(indicators=EVERY_INDICATOR[2:3]), GREEN_RED)
    assert [trace["meta"]["role"] for trace in drawn["data"]] == ["candles", "volume", *["indicator"] * 3]
    assert [trace["meta"]["line"] for trace in drawn["data"][2:]] == [0, 1, 2]


def test_minutes_without_trades_are_flat_at_the_previous_close_with_volume_0() -> None:
    drawn = figure([candle(0, "100"), candle(3, "103")], View(), GREEN_RED)
    price, volume = drawn["data"][:2]
    assert price["x"] == [plotly_time(START + minute * MINUTE) for minute in range(4)]
    assert price["close"] == [100, 100, 100, 103]
    assert price["open"][1:3] == price["high"][1:3] == price["low"][1:3] == [100, 100]
    assert volume["y"] == [1, 0, 0, 1]


def test_gaps_are_left_open_where_a_person_wants_that() -> None:
    drawn = figure([candle(0), candle(3)], View(fill_gaps=False), GREEN_RED)
    assert drawn["data"][0]["x"] == [plotly_time(START), plotly_time(START + 3 * MINUTE)]


def test_a_gap_too_long_to_draw_is_filled_at_its_new_end_only() -> None:
    bars = fill_gaps([bar(candle(0)), bar(candle(1_000))], MINUTE, most=5)
    times = [(each.open_time_ms - START) // MINUTE for each in bars]
    assert times == [0, 995, 996, 997, 998, 999, 1_000]
    assert fill_gaps([], MINUTE) == []


def test_rising_and_falling_differ_by_more_than_their_hue() -> None:
    trace = figure([candle(0)], View(), GREEN_RED)["data"][0]
    assert "rgba" in trace["increasing"]["fillcolor"] and "rgba" not in trace["decreasing"]["fillcolor"]


def test_times_are_text_in_utc_because_plotly_moves_numbers_into_local_time() -> None:
    assert plotly_time(1_700_000_040_000) == "2023-11-14 22:14:00"
