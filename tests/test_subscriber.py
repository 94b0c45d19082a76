"""Pub/Sub into the hub, on a real Redis that goes away and comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import keys
from pipeline.candle import Candle
from pipeline.errors import InvalidCandle
from pipeline.healer import HEAL_LIMIT
from pipeline.hub import Gap
from pipeline.market import Interval
from pipeline.subscriber import Hub, Subscriber
from pipeline.update import Update, read_update
from tests.candles import T0, candle, publish, wait_until
from tests.redis_server import RedisServer


class Listening:
    """A hub with its subscriber, and everything they said."""

    def __init__(self, url: str) -> None:
        self.hub = Hub()
        self.heard: list[Update] = []
        self.gaps: list[Gap] = []
        self.hub.listen(self.heard.extend)
        self.hub.listen_gaps(self.gaps.extend)
        self.subscriber = Subscriber(url, self.hub)

    def __enter__(self) -> Listening:
        self.subscriber.start()
        wait_until(lambda: self.hub.connected)
        return self

    def __exit__(self, *_: object) -> None:
        self.subscriber.stop()
        assert not self.hub.connected

    def seqs(self, symbol: str = "BTC") -> list[int]:
        return [one.seq for one in self.heard if one.symbol == symbol]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


def test_each_published_revision_arrives_exactly_as_it_was_published(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with Listening(redis_url) as on:
        texts = [candle(seq=n, published_at_ms=n, close="101.500000000100000001") for n in range(1, 4)]
        publish(redis_client, *texts)
        wait_until(lambda: len(on.heard) == 3)

        assert [one.payload for one in on.heard] == texts
        newest = on.hub.latest("BTC", "1m")
        assert newest and newest[:7] == ("BTC", "1m", T0, False, 1, 3, 3)
        assert on.hub.messages == 3 and on.hub.malformed == 0
        assert abs(on.hub.last_message_at_ms - time.time() * 1000) < 10_000


def test_the_hub_is_filled_from_redis_before_the_first_message(
    redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle("ETH", seq=4, is_closed=True, interval=Interval.H1))
    publish(redis_client, candle(seq=8, is_closed=True), candle(seq=9, minute=1))

    with Listening(redis_url) as on:
        wait_until(lambda: len(on.heard) == 3)
        assert on.hub.symbols() == ["BTC", "ETH"]
        latest = on.hub.latest("BTC", "1m")
        assert latest and latest.seq == 9
        hour = on.hub.latest("ETH", "1h")
        assert hour and hour.is_closed
        assert on.gaps == []


def test_messages_that_are_no_candles_are_counted_shown_and_stop_nothing(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with Listening(redis_url) as on:
        for text in ("", "{", "[]", "null", '{"symbol":"BTC"}', candle().replace('"1m"', '"2m"'), b"\xff\xfe"):
            redis_client.publish(keys.UPDATES_CHANNEL, text)
        redis_client.publish(keys.UPDATES_CHANNEL, "the last wrong one")
        publish(redis_client, candle(seq=1))
        wait_until(lambda: on.heard)

        assert on.hub.malformed == 8
        assert "the last wrong one" in on.hub.last_malformed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ('"symbol":"BTC"', '"symbol":"<b>"'),
        ('"symbol":"BTC"', '"symbol":7'),
        ('"symbol":"BTC"', '"symbol":["BTC"]'),
        ('"interval":"1m"', '"interval":["1m"]'),
        ('"seq":1', '"seq":"1"'),
        ('"seq":1', '"seq":true'),
        ('"epoch":1', '"epoch":1.5'),
        ('"is_closed":false', '"is_closed":0'),
        ('"published_at_ms":5', '"published_at_ms":null'),
        ('"open":100', '"open":"100"'),
        ('"open":100', '"open":true'),
        ('"open":100', '"open":99999999'),
        ('"open":100', '"open":{"html":"<b>"}'),
        ('"low":0.00000001', '"low":0'),
        ('"high":70000.25', '"high":99'),
        ('"volume":12.5', '"volume":-12.5'),
        ('"volume":12.5', '"volume":6'),
        ('"trade_count":1', '"trade_count":1.5'),
    ],
)
def test_a_candle_with_a_field_of_the_wrong_kind_is_refused_with_its_text(field: str, value: str) -> None:
    text = candle(seq=1, published_at_ms=5)
    assert field in text
    with pytest.raises(InvalidCandle, match="wrong type"):
        read_update(text.replace(field, value).encode())


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "\uff11", "1_0", "[" * 3_000])
def test_a_number_that_json_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(InvalidCandle):
        read_update(candle(seq=1).replace('"open":100', f'"open":{text}').encode())


def test_a_candle_that_carries_a_megabyte_is_refused_and_its_error_is_short() -> None:
    with pytest.raises(InvalidCandle, match="longer than 4000 bytes") as caught:
        read_update(candle(seq=1).replace("{", '{"x":"' + "y" * 1_000_000 + '",', 1).encode())
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_candle_or_refused_and_nothing_else(noise: bytes) -> None:
    with pytest.raises(InvalidCandle):
        read_update(noise)


@given(
    st.sampled_from(sorted(json.loads(candle()))),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
)
@settings(max_examples=300, deadline=None)
def test_what_the_hub_takes_the_pages_can_read(name: str, value: object) -> None:
    """Whatever passes into the frames is a candle for the exact reader, too."""
    text = json.dumps(json.loads(candle(published_at_ms=5)) | {name: value})
    try:
        read_update(text.encode())
    except InvalidCandle:
        return
    assert Candle.from_json(text).symbol == json.loads(text)["symbol"]


def test_a_hole_in_seq_is_healed_from_history_without_a_reconnect(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with Listening(redis_url) as on:
        publish(redis_client, candle(seq=1, is_closed=True), candle(seq=2, minute=1))
        publish(redis_client, candle(seq=3, minute=1, is_closed=True), candle(seq=4, minute=2), silently=True)
        publish(redis_client, candle(seq=5, minute=2))
        wait_until(lambda: len(on.heard) == 4)

        assert on.seqs() == [1, 2, 3, 5], "the closed candle came back; the forming one was overtaken"
        assert on.gaps == [] and on.hub.reconnects == 0


def test_a_hole_costs_no_closed_candle_that_came_in_the_same_batch(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with Listening(redis_url) as on:
        on.hub.listen(lambda _: time.sleep(0.2))  # what is published meanwhile comes as one batch
        publish(redis_client, candle("ETH", seq=1))
        wait_until(lambda: on.heard)
        publish(redis_client, candle(seq=1, is_closed=True), candle(seq=2, minute=1))
        publish(redis_client, candle(seq=3, minute=1, is_closed=True), silently=True)
        publish(redis_client, candle(seq=5, minute=2))
        wait_until(lambda: on.seqs() == [1, 2, 3, 5])


def test_after_redis_was_away_the_missed_closed_candles_are_sent_on_in_order(server: RedisServer) -> None:
    client = server.client()
    with Listening(server.url) as on:
        publish(client, candle(seq=1, is_closed=True), candle(seq=2, minute=1))
        wait_until(lambda: len(on.heard) == 2)

        server.kill()
        wait_until(lambda: not on.hub.connected)
        time.sleep(0.3)  # several attempts fail
        # Hold the thread back until the job has written, or it would hear it live.
        on.subscriber.stop()
        server.start()
        publish(server.client(), *(candle(seq=2 + n, minute=n, is_closed=True) for n in range(1, 4)))
        publish(server.client(), candle(seq=6, minute=4))
        on.subscriber = Subscriber(server.url, on.hub)
        on.subscriber.start()
        wait_until(lambda: on.hub.connected and len(on.heard) == 6)
        publish(server.client(), candle(seq=7, minute=4))
        wait_until(lambda: len(on.heard) == 7)

        assert on.seqs() == [1, 2, 3, 4, 5, 6, 7]
        assert on.gaps == []


def test_it_reconnects_by_itself_and_says_so(server: RedisServer) -> None:
    with Listening(server.url) as on:
        publish(server.client(), candle(seq=1))
        wait_until(lambda: on.heard)
        for lives in (1, 2):
            server.kill()
            wait_until(lambda: not on.hub.connected)
            server.start()
            wait_until(lambda: on.hub.connected)
            publish(server.client(), candle(seq=1 + lives))
            wait_until(lambda lives=lives: on.seqs()[-1] == 1 + lives)
            assert on.hub.reconnects == lives


def test_it_may_be_started_before_redis_is(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    on = Listening(server.url)
    on.subscriber.start()
    time.sleep(0.3)
    assert not on.hub.connected
    server.start()
    try:
        wait_until(lambda: on.hub.connected)
        assert on.hub.reconnects == 0
    finally:
        on.subscriber.stop()
        server.kill()


def test_a_connection_that_redis_cuts_is_healed(redis_url: str, redis_client: redis.Redis) -> None:
    with Listening(redis_url) as on:
        publish(redis_client, candle(seq=1, is_closed=True))
        wait_until(lambda: on.heard)
        redis_client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        publish(redis_client, candle(seq=2, minute=1, is_closed=True))
        wait_until(lambda: len(on.heard) == 2)
        wait_until(lambda: on.hub.reconnects == 1)


def test_what_is_no_candle_in_history_is_said_and_left_out(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    publish(redis_client, candle(seq=1))
    redis_client.set(keys.latest("BTC"), "half a cand")
    redis_client.zadd(keys.history("BTC", "1h"), {candle(seq=3, is_closed=True, interval=Interval.H1): T0})
    with Listening(redis_url) as on:
        assert on.hub.latest("BTC", "1h") and not on.hub.latest("BTC", "1m")
        assert "half a cand" in caplog.text


def test_a_key_of_the_wrong_type_is_said_aloud_and_mended_without_a_restart(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.sadd(keys.SYMBOLS, "BTC")
    redis_client.set(keys.history("BTC", "1m"), "not a sorted set")
    on = Listening(redis_url)
    on.subscriber.start()
    try:
        wait_until(lambda: "WRONGTYPE" in caplog.text)
        assert not on.hub.connected
        redis_client.delete(keys.history("BTC", "1m"))
        wait_until(lambda: on.hub.connected)
    finally:
        on.subscriber.stop()


def test_what_history_no_longer_has_is_told_as_a_gap_and_followed_by_the_newest(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with Listening(redis_url) as on:
        publish(redis_client, candle(seq=1, is_closed=True), candle(seq=2, minute=1))
        wait_until(lambda: len(on.heard) == 2)
        missed = [candle(seq=2 + n, minute=n, is_closed=True) for n in range(1, 9)]
        publish(redis_client, *missed, silently=True)
        redis_client.zremrangebyrank(keys.history("BTC", "1m"), 0, -4)  # trimmed: three are left
        publish(redis_client, candle(seq=11, minute=9))
        wait_until(lambda: len(on.heard) == 4)

        assert on.gaps == [Gap("BTC", "1m", (1, 2))]
        assert on.seqs() == [1, 2, 10, 11], "a list with a hole before it is not passed off as whole"


def test_a_hole_longer_than_the_limit_is_a_gap(redis_url: str, redis_client: redis.Redis) -> None:
    with Listening(redis_url) as on:
        publish(redis_client, candle(seq=1, is_closed=True))
        wait_until(lambda: on.heard)
        count = HEAL_LIMIT + 1
        publish(
            redis_client,
            *(candle(seq=1 + n, minute=n, is_closed=True) for n in range(1, count + 1)),
            silently=True,
        )
        publish(redis_client, candle(seq=count + 2, minute=count + 1))
        wait_until(lambda: on.seqs()[-1] == count + 2)

        assert len(on.gaps) == 1 and len(on.heard) == 3


def test_a_hole_of_exactly_the_limit_is_healed(redis_url: str, redis_client: redis.Redis) -> None:
    with Listening(redis_url) as on:
        publish(redis_client, candle(seq=1, is_closed=True))
        wait_until(lambda: on.heard)
        publish(
            redis_client,
            *(candle(seq=1 + n, minute=n, is_closed=True) for n in range(1, HEAL_LIMIT + 1)),
            silently=True,
        )
        publish(redis_client, candle(seq=HEAL_LIMIT + 2, minute=HEAL_LIMIT + 1))
        wait_until(lambda: on.seqs()[-1] == HEAL_LIMIT + 2)

        assert on.gaps == []
        assert on.seqs() == list(range(1, HEAL_LIMIT + 3))


def test_another_database_behind_the_same_address_starts_afresh(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set(keys.INSTANCE, "one")
    with Listening(redis_url) as on:
        publish(redis_client, candle(epoch=9, seq=90))
        wait_until(lambda: on.heard)
        redis_client.flushall()
        redis_client.set(keys.INSTANCE, "two")
        redis_client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        wait_until(lambda: on.hub.reconnects == 1)
        publish(redis_client, candle(epoch=3, seq=1))
        wait_until(lambda: len(on.heard) == 2)

        assert on.gaps == [Gap("BTC", "1m", (9, 90))]


def test_a_burst_is_delivered_whole(redis_url: str, redis_client: redis.Redis) -> None:
    with Listening(redis_url) as on:
        batches: list[Any] = []
        on.hub.listen(batches.append)
        for first in range(1, 20_001, 500):
            publish(redis_client, *(candle(seq=n) for n in range(first, first + 500)))
        wait_until(lambda: len(on.heard) == 20_000)

        assert on.seqs() == list(range(1, 20_001))
        assert len(batches) < 2_000, "messages that arrived together are one batch"
