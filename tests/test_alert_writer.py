"""Alerts on a real Redis: with their candles, after them, and once however often they are repeated."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from pipeline import keys
from pipeline.alert import Alert, AlertType
from pipeline.alerts.writer import KEPT, queue, unwritten
from pipeline.candle_writer import CandleWriter
from pipeline.revisions import Revisions
from tests.alerts import alert
from tests.candles import T0
from tests.redis_server import RedisServer
from tests.test_intake import fields
from tests.writing import Shard, deal, heartbeat

MINUTE = 60_000


def written(client: redis.Redis) -> list[Alert]:
    return [Alert.from_json(record[b"alert"]) for _, record in client.xrange(keys.ALERTS)]


def revisions(*alerts: Alert) -> Revisions:
    """A closed minute of BTC and what it gives rise to."""
    shard = Shard()
    shard.deals(deal(T0, 1))
    return replace(shard.poll(heartbeat(T0 + 2 * MINUTE)), alerts=alerts)


def test_an_alert_is_written_with_its_candle_and_published_after_it(redis_client: redis.Redis) -> None:
    one = alert()
    with redis_client.monitor() as monitor:
        CandleWriter(redis_client, 100).write(revisions(one))
        redis_client.echo("end")
        commands = []
        while (heard := monitor.next_command()["command"]).split()[0] != "ECHO":
            commands.append(heard)
    names = [command.split()[0] for command in commands]
    assert names.count("MULTI") == names.count("EXEC") == 1
    inside = range(names.index("MULTI"), names.index("EXEC"))
    published = [i for i, command in enumerate(commands) if command.startswith("PUBLISH")]
    assert all(i in inside for i in published)
    assert keys.ALERTS in commands[published[-1]], "alerts come last"
    assert all(keys.UPDATES_CHANNEL in commands[i] for i in published[:-1])
    assert any('"interval":"1m"' in commands[i] for i in published[:-1])
    assert written(redis_client) == [one]


def test_an_alert_that_is_repeated_by_this_life_or_the_next_stays_single(redis_client: redis.Redis) -> None:
    listener = redis_client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(keys.ALERTS)
    alerts = [alert(), alert("ETH"), alert(alert_type=AlertType.PRICE_DROP), alert(provisional=True)]
    writer = CandleWriter(redis_client, 100)
    writer.write(revisions(*alerts))
    writer.write(revisions(*alerts))
    CandleWriter(redis_client, 100).write(revisions(*alerts))
    CandleWriter(redis_client, 100).write(revisions(alert(minute=1)))
    CandleWriter(redis_client, 100).write(revisions(*alerts, alert(minute=1), alert(minute=2)))
    assert written(redis_client) == [*alerts, alert(minute=1), alert(minute=2)]
    messages = [listener.get_message(timeout=1) for _ in range(8)]
    heard = [Alert.from_json(message["data"]) for message in messages if message]
    assert heard == written(redis_client), "and is heard once"


def write(client: redis.Redis, *alerts: Alert) -> None:
    """As the candle writer does it: again, where somebody else wrote in between."""
    while True:
        with client.pipeline(transaction=True) as transaction:
            fresh = unwritten(transaction, 0, alerts)
            transaction.multi()
            queue(transaction, 0, fresh)
            try:
                transaction.execute()
            except redis.WatchError:
                continue
            return


def test_two_lives_that_write_at_the_same_time_leave_each_alert_once(redis_client: redis.Redis) -> None:
    alerts = [alert(minute=n) for n in range(200)]

    def live() -> None:
        for one in alerts:
            write(redis_client, one)

    lives = [threading.Thread(target=live) for _ in range(4)]
    for life in lives:
        life.start()
    for life in lives:
        life.join()
    assert [one.id for one in written(redis_client)] == [one.id for one in alerts]


def test_the_stream_is_capped_and_what_it_no_longer_holds_is_not_written_again(
    redis_client: redis.Redis,
) -> None:
    alerts = [alert(minute=n) for n in range(KEPT + 500)]
    write(redis_client, *alerts)
    length = redis_client.xlen(keys.ALERTS)
    assert KEPT <= length < KEPT + 200
    write(redis_client, *alerts)
    assert redis_client.xlen(keys.ALERTS) == length
    assert redis_client.hlen(keys.alerts_newest(0)) == 1


def test_an_outage_in_mid_list_leaves_every_alert_once(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        writer = CandleWriter(server.client(), 100)
        writer.write(revisions(alert()))
        server.kill()
        waiting = threading.Thread(target=writer.write, args=(revisions(alert(), alert(minute=1)),))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        server.start()
        waiting.join(20)
        assert written(server.client()) == [alert(), alert(minute=1)]
    finally:
        server.kill()


def test_a_list_longer_than_a_transaction_has_its_alerts_with_its_last_part(
    redis_client: redis.Redis, monkeypatch: Any
) -> None:
    monkeypatch.setattr("pipeline.candle_writer.CANDLES_A_TRANSACTION", 2)
    shard = Shard()
    shard.deals(*(deal(T0 + 1_000 * n, n) for n in range(9)))
    long = replace(shard.poll(fields([]), heartbeat(T0 + 2 * MINUTE)), alerts=(alert(),))
    heard: list[bytes] = []
    with redis_client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(keys.ALERTS, keys.UPDATES_CHANNEL)
        listener.get_message(timeout=1)
        listener.get_message(timeout=1)
        CandleWriter(redis_client, 100).write(long)
        while message := listener.get_message(timeout=0.5):
            heard.append(message["channel"])
    assert heard.count(keys.ALERTS.encode()) == 1 and heard[-1] == keys.ALERTS.encode()
    assert len(heard) == 6, "five candles in three transactions"
