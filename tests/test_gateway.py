"""The gateway's contract, over a real server and a real Redis, by a client that is not ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from pipeline import keys
from pipeline.gateway import Limits, frames
from pipeline.market import Interval
from tests.candles import MINUTE, T0, candle, publish, wait_until
from tests.gateway_server import Running, read, read_until, serve


@pytest.fixture
def running(redis_url: str) -> Iterator[Running]:
    with serve(redis_url) as running:
        yield running


def valid(frame: dict[str, Any]) -> dict[str, Any]:
    """``frame``, if the schema written down for its type allows it."""
    jsonschema.validate(frame, frames.FRAME_SCHEMAS[frame["type"]])
    return frame


def known(running: Running, client: redis.Redis, *texts: str) -> None:
    """Publish ``texts`` and wait until the gateway has passed the last of them on."""
    publish(client, *texts)
    last = json.loads(texts[-1])
    pair = (last["symbol"], last["interval"])
    wait_until(lambda: running.gateway.fan_out.board.known(pair).position == (last["epoch"], last["seq"]))


def test_a_client_is_greeted_given_the_newest_candle_and_then_each_revision(
    running: Running, redis_client: redis.Redis
) -> None:
    first = candle(seq=1)
    known(running, redis_client, first)
    with running.client("BTC") as client:
        hello = valid(read(client))
        assert (hello["type"], hello["symbol"], hello["mode"]) == ("connection", "BTC", "event_driven_pubsub")
        assert valid(read(client))["data"] == json.loads(first)

        second = candle(seq=2, close="101.500000000000100001")
        publish(redis_client, second)
        text = client.recv(10)

    update = valid(json.loads(text))
    assert (update["type"], update["symbol"], update["source"]) == ("price_update", "BTC", "redis_pubsub")
    assert second in str(text), "the candle is passed on as the text that it is"
    assert json.loads(text, parse_float=Decimal)["data"]["close"] == Decimal("101.500000000000100001")


def test_all_is_given_each_symbol_and_every_symbols_revisions(
    running: Running, redis_client: redis.Redis
) -> None:
    known(running, redis_client, candle("BTC"), candle("ETH"), candle("SOL", interval=Interval.H1))
    with running.client("ALL") as client:
        assert valid(read(client))["symbol"] == "ALL"
        assert {valid(read(client))["symbol"] for _ in range(2)} == {"BTC", "ETH"}
        publish(redis_client, candle("SOL"), candle("ETH", seq=2))
        assert [(frame["symbol"], frame["type"]) for frame in (read(client), read(client))] == [
            ("SOL", "price_update"),
            ("ETH", "price_update"),
        ]


def test_a_symbol_may_be_written_in_any_case(running: Running, redis_client: redis.Redis) -> None:
    known(running, redis_client, candle())
    for path in ("btc", "Btc", "all", "All"):
        with running.client(path) as client:
            assert read(client)["symbol"] == path.upper()
            assert read(client)["type"] == "initial_data"


@pytest.mark.parametrize("interval", list(Interval))
def test_a_client_hears_of_the_interval_it_asked_for_only(
    running: Running, redis_client: redis.Redis, interval: Interval
) -> None:
    known(running, redis_client, *(candle(interval=one) for one in Interval))
    with running.client(f"BTC?interval={interval.value}") as client:
        assert read(client)["interval"] == interval.value
        assert read(client)["data"]["interval"] == interval.value
        publish(redis_client, *(candle(interval=one, seq=2) for one in Interval))
        update = read(client)
        assert (update["data"]["interval"], update["data"]["seq"]) == (interval.value, 2)


def test_ping_is_answered_by_pong_and_nonsense_by_an_error_that_tells_nothing(
    running: Running, redis_client: redis.Redis
) -> None:
    known(running, redis_client, candle())
    with running.client() as client:
        read(client), read(client)
        client.send('{"type":"ping","note":"ignored"}')
        assert valid(read(client))["type"] == "pong"
        for nonsense in ("", "{", "null", '{"type":"pong"}', b"\x00\xff"):
            client.send(nonsense)
            answer = valid(read(client))
            assert answer["type"] == "error"
            assert answer["message"] == 'Only {"type":"ping"} is understood.'
        client.send('{"type":"ping"}')
        assert read(client)["type"] == "pong", "the connection goes on"


def test_keepalives_come_to_every_client_again_and_again(redis_url: str, redis_client: redis.Redis) -> None:
    with serve(redis_url, limits=Limits(keepalive_s=0.3)) as running:
        known(running, redis_client, candle())
        with running.client() as one, running.client("ALL") as other:
            for client in (one, other):
                for _ in range(3):
                    assert valid(read_until(client, "keepalive"))["timestamp"] > T0


def test_stats_count_exactly_and_return_to_zero(running: Running, redis_client: redis.Redis) -> None:
    known(running, redis_client, candle("BTC"), candle("ETH"))
    empty = {
        "total_connections": 0,
        "connections_by_symbol": {},
        "pubsub_active": True,
        "mode": "event_driven_pubsub",
    }
    assert running.get("/ws/stats") == (200, empty)
    with running.client("BTC") as one, running.client("btc?interval=1h"), running.client("ALL"):
        wait_until(lambda: running.gateway.connections == 3)
        _, stats = running.get("/ws/stats")
        jsonschema.validate(stats, frames.STATS_SCHEMA)
        assert stats == empty | {"total_connections": 3, "connections_by_symbol": {"ALL": 1, "BTC": 2}}
        one.socket.shutdown(2)  # no close frame: the cable is pulled
        wait_until(lambda: running.get("/ws/stats")[1]["total_connections"] == 2)
    wait_until(lambda: running.get("/ws/stats") == (200, empty))


def test_pubsub_active_and_healthz_tell_the_truth(redis_url: str) -> None:
    with serve(redis_url) as running:
        assert running.get("/healthz") == (200, {"status": "ok", "pubsub_active": True})
        running.subscriber.stop()
        assert running.get("/healthz") == (503, {"status": "no subscription", "pubsub_active": False})
        assert running.get("/ws/stats")[1]["pubsub_active"] is False


def test_candles_are_served_from_history_with_their_exact_digits(
    running: Running, redis_client: redis.Redis
) -> None:
    closed = [candle(seq=n + 1, minute=n, is_closed=True, close=f"10{n}.10") for n in range(4)]
    forming = candle(seq=9, minute=4)
    known(running, redis_client, *closed, forming)

    status, body = running.get("/api/candles/btc")
    jsonschema.validate(body, frames.CANDLES_SCHEMA)
    assert status == 200 and body["symbol"] == "BTC" and body["interval"] == "1m"
    assert body["candles"] == [json.loads(text) for text in closed]
    assert body["forming"] == json.loads(forming)

    _, body = running.get(f"/api/candles/BTC?limit=2&before={T0 + 3 * MINUTE}")
    assert body["candles"] == [json.loads(text) for text in closed[1:3]]
    _, body = running.get("/api/candles/BTC?interval=1h")
    assert body["candles"] == [] and body["forming"] is None


def test_symbols_are_those_heard_of_and_those_in_redis(running: Running, redis_client: redis.Redis) -> None:
    known(running, redis_client, candle("ETH"))
    redis_client.sadd(keys.SYMBOLS, "OLD")
    status, body = running.get("/api/symbols")
    jsonschema.validate(body, frames.SYMBOLS_SCHEMA)
    assert (status, body) == (200, {"symbols": ["ETH", "OLD"]})


@pytest.mark.parametrize("path", ["/api/candles/NOPE", "/api/candles/a%20b", "/api/candles/%C3%9F"])
def test_candles_of_an_unknown_symbol_are_404(running: Running, path: str) -> None:
    assert running.get(path) == (404, {"error": "unknown symbol"})


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        ("interval=2m", "one of 1s 1m 5m 15m 1h"),
        ("interval=", "one of 1s 1m 5m 15m 1h"),
        ("limit=0", "a whole number from 1 to 1000"),
        ("limit=1001", "a whole number from 1 to 1000"),
        ("limit=-1", "a whole number from 1 to 1000"),
        ("limit=%D9%A1", "a whole number from 1 to 1000"),
        ("limit=1_0", "a whole number from 1 to 1000"),
        ("limit=" + "9" * 5000, "a whole number from 1 to 1000"),
        ("before=x", "a whole number from 0 to 4102444800000"),
        ("before=4102444800001", "a whole number from 0 to 4102444800000"),
    ],
)
def test_parameters_out_of_range_are_422_with_the_allowed_range(
    running: Running, redis_client: redis.Redis, query: str, allowed: str
) -> None:
    known(running, redis_client, candle())
    status, body = running.get(f"/api/candles/BTC?{query}")
    jsonschema.validate(body, frames.OUT_OF_RANGE_SCHEMA)
    assert status == 422
    assert body["allowed"] == allowed and body["parameter"] == query.partition("=")[0]
    assert len(body["value"]) <= 100


def test_metrics_can_be_read_by_prometheus_and_say_what_happened(
    running: Running, redis_client: redis.Redis
) -> None:
    with running.client("ALL") as client:
        read(client)
        publish(redis_client, candle(seq=1), candle("ETH", seq=1))
        read(client), read(client)
        redis_client.publish(keys.UPDATES_CHANNEL, "nonsense")
        wait_until(lambda: running.hub.malformed)
        wait_until(lambda: running.metric("publish_to_send_seconds_count") == 2)
        _, text = running.get("/metrics")

    names = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert {"candlecast_reconnects_total", "candlecast_frames_superseded_total"} <= names
    assert 'candlecast_clients{symbol="ALL"} 1' in text
    assert "candlecast_frames_sent_total 3" in text
    assert "candlecast_messages_total 3" in text
    assert "candlecast_messages_malformed_total 1" in text
    assert "candlecast_clients_plain 0" in text, "uvicorn's transport is reached"
    assert "candlecast_pubsub_active 1" in text


def test_further_clients_cost_no_redis_command(running: Running, redis_client: redis.Redis) -> None:
    known(running, redis_client, candle(seq=1, is_closed=True), candle(seq=2, minute=1))

    def commands() -> dict[str, int]:
        stats = redis_client.info("commandstats")
        return {
            name: one["calls"] for name, one in stats.items() if name not in {"cmdstat_info", "cmdstat_client"}
        }

    before = commands()
    for path in ("BTC", "ALL", "BTC?since=1:2"):
        with running.client(path) as client:
            read(client)
            read(client)
    assert commands() == before
