from decimal import Decimal

import pytest
import redis

from dashboard.session import Mailbox, Series
from pipeline import keys
from pipeline.candle import Candle
from pipeline.hub import Gap, Hub, Update
from pipeline.market import Interval
from pipeline.store import Store

MINUTE = 60_000
START = 1_700_000_040_000 // MINUTE * MINUTE


def candle(
    minute: int, close: str = "100", *, closed: bool = True, seq: int = 1, symbol: str = "BTC"
) -> Candle:
    price = Decimal(close)
    return Candle(
        symbol, Interval.M1, START + minute * MINUTE, price, price, price, price,
        Decimal(1), price, Decimal(0), 1, is_closed=closed, epoch=1, seq=seq, published_at_ms=START,
    )  # fmt: skip


def update(of: Candle) -> Update:
    return Update(
        of.symbol,
        of.interval.value,
        of.open_time_ms,
        of.is_closed,
        of.epoch,
        of.seq,
        of.published_at_ms,
        of.to_json(),
    )


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def box(hub: Hub) -> Mailbox:
    box = Mailbox(hub)
    box.watch("BTC", "1m")
    return box


def test_the_mailbox_keeps_every_closed_candle_but_only_the_newest_forming_one(hub: Hub, box: Mailbox) -> None:
    sent = [candle(0, seq=1), candle(1, "101", closed=False, seq=2), candle(1, "102", closed=False, seq=3)]
    hub.apply(map(update, sent))
    mail = box.drain()
    assert [each.seq for each in mail.closed] == [1]
    assert mail.newest["BTC", "1m"].seq == 3
    assert box.drain().newest == {}


def test_the_mailbox_keeps_nothing_of_other_markets(hub: Hub, box: Mailbox) -> None:
    hub.apply([update(candle(0, symbol="ETH"))])
    assert box.drain() == ({}, [], set())


def test_watching_all_symbols_keeps_one_slot_each(hub: Hub, box: Mailbox) -> None:
    box.watch(None, "1m")
    hub.apply([update(candle(0, symbol="ETH")), update(candle(0, symbol="BTC"))])
    assert set(box.drain().newest) == {("ETH", "1m"), ("BTC", "1m")}


def test_a_closed_candle_that_comes_after_the_next_one_began_is_not_the_newest(hub: Hub, box: Mailbox) -> None:
    hub.apply(map(update, [candle(1, closed=False, seq=1), candle(0, seq=2)]))
    mail = box.drain()
    assert mail.newest["BTC", "1m"].open_time_ms == START + MINUTE
    assert len(mail.closed) == 1


def test_a_full_mailbox_says_that_history_has_the_rest(hub: Hub, box: Mailbox) -> None:
    hub.apply(update(candle(minute, seq=minute + 1)) for minute in range(2_001))
    mail = box.drain()
    assert len(mail.closed) == 2_000 and mail.holes == {("BTC", "1m")}


def test_a_gap_that_the_hub_could_not_heal_is_a_hole(hub: Hub, box: Mailbox) -> None:
    hub.report([Gap("BTC", "1m", (1, 1)), Gap("BTC", "1s", (1, 1))])
    assert box.drain().holes == {("BTC", "1m")}


def test_a_closed_mailbox_hears_nothing(hub: Hub, box: Mailbox) -> None:
    box.close()
    hub.apply([update(candle(0))])
    assert box.drain().closed == []


def test_a_series_takes_closed_candles_in_any_order_and_each_once() -> None:
    series = Series("BTC", Interval.M1)
    hub = Hub()
    box = Mailbox(hub)
    box.watch("BTC", "1m")
    hub.apply(map(update, [candle(2, seq=1), candle(0, seq=2), candle(1, seq=3), candle(1, "105", seq=4)]))
    series.take(box.drain())
    assert [each.open_time_ms for each in series.closed] == [START, START + MINUTE, START + 2 * MINUTE]
    assert series.closed[1].close == 105


def test_the_forming_candle_gives_way_to_its_closed_self() -> None:
    series = Series("BTC", Interval.M1)
    series.see(update(candle(0, "101", closed=False)))
    assert series.last is series.forming is not None
    series.see(update(candle(0, "102", seq=2)))
    assert series.forming is None and series.last == candle(0, "102", seq=2)
    series.see(update(candle(0, "101", closed=False, seq=3)))
    assert series.forming is None


def test_a_series_loads_the_newest_candles_of_history(redis_client: redis.Redis) -> None:
    held = [candle(minute, seq=minute + 1) for minute in range(600)]
    redis_client.zadd(keys.history("BTC", "1m"), {each.to_json(): each.open_time_ms for each in held})
    series = Series("BTC", Interval.M1)
    series.load(Store(redis_client))
    assert series.closed == held[-500:]
