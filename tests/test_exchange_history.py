"""The exchange's own candles beside ours, through the real client; and how the two compare."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline import keys
from pipeline.candle import Candle
from pipeline.feed.exchange.history import candle_text, compare
from pipeline.gap import Gap
from pipeline.market import Interval
from pipeline.store import Store
from tests.candles import wait_until
from tests.exchange.running import Running, recorded_exchange
from tests.exchange.server import Relay

MINUTE = 60_000
T0 = 1_700_000_040_000


def row(minute: int, close: str = "100.10", volume: str = "0.00000001") -> list[Any]:
    return [T0 + minute * MINUTE, "100", "101.5", "99.9", close, volume]


def ours(minute: int, close: str = "100.10", volume: str = "0.00000001") -> bytes:
    text = candle_text("BTC", Interval.M1, row(minute, close, volume))
    assert text is not None
    return text.replace(',"source":"exchange"', "").encode()


def theirs(*minutes: int) -> list[bytes]:
    return [text.encode() for minute in minutes if (text := candle_text("BTC", Interval.M1, row(minute)))]


def test_equal_minutes_are_counted_and_the_others_named() -> None:
    found = compare([ours(0), ours(1), ours(2, close="100.11"), ours(3, volume="0.00000002"), ours(9)],
                    theirs(0, 1, 2, 3, 4), [], T0)  # fmt: skip
    assert found == ("1m", 4, 2, [T0 + 3 * MINUTE, T0 + 2 * MINUTE], T0)


def test_minutes_that_a_gap_touches_are_not_compared() -> None:
    gap = Gap("BTC", T0 + MINUTE + 5, T0 + MINUTE + 6, "", T0)
    assert compare([ours(0), ours(1, close="100.2")], theirs(0, 1), [gap], T0)[1:4] == (1, 1, [])


def test_an_exchange_candle_keeps_its_digits_and_says_whose_it_is() -> None:
    text = candle_text(
        "BTC", Interval.M1, [T0, "0.0000000123", 63510.14, "1e-08", "0.00000002", "1234567.12345678"]
    )
    assert text is not None
    assert json.loads(text)["source"] == "exchange"
    candle = Candle.from_json(text)
    assert (candle.high, candle.low, candle.volume) == (
        Decimal("63510.14"), Decimal("0.00000001"), Decimal("1234567.12345678"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        [], [T0], [T0, 1, 1, 1, 1], [T0, None, 1, 1, 1, 1], [T0 + 1, 1, 1, 1, 1, 1], [T0, 1, 2, 3, 1, 1],
        [T0, 1, 1, 1, 1, -1], [T0, "NaN", 1, 1, 1, 1], [T0, 0, 0, 0, 0, 0], ["x", 1, 1, 1, 1, 1],
    ],
)  # fmt: skip
def test_an_impossible_candle_of_the_exchange_is_left_out(wrong: list[Any]) -> None:
    assert candle_text("BTC", Interval.M1, wrong) is None


@pytest.mark.parametrize("name", ["coinbaseexchange", "coinbase", "binance"])
def test_the_chart_opens_full_of_the_exchanges_candles(
    name: str, shared_data: Path, redis_client: redis.Redis
) -> None:
    exchange, trades = recorded_exchange(name, shared_data)
    market = trades[0].market
    trades = [trade for trade in trades if trade.market == market]
    exchange.happen(trades[:200], heard=False)
    open_ms = exchange.now_ms() // MINUTE * MINUTE
    rows = [
        [open_ms - n * MINUTE, "60000.01", "60010.5", "59990", "60005.25", f"{n}.5"] for n in range(700, -1, -1)
    ]
    exchange.candles[market, "60"] = rows
    # Hours before the feed begins: what it does not know of its first hour is a gap.
    our_minute = rows[-200]
    differing = [*rows[-201][:4], "60005.26", "3.5"]
    for one in (our_minute, differing):
        text = candle_text("BTC", Interval.M1, one)
        assert text is not None
        redis_client.zadd(keys.history("BTC", "1m"), {text.replace(',"source":"exchange"', ""): one[0]})

    with Relay(exchange) as relay, Running(redis_client, relay, [name], ["BTC"]):
        store = Store(redis_client)
        wait_until(lambda: store.agreement().get("BTC"), 60)
        candles = [json.loads(text, parse_float=str) for text in store.history("BTC", Interval.M1, 1_000)]

    # The newest row is the minute in progress: not closed, and none of ours.
    assert [candle["open_time_ms"] for candle in candles] == [one[0] for one in rows[-501:-1]]
    of_ours = {candle["open_time_ms"]: candle for candle in candles if "source" not in candle}
    assert set(of_ours) == {our_minute[0], differing[0]}, "ours win where both exist"
    assert candles[0]["close"] == "60005.25" and candles[0]["volume"] == "500.5"
    agreement = store.agreement()["BTC"]
    assert (agreement.compared, agreement.equal, list(agreement.differing)) == (2, 1, [differing[0]])
    assert "BTC" in store.symbols()
