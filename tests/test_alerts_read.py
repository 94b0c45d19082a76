"""Alerts from Redis into the hub: once each, in order, after their candles, also after an outage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from pipeline import keys
from pipeline.alert import Alert
from pipeline.hub import ALERTS_KEPT, Hub
from pipeline.store import Store
from pipeline.subscriber import Subscriber
from tests.alerts import alert, publish_alerts
from tests.candles import candle, publish, wait_until
from tests.redis_server import RedisServer


class Listening:
    """A hub with its subscriber, and every alert that they told."""

    def __init__(self, url: str) -> None:
        self.hub = Hub()
        self.heard: list[Alert] = []
        self.stop_listening = self.hub.listen_alerts(self.heard.extend)
        self.subscriber = Subscriber(url, self.hub)

    def __enter__(self) -> Listening:
        self.subscriber.start()
        wait_until(lambda: self.hub.connected)
        return self

    def __exit__(self, *_: object) -> None:
        self.subscriber.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


def test_an_alert_is_heard_as_it_was_published_and_kept_newest_first(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with Listening(redis_url) as on:
        publish_alerts(redis_client, alert(), alert("ETH", minute=1))
        publish_alerts(redis_client, alert(minute=2))
        wait_until(lambda: len(on.heard) == 3)
        assert on.heard == [alert(), alert("ETH", minute=1), alert(minute=2)]
        assert on.hub.alerts() == on.heard[::-1]
        assert on.hub.malformed == 0 and on.hub.messages == 3


def test_what_redis_keeps_is_there_from_the_start(redis_url: str, redis_client: redis.Redis) -> None:
    publish_alerts(redis_client, alert(), alert(minute=1), silently=True)
    with Listening(redis_url) as on:
        assert on.hub.alerts() == [alert(minute=1), alert()]
        publish_alerts(redis_client, alert(minute=2))
        wait_until(lambda: len(on.heard) == 3)


def test_the_same_alert_is_told_once_however_often_it_is_heard(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with Listening(redis_url) as on:
        for _ in range(3):
            publish_alerts(redis_client, alert())
        publish_alerts(redis_client, alert(provisional=True), alert(minute=1))
        wait_until(lambda: alert(minute=1) in on.heard)
        assert on.heard == [alert(), alert(provisional=True), alert(minute=1)]


def test_a_candle_is_known_before_its_alert_is_told(redis_url: str, redis_client: redis.Redis) -> None:
    known: list[bool] = []
    with Listening(redis_url) as on:
        on.hub.listen(lambda _: time.sleep(0.05))  # so that several batches come together
        on.hub.listen_alerts(
            lambda alerts: known.extend(on.hub.known((one.symbol, "1m")).closed_ms >= one.window_start_ms
                                        for one in alerts)
        )  # fmt: skip
        for minute in range(20):
            with redis_client.pipeline(transaction=True) as transaction:
                transaction.publish(keys.UPDATES_CHANNEL, candle(seq=minute + 1, minute=minute, is_closed=True))
                transaction.publish(keys.ALERTS, alert(minute=minute).to_json())
                transaction.execute()
        wait_until(lambda: len(known) == 20)
    assert all(known)


def test_what_was_missed_while_redis_was_away_is_told_in_order_after_it(server: RedisServer) -> None:
    with Listening(server.url) as on:
        publish_alerts(server.client(), alert())
        wait_until(lambda: on.heard)
        on.subscriber.stop()
        publish_alerts(server.client(), alert(minute=1), alert(minute=2))
        server.kill()
        server.start()
        publish_alerts(server.client(), alert(minute=3), silently=True)
        on.subscriber = Subscriber(server.url, on.hub)
        on.subscriber.start()
        wait_until(lambda: len(on.heard) == 4)
        assert on.heard == [alert(minute=n) for n in range(4)]


def test_a_connection_that_is_cut_costs_no_alert(redis_url: str, redis_client: redis.Redis) -> None:
    with Listening(redis_url) as on:
        publish_alerts(redis_client, alert())
        wait_until(lambda: on.heard)
        redis_client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        publish_alerts(redis_client, alert(minute=1))
        wait_until(lambda: len(on.heard) == 2)


def test_messages_that_are_no_alerts_are_counted_shown_and_stop_nothing(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.xadd(keys.ALERTS, {"alert": "torn in the stream"})
    redis_client.xadd(keys.ALERTS, {"other": "field"})
    with Listening(redis_url) as on:
        for text in ("", "{", "[]", candle(), b"\xff\xfe"):
            redis_client.publish(keys.ALERTS, text)
        redis_client.publish(keys.UPDATES_CHANNEL, alert().to_json())
        publish_alerts(redis_client, alert())
        publish(redis_client, candle())
        wait_until(lambda: on.heard and on.hub.latest("BTC", "1m"))
        assert on.hub.malformed == 6
        assert on.hub.alerts() == [alert()]


def test_another_database_behind_the_same_address_has_other_alerts(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set(keys.INSTANCE, "one")
    with Listening(redis_url) as on:
        publish_alerts(redis_client, alert())
        wait_until(lambda: on.heard)
        redis_client.flushall()
        redis_client.set(keys.INSTANCE, "two")
        publish_alerts(redis_client, alert("ETH"), silently=True)
        redis_client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        wait_until(lambda: on.hub.alerts() == [alert("ETH")])


def test_the_hub_keeps_the_newest_and_forgets_the_ids_of_the_others() -> None:
    hub = Hub()
    for minute in range(ALERTS_KEPT + 5):
        hub.apply_alerts([alert(minute=minute)])
    assert len(hub.alerts()) == ALERTS_KEPT
    assert hub.alerts()[0] == alert(minute=ALERTS_KEPT + 4)
    assert hub.apply_alerts([alert(minute=ALERTS_KEPT)]) == []
    assert len(hub._alert_ids) == ALERTS_KEPT


def test_a_listener_that_fails_or_has_left_harms_nobody() -> None:
    hub = Hub()
    heard: list[Alert] = []
    hub.listen_alerts(lambda _: 1 // 0)
    stop = hub.listen_alerts(heard.extend)
    hub.apply_alerts([alert()])
    stop()
    hub.apply_alerts([alert(minute=1)])
    assert heard == [alert()]


def test_the_store_reads_backwards_through_the_stream(redis_url: str, redis_client: redis.Redis) -> None:
    publish_alerts(redis_client, *(alert(minute=n) for n in range(5)))
    store = Store(redis_client)
    assert [Alert.from_json(text) for text in store.alerts(2)] == [alert(minute=4), alert(minute=3)]
    first = store.alerts_before("+", 3)
    rest = store.alerts_before(first[-1]["id"], 3)
    read = [Alert.from_json(record["alert"]) for record in [*first, *rest]]
    assert read == [alert(minute=n) for n in range(4, -1, -1)]
