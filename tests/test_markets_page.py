from decimal import Decimal

import plotly.graph_objects as go
import pytest
import redis

from dashboard.book import MINUTES, Book
from dashboard.cards import duration, live_cards
from dashboard.indicators import Bar
from dashboard.markets import comparison, market_row, treemap
from dashboard.text import compact, decimals, pair, percent, significant_places
from dashboard.theme import GREEN_RED
from pipeline import keys
from pipeline.candle import Candle
from pipeline.hub import Hub, Update
from pipeline.market import Interval
from pipeline.store import Store

MINUTE, QUARTER, HOUR = 60_000, 900_000, 3_600_000
START = 1_700_006_400_000 // (24 * HOUR) * 24 * HOUR


def bars(count: int, width: int, first: float = 100.0, step: float = 0.0, since: int = START) -> list[Bar]:
    return [
        Bar(since + n * width, price, price + 1, price - 1, price, 2.0, 2.0 * price, 1)
        for n in range(count)
        for price in [first + n * step]
    ]


def test_changes_are_measured_from_an_hour_and_a_day_ago() -> None:
    quarters = bars(97, QUARTER, 100, 1)
    minutes = bars(120, MINUTE, 300, 0.5, since=START + 23 * HOUR)
    row = market_row("BTC", minutes, quarters)
    assert row is not None
    assert row.price == 359.5
    assert row.hour == pytest.approx(359.5 / 330 - 1)
    # A day before 00:60 of the second day is 01:00 of the first: the quarter that opened at 104.
    assert row.day == pytest.approx(359.5 / 104 - 1)


def test_a_change_from_before_history_is_unknown_not_zero() -> None:
    row = market_row("BTC", bars(30, MINUTE), bars(3, QUARTER))
    assert row is not None and row.hour is None and row.day is None
    assert market_row("BTC", [], []) is None


def test_the_treemap_is_a_figure_and_shows_quiet_markets_too() -> None:
    rows = [row for name in ("BTC", "ETH") if (row := market_row(name, bars(70, MINUTE), []))]
    figure = go.Figure(treemap(rows, GREEN_RED))
    assert list(figure.data[0].labels) == ["all", "BTC", "ETH"]
    assert go.Figure(treemap([], GREEN_RED))


def test_compared_markets_start_at_100_where_all_of_them_have_begun() -> None:
    late = bars(5, MINUTE, 50, 5, since=START + 5 * MINUTE)
    figure = comparison({"BTC": bars(10, MINUTE, 200, 2), "ETH": late}, GREEN_RED)
    assert go.Figure(figure)
    btc, eth = figure["data"]
    assert btc["x"] == eth["x"]
    assert (btc["y"][0], eth["y"][0]) == (100, 100)
    assert eth["y"][-1] == 140


def candle(
    symbol: str, minute: int, close: str = "100", interval: Interval = Interval.M1, seq: int = 1
) -> Candle:
    price = Decimal(close)
    return Candle(
        symbol, interval, START + minute * interval.ms, price, price, price, price,
        Decimal(1), price, Decimal(0), 1, is_closed=True, epoch=1, seq=seq, published_at_ms=START,
    )  # fmt: skip


def test_the_book_reads_history_once_and_then_listens(redis_client: redis.Redis) -> None:
    hub = Hub()
    book = Book(hub, Store(redis_client))
    stored = candle("BTC", 0)
    redis_client.zadd(keys.history("BTC", "1m"), {stored.to_json(): stored.open_time_ms})
    assert [bar.close for bar in book.bars("BTC")[0]] == [100]
    redis_client.flushall()
    newer = candle("BTC", 1, "101", seq=2)
    hub.apply([Update("BTC", "1m", newer.open_time_ms, True, 1, 2, START, newer.to_json())])
    assert [bar.close for bar in book.bars("BTC")[0]] == [100, 101]
    book.close()


def test_the_book_keeps_two_hours_of_minutes(redis_client: redis.Redis) -> None:
    hub = Hub()
    book = Book(hub, Store(redis_client))
    for minute in range(MINUTES + 20):
        one = candle("BTC", minute, seq=minute + 1)
        hub.apply([Update("BTC", "1m", one.open_time_ms, True, 1, minute + 1, START, one.to_json())])
    minutes, _ = book.bars("BTC")
    assert len(minutes) == MINUTES and minutes[0].open_time_ms == START + 20 * MINUTE
    book.close()


def test_cards_say_what_the_shown_candles_did() -> None:
    cards = live_cards("BTC", Interval.M1, bars(120, MINUTE, 100, 1), 2)
    assert [card.label for card in cards] == [
        "Change, 2h", "High, 2h", "Low, 2h", "Volume, 2h", "Volatility, 2h",
    ]  # fmt: skip
    assert cards[0].value == "+119.00%" and cards[0].note == "from $100.00" and cards[0].tone == "up"
    assert cards[1].value == "$220.00" and cards[2].value == "$99.00"
    assert cards[3].value == "240 BTC"
    assert live_cards("BTC", Interval.M1, bars(1, MINUTE), 2)[4].note == "needs three candles"


@pytest.mark.parametrize(
    ("ms", "words"), [(90_000, "90s"), (120_000, "2m"), (7_200_000, "2h"), (5 * 86_400_000, "5d")]
)
def test_durations_are_short_words(ms: int, words: str) -> None:
    assert duration(ms) == words


@pytest.mark.parametrize(
    ("symbol", "names"),
    [
        ("BTC", ("BTC", "USD")),
        ("BTCUSDT", ("BTC", "USDT")),
        ("ETH-USD", ("ETH", "USD")),
        ("USDT", ("USDT", "USD")),
    ],
)
def test_a_symbol_names_its_pair(symbol: str, names: tuple[str, str]) -> None:
    assert pair(symbol) == names


def test_numbers_as_a_person_reads_them() -> None:
    assert percent(-0.0161) == "\u22121.61%"
    assert [compact(value) for value in (0.12345, 12, 1_889, 40_200, 3_100_000)] == [
        "0.1235", "12", "1,889", "40.2K", "3.1M",
    ]  # fmt: skip
    assert significant_places(65_000) == 2 and significant_places(0.15874) == 6
    assert decimals([candle("BTC", 0, "0.15870")]) == 4 and decimals([]) == 2
