"""Gaps, agreement, and which of two candles of one window is shown."""

from __future__ import annotations

import json

import pytest
import redis

from pipeline import keys
from pipeline.candle import Candle
from pipeline.errors import InvalidEntry
from pipeline.gap import Agreement, Gap
from pipeline.market import Interval
from pipeline.merging import merged
from pipeline.store import Store
from tests.candles import MINUTE, T0, candle, publish

GAP = Gap("BTC", T0 + 10, T0 + MINUTE - 1, "the exchange was away", T0 + 2 * MINUTE)


def exchange_candle(minute: int, symbol: str = "BTC") -> str:
    text = candle(symbol, seq=0, epoch=0, minute=minute, is_closed=True, close="100.75", published_at_ms=0)
    return text[:-1] + ',"source":"exchange"}'


def put_exchange(client: redis.Redis, *texts: str) -> None:
    for text in texts:
        fields = json.loads(text)
        client.zadd(keys.exchange_history(fields["symbol"], fields["interval"]), {text: fields["open_time_ms"]})


def test_a_gap_and_an_agreement_survive_their_json() -> None:
    agreement = Agreement("1m", 1_440, 1_438, [T0 + MINUTE, T0], T0)

    assert Gap.from_json(GAP.to_json()) == GAP
    assert Agreement.from_json(agreement.to_json().encode()) == agreement
    assert json.loads(GAP.to_json()) == {
        "symbol": "BTC", "from_ms": T0 + 10, "to_ms": T0 + MINUTE - 1,
        "reason": "the exchange was away", "recorded_at_ms": T0 + 2 * MINUTE,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"symbol":"<b>","from_ms":1}', '{"interval":"1m"}', "null"])
def test_what_is_no_gap_and_no_agreement_is_named(text: str) -> None:
    for read in (Gap.from_json, Agreement.from_json):
        with pytest.raises(InvalidEntry, match="not "):
            read(text)


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "touches"),
    [(0, 59_999, False), (0, 60_000, True), (119_999, 500_000, True), (120_000, 500_000, False)],
)
def test_a_gap_touches_the_windows_that_it_reaches_into(from_ms: int, to_ms: int, touches: bool) -> None:
    assert GAP._replace(from_ms=from_ms, to_ms=to_ms).overlaps(60_000, 60_000) is touches


def test_ours_wins_except_where_a_gap_makes_it_incomplete() -> None:
    ours = [(0, "our 0"), (60_000, "our 1"), (180_000, "our 3")]
    theirs = [(0, "their 0"), (60_000, "their 1"), (120_000, "their 2")]
    gap = GAP._replace(from_ms=70_000, to_ms=70_000)

    assert merged(ours, theirs, [], 60_000) == ["our 0", "our 1", "their 2", "our 3"]
    assert merged(ours, theirs, [gap], 60_000) == ["our 0", "their 1", "their 2", "our 3"]
    assert merged(ours, [], [gap], 60_000) == ["our 0", "our 1", "our 3"], "better incomplete than none"


def test_history_fills_what_we_have_not_with_the_exchanges_candles(
    redis_url: str, redis_client: redis.Redis
) -> None:
    store = Store(redis_client)
    ours = [candle(minute=n, seq=n, is_closed=True) for n in (0, 2, 3)]
    theirs = [exchange_candle(n) for n in (-1, 0, 1, 2)]
    publish(redis_client, *ours)
    put_exchange(redis_client, *theirs, exchange_candle(0, "ETH"))

    assert store.history("BTC", Interval.M1, 10) == [theirs[0], ours[0], theirs[2], ours[1], ours[2]]
    assert store.history("BTC", Interval.M1, 2) == ours[1:]
    assert store.history("BTC", Interval.M1, 2, before_ms=T0 + 2 * MINUTE) == [ours[0], theirs[2]]
    assert store.history("BTC", Interval.M1, 0) == []

    redis_client.xadd(keys.GAPS, {"gap": GAP._replace(symbol="ETH").to_json()})
    redis_client.xadd(keys.GAPS, {"gap": "torn"})
    assert store.history("BTC", Interval.M1, 10)[1] == ours[0], "another symbol's gap"
    redis_client.xadd(keys.GAPS, {"gap": GAP.to_json()})
    assert store.history("BTC", Interval.M1, 10)[1] == theirs[1]


def test_an_exchange_candle_can_be_read_like_ours() -> None:
    assert Candle.from_json(exchange_candle(0)).seq == 0


def test_gaps_and_agreement_are_read_newest_first_and_by_symbol(redis_client: redis.Redis) -> None:
    store = Store(redis_client)
    assert store.gaps(5) == [] and store.agreement() == {}

    for number in range(3):
        redis_client.xadd(keys.GAPS, {"gap": GAP._replace(recorded_at_ms=number).to_json()})
    agreement = Agreement("1m", 10, 9, [T0], T0)
    redis_client.hset(keys.AGREEMENT, mapping={"BTC": agreement.to_json(), "ETH": "torn"})

    assert [gap.recorded_at_ms for gap in store.gaps(2)] == [2, 1]
    assert store.agreement() == {"BTC": agreement}
