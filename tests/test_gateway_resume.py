"""Coming back: clients by ``?since=``, and the gateway itself after Redis was away. No silent hole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from pipeline import keys
from pipeline.gateway import Limits, frames
from pipeline.gateway.resume import reaches_back
from pipeline.settings import Settings
from tests.candles import candle, publish, update, wait_until
from tests.gateway_server import Running, read, serve
from tests.redis_server import RedisServer


def settled(running: Running, epoch: int, seq: int) -> None:
    wait_until(lambda: running.gateway.fan_out.board.known(("BTC", "1m")).position == (epoch, seq))


def resumed(running: Running, since: str, count: int, symbol: str = "BTC") -> list[dict[str, Any]]:
    """The first ``count`` frames after connection, each held against its schema."""
    with running.client(f"{symbol}?since={since}") as client:
        assert read(client)["type"] == "connection"
        found = [read(client) for _ in range(count)]
        client.send('{"type":"ping"}')
        assert read(client)["type"] == "pong", "nothing else came"
    for frame in found:
        jsonschema.validate(frame, frames.FRAME_SCHEMAS[frame["type"]])
    return found


def told(found: list[dict[str, Any]]) -> list[Any]:
    """What ``found`` says, in short."""
    return [
        "gap" if one["type"] == "gap" else (one["type"], one.get("source"), one["data"]["seq"]) for one in found
    ]


def test_a_client_that_comes_back_gets_the_closed_candles_it_missed_and_the_newest(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with serve(redis_url) as running:
        publish(redis_client, *(candle(seq=n, minute=n, is_closed=True) for n in range(1, 9)))
        publish(redis_client, candle(seq=9, minute=9), candle(seq=10, minute=9))
        settled(running, 1, 10)

        missed = [("price_update", "history", n) for n in (6, 7, 8)]
        assert told(resumed(running, "1:5", 4)) == [*missed, ("initial_data", None, 10)]
        assert told(resumed(running, "1:9", 1)) == [("initial_data", None, 10)]
        assert told(resumed(running, "1:10", 1)) == [("initial_data", None, 10)]


def test_a_candle_older_than_the_last_one_is_never_sent_again(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with serve(redis_url) as running:
        publish(redis_client, candle(seq=1), candle(seq=2, minute=1), candle(seq=3, minute=0, is_closed=True))
        settled(running, 1, 3)

        assert told(resumed(running, "1:3", 0)) == []
        assert told(resumed(running, "1:2", 2)) == [("initial_data", None, 2), ("price_update", "history", 3)]


def test_it_also_holds_across_the_lives_of_the_job(redis_url: str, redis_client: redis.Redis) -> None:
    with serve(redis_url) as running:
        publish(
            redis_client, candle(epoch=5, seq=90, minute=0, is_closed=True), candle(epoch=5, seq=91, minute=1)
        )
        publish(
            redis_client, candle(epoch=6, seq=1, minute=1, is_closed=True), candle(epoch=6, seq=2, minute=2)
        )
        settled(running, 6, 2)

        assert told(resumed(running, "5:91", 2)) == [("price_update", "history", 1), ("initial_data", None, 2)]


def test_what_history_no_longer_has_is_an_explicit_gap_before_fresh_data(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with serve(redis_url) as running:
        publish(redis_client, *(candle(seq=n, minute=n, is_closed=True) for n in range(1, 9)))
        settled(running, 1, 8)
        redis_client.zremrangebyrank(keys.history("BTC", "1m"), 0, 3)

        assert told(resumed(running, "1:5", 3)) == [
            ("price_update", "history", 6),
            ("price_update", "history", 7),
            ("initial_data", None, 8),
        ]
        publish(redis_client, candle(seq=9, minute=9, is_closed=True))
        settled(running, 1, 9)
        redis_client.zremrangebyrank(keys.history("BTC", "1m"), 0, 1)
        frame, fresh = resumed(running, "0:5", 2)
        assert frame["type"] == "gap" and frame["recovered"] is False and frame["since"] == "0:5"
        assert fresh["type"] == "initial_data" and fresh["data"]["seq"] == 9


@pytest.mark.parametrize("since", ["1:99", "7:1"])
def test_a_position_that_was_never_published_is_a_gap(
    redis_url: str, redis_client: redis.Redis, since: str
) -> None:
    with serve(redis_url) as running:
        publish(redis_client, candle(seq=1, is_closed=True))
        settled(running, 1, 1)
        assert told(resumed(running, since, 2)) == ["gap", ("initial_data", None, 1)]


def test_longer_than_the_limit_is_a_gap_and_shorter_is_whole(redis_url: str, redis_client: redis.Redis) -> None:
    with serve(redis_url, limits=Limits(resume_candles=40)) as running:
        publish(redis_client, *(candle(seq=n, minute=n, is_closed=True) for n in range(1, 61)))
        settled(running, 1, 60)

        assert told(resumed(running, "1:10", 2)) == ["gap", ("initial_data", None, 60)]
        whole = resumed(running, "1:20", 40)
        assert [frame["data"]["seq"] for frame in whole] == list(range(21, 61))


def test_history_that_is_trimmed_to_its_limit_proves_nothing_about_before(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with serve(redis_url, Settings(history_limit=3)) as running:
        publish(redis_client, *(candle(seq=n, minute=n, is_closed=True) for n in (7, 8, 9)))
        settled(running, 1, 9)
        assert told(resumed(running, "1:5", 2)) == ["gap", ("initial_data", None, 9)]
        assert len(resumed(running, "1:7", 2)) == 2


def test_all_cannot_be_resumed_and_says_so(redis_url: str, redis_client: redis.Redis) -> None:
    with serve(redis_url) as running:
        publish(redis_client, candle(seq=2), candle("ETH", seq=2))
        wait_until(lambda: len(running.gateway.fan_out.board.symbols()) == 2)
        found = told(resumed(running, "1:1", 3, symbol="ALL"))
        assert found == ["gap", ("initial_data", None, 2), ("initial_data", None, 2)]


def test_history_that_was_wiped_is_a_gap(redis_url: str, redis_client: redis.Redis) -> None:
    with serve(redis_url) as running:
        publish(redis_client, *(candle(seq=n, minute=n, is_closed=True) for n in (1, 2, 3)))
        settled(running, 1, 3)
        redis_client.delete(keys.history("BTC", "1m"))
        assert told(resumed(running, "1:1", 2)) == ["gap", ("initial_data", None, 3)]


def test_while_redis_is_away_a_resume_is_a_gap(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    with serve(server.url) as running:
        publish(server.client(), *(candle(seq=n, minute=n, is_closed=True) for n in (1, 2, 3)))
        settled(running, 1, 3)
        server.kill()
        wait_until(lambda: not running.hub.connected)
        assert told(resumed(running, "1:1", 2)) == ["gap", ("initial_data", None, 3)]
        with running.client() as client:
            assert [read(client)["type"] for _ in range(2)] == ["connection", "initial_data"]
            server.start()
            publish(server.client(), candle(seq=4, minute=4, is_closed=True))
            assert read(client)["data"]["seq"] == 4, "back by itself, nothing missed"
    server.kill()


def test_candles_that_come_while_history_is_read_follow_it_in_order(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with serve(redis_url) as running:
        publish(redis_client, *(candle(seq=n, minute=n, is_closed=True) for n in range(1, 101)))
        settled(running, 1, 100)
        read_history, seq = running.gateway.store.history, 100

        def meanwhile(*arguments: Any) -> list[str]:
            nonlocal seq
            found = read_history(*arguments)
            publish(redis_client, *(candle(seq=seq + n, minute=seq + n, is_closed=True) for n in range(1, 6)))
            seq += 5
            settled(running, 1, seq)
            return found

        running.gateway.store.history = meanwhile  # type: ignore[method-assign]
        found = resumed(running, "1:50", 60)
        assert [frame["data"]["seq"] for frame in found] == list(range(51, seq + 1))


def test_clients_hear_what_was_published_while_redis_was_out_of_reach(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with serve(redis_url) as running:
        publish(redis_client, candle(seq=1, is_closed=True), candle(seq=2, minute=1))
        settled(running, 1, 2)
        with running.client() as client:
            assert [read(client)["type"], read(client)["type"]] == ["connection", "initial_data"]
            redis_client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            publish(redis_client, *(candle(seq=n + 2, minute=n, is_closed=True) for n in range(1, 5)))
            publish(redis_client, candle(seq=7, minute=5))
            assert [read(client)["data"]["seq"] for _ in range(5)] == [3, 4, 5, 6, 7]
        wait_until(lambda: running.metric("reconnects_total") == 1)


def test_clients_are_told_of_a_hole_that_could_not_be_healed(redis_url: str, redis_client: redis.Redis) -> None:
    with serve(redis_url) as running:
        publish(redis_client, candle(seq=1, is_closed=True), candle("ETH", seq=1))
        settled(running, 1, 1)
        with running.client() as client, running.client("ALL") as all_of_them:
            for one, count in ((client, 2), (all_of_them, 3)):
                for _ in range(count):
                    read(one)
            publish(
                redis_client, *(candle(seq=n, minute=n, is_closed=True) for n in range(2, 7)), silently=True
            )
            redis_client.zremrangebyrank(keys.history("BTC", "1m"), 0, -2)
            publish(redis_client, candle(seq=7, minute=7))
            for one in (client, all_of_them):
                found = [read(one) for _ in range(3)]
                jsonschema.validate(found[0], frames.FRAME_SCHEMAS["gap"])
                assert (found[0]["symbol"], found[0]["since"]) == ("BTC", "1:1")
                assert told(found) == [
                    "gap",
                    ("price_update", "redis_pubsub", 6),
                    ("price_update", "redis_pubsub", 7),
                ]


def test_a_hundred_who_come_back_together_cost_one_reading(redis_url: str, redis_client: redis.Redis) -> None:
    with serve(redis_url) as running:
        publish(redis_client, *(candle(seq=n, minute=n, is_closed=True) for n in range(1, 11)))
        settled(running, 1, 10)
        before = redis_client.info("commandstats").get("cmdstat_zrevrangebyscore", {"calls": 0})["calls"]
        for since in range(1, 10):
            assert len(resumed(running, f"1:{since}", 10 - since)) == 10 - since
        after = redis_client.info("commandstats")["cmdstat_zrevrangebyscore"]["calls"]
        assert after - before == 2, "our candles and the exchange's, once each"


@given(st.lists(st.integers(1, 60), unique=True, min_size=1), st.integers(0, 70), st.integers(0, 30))
def test_a_list_that_is_called_whole_is_whole(seqs: list[int], since: int, trimmed: int) -> None:
    """Whatever was trimmed: if ``reaches_back`` says yes, no closed candle after ``since`` is missing."""
    closed = [
        update(seq=seq, minute=n, is_closed=True, published_at_ms=0) for n, seq in enumerate(sorted(seqs))
    ]
    left = closed[trimmed:]
    if reaches_back(left, (1, since), untrimmed=trimmed == 0):
        after = [one.seq for one in closed if one.seq > since]
        assert [one.seq for one in left if one.seq > since] == after


def test_frames_carry_since_as_clients_send_it() -> None:
    frame = json.loads(frames.gap("BTC", "1m", (12, 34), "x").text)
    assert frame["since"] == "12:34"
