"""The read side of Redis, on a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from pipeline import keys
from pipeline.market import Interval
from pipeline.store import Store, writes_state
from tests.candles import MINUTE, T0, candle, publish
from tests.feeding import RedisServer


@pytest.fixture(params=[False, True], ids=["bytes", "text"])
def store(request: pytest.FixtureRequest, redis_url: str) -> Store:
    return Store(redis.Redis.from_url(redis_url, decode_responses=request.param))


def test_an_empty_database_reads_as_nothing(store: Store) -> None:
    assert store.latest("BTC") is None
    assert store.history("BTC", Interval.M1, 10) == []
    assert store.symbols() == []
    assert store.feed() == {}
    assert store.progress() == {}
    assert store.late(5) == [] and store.rejected(5) == []
    assert store.rejected_count() == 0
    assert store.instance() is None
    assert store.latest_of([]) == []


def test_history_is_the_newest_closed_candles_oldest_first(store: Store, redis_client: redis.Redis) -> None:
    texts = [candle(seq=n, minute=n, is_closed=True) for n in range(5)]
    for text in reversed(texts):
        publish(redis_client, text)

    assert store.history("BTC", Interval.M1, 3) == texts[2:]
    assert store.history("BTC", Interval.M1, 3, before_ms=T0 + 4 * MINUTE) == texts[1:4], (
        "the bound is exclusive"
    )
    assert store.history("BTC", Interval.M1, 99) == texts
    assert store.history("BTC", Interval.M5, 99) == []


def test_histories_from_reads_many_in_one_trip(store: Store, redis_client: redis.Redis) -> None:
    texts = [candle(seq=n, minute=n, is_closed=True) for n in range(4)]
    for text in texts:
        publish(redis_client, text)

    wanted = [("BTC", "1m", T0 + MINUTE), ("BTC", "1m", -1), ("ETH", "1m", 0)]
    assert store.histories_from(wanted, 2) == [texts[1:3], texts[3:], []]


def test_latest_is_the_json_as_it_was_published(store: Store, redis_client: redis.Redis) -> None:
    text = candle(close="65000.1200000001")
    publish(redis_client, text)

    assert store.latest("BTC") == text
    assert store.latest_of(["ETH", "BTC"]) == [text]
    assert store.symbols() == ["BTC"]


def test_progress_is_found_for_every_shard_also_behind_idle_ones(
    store: Store, redis_client: redis.Redis
) -> None:
    redis_client.hset(keys.progress(0), mapping={"trades": 7, "position": "1-0"})
    redis_client.hset(keys.progress(17), mapping={"trades": 9})

    assert store.progress() == {0: {"trades": "7", "position": "1-0"}, 17: {"trades": "9"}}


def test_records_come_newest_first_and_unreadable_bytes_stay_readable(
    store: Store, redis_client: redis.Redis
) -> None:
    redis_client.xadd(keys.LATE, {"trade": json.dumps({"symbol": "BTC"}), "shard": 0})
    redis_client.xadd(keys.REJECTED, {"reason": "not a number", "origin": "f:1", "record": "x"})
    redis_client.xadd(keys.REJECTED, {"reason": "torn", "origin": "f:2", "record": "caf\u00e9"})
    redis_client.hset(keys.REJECTED_COUNTS, mapping={"torn": 1, "not a number": 2})

    assert [record["trade"] for record in store.late(5)] == ['{"symbol": "BTC"}']
    newest, older = store.rejected(5)
    assert (newest["reason"], older["origin"], newest["record"]) == ("torn", "f:1", "caf\u00e9")
    assert newest["id"] > older["id"]
    assert store.rejected(1) == [newest]
    assert store.rejected_counts() == {"torn": 1, "not a number": 2}
    assert store.rejected_count() == 3


def test_a_record_of_broken_bytes_can_be_looked_at(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.xadd(keys.REJECTED, {"reason": "torn", "origin": "f:2", "record": b"\xff\x00"})

    assert Store(redis_client).rejected(1)[0]["record"] == "\\xff\x00"


def test_a_redis_that_is_full_or_a_replica_says_so_in_words(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        client = server.client()
        assert writes_state(client.info()) == "taken"
        client.config_set("maxmemory", 1)
        assert writes_state(client.info()) == "refused: memory is full"
        client.config_set("maxmemory", 0)
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert writes_state(client.info()) == "refused: read-only replica"
        client.execute_command("REPLICAOF", "NO", "ONE")
        assert writes_state(client.info()) == "taken"
        assert writes_state({"aof_last_write_status": "err"}) == "refused: its disk is full or fails"
    finally:
        server.stop()
