"""The contract of ``/ws/alerts`` and ``/api/alerts``, over a real server, by a client that is not ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
import redis
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pipeline import keys
from pipeline.alert import Alert, AlertType, Severity
from pipeline.gateway import Limits, frames
from pipeline.settings import Settings
from tests.alerts import alert, publish_alerts
from tests.candles import MINUTE, T0, candle, publish, wait_until
from tests.gateway_server import Running, closed_with, read, read_until, serve

TOKEN = "correct-horse-battery"


@pytest.fixture
def running(redis_url: str) -> Iterator[Running]:
    with serve(redis_url) as running:
        yield running


@contextmanager
def listening(running: Running, query: str = "", **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{running.port}/ws/alerts{query}", **options) as client:
        yield client


def valid(frame: dict[str, Any]) -> dict[str, Any]:
    """``frame``, if the schema written down for its type allows it."""
    jsonschema.validate(frame, frames.ALERT_FRAME_SCHEMAS[frame["type"]])
    return frame


def known(running: Running, client: redis.Redis, *alerts: Alert) -> None:
    """Publish ``alerts`` and wait until the gateway has passed the last of them on."""
    publish_alerts(client, *alerts)
    wait_until(lambda: alerts[-1] in running.gateway.fan_out.board.alerts())


def told(frame: dict[str, Any]) -> list[str]:
    return [one["id"] for one in frame["data"]]


def test_a_client_is_greeted_given_what_has_fired_and_then_each_alert(
    running: Running, redis_client: redis.Redis
) -> None:
    known(running, redis_client, alert(), alert("ETH", minute=1))
    with listening(running) as client:
        hello = valid(read(client))
        assert (hello["type"], hello["symbol"], hello["severity"]) == ("connection", "ALL", "LOW")
        assert hello["mode"] == "event_driven_pubsub"
        first = valid(read(client))
        assert first["type"] == "initial_data" and first["symbol"] == "ALL"
        assert first["data"] == [json.loads(alert("ETH", minute=1).to_json()), json.loads(alert().to_json())]

        publish_alerts(redis_client, alert(minute=2))
        text = client.recv(10)
    frame = valid(json.loads(text))
    assert (frame["type"], frame["symbol"]) == ("alert", "BTC")
    assert alert(minute=2).to_json() in str(text), "the alert is passed on digit by digit"
    exact = json.loads(text, parse_float=Decimal)["data"]["open_price"]
    assert exact == Decimal("100.000000000100000001")


def test_initial_data_is_there_and_empty_where_nothing_has_fired(running: Running) -> None:
    with listening(running) as client:
        assert valid(read(client))["type"] == "connection"
        assert valid(read(client))["data"] == []


def test_initial_data_holds_the_newest_fifty_that_the_client_asked_for(
    running: Running, redis_client: redis.Redis
) -> None:
    alerts = [
        alert(symbol, minute=n, severity=severity)
        for n in range(60)
        for symbol, severity in (("BTC", Severity.HIGH), ("ETH", Severity.LOW))
    ]
    known(running, redis_client, *alerts)
    for query, wanted in (
        ("", alerts),
        ("?symbol=btc", [one for one in alerts if one.symbol == "BTC"]),
        ("?severity=medium", [one for one in alerts if one.severity is Severity.HIGH]),
        ("?symbol=ETH&severity=HIGH", []),
    ):
        with listening(running, query) as client:
            valid(read(client))
            assert told(valid(read(client))) == [one.id for one in wanted[::-1][:50]]


@pytest.mark.parametrize(
    ("query", "heard"),
    [
        ("?severity=LOW", ["BTC LOW", "BTC MEDIUM", "BTC HIGH", "ETH HIGH"]),
        ("?severity=MEDIUM", ["BTC MEDIUM", "BTC HIGH", "ETH HIGH"]),
        ("?severity=high", ["BTC HIGH", "ETH HIGH"]),
        ("?symbol=BTC&severity=MEDIUM", ["BTC MEDIUM", "BTC HIGH"]),
        ("?symbol=all", ["BTC LOW", "BTC MEDIUM", "BTC HIGH", "ETH HIGH"]),
    ],
)
def test_a_client_hears_of_its_symbol_and_of_its_severity_and_above(
    running: Running, redis_client: redis.Redis, query: str, heard: list[str]
) -> None:
    redis_client.sadd(keys.SYMBOLS, "BTC", "ETH")
    with listening(running, query) as client:
        read(client), read(client)
        publish_alerts(
            redis_client,
            *(alert(minute=n, severity=severity) for n, severity in enumerate(Severity)),
            alert("ETH", severity=Severity.HIGH),
        )
        found = [valid(read(client)) for _ in heard]
        assert [f"{frame['symbol']} {frame['data']['severity']}" for frame in found] == heard
        client.send('{"type":"ping"}')
        assert read(client)["type"] == "pong", "and of nothing else"


def test_alerts_and_prices_do_not_mix_and_an_alert_follows_its_candle(
    running: Running, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle(seq=1))
    wait_until(lambda: running.hub.latest("BTC", "1m"))
    with listening(running) as alerts, running.client("BTC") as prices:
        for client in (alerts, prices):
            read(client), read(client)
        publish_alerts(redis_client, alert())
        publish(redis_client, candle(seq=2, is_closed=True))
        assert read(alerts)["type"] == "alert"
        assert read(prices)["type"] == "price_update"
        for client in (alerts, prices):
            client.send('{"type":"ping"}')
            assert read(client)["type"] == "pong"


def test_no_alert_comes_twice_or_is_left_out_for_who_joins_while_they_fire(
    running: Running, redis_client: redis.Redis
) -> None:
    alerts = [alert(minute=n) for n in range(40)]
    for number, one in enumerate(alerts):
        publish_alerts(redis_client, one)
        with listening(running) as client:
            read(client)
            found = told(read(client))[::-1]
            if one.id not in found:
                found.append(read(client)["data"]["id"])
            assert found == [known.id for known in alerts[: number + 1]]


def test_ping_is_answered_nonsense_too_and_keepalives_come(redis_url: str) -> None:
    with serve(redis_url, limits=Limits(keepalive_s=0.3)) as running, listening(running) as client:
        client.send('{"type":"ping"}')
        assert valid(read_until(client, "pong"))
        client.send("{")
        assert valid(read_until(client, "error"))["message"] == 'Only {"type":"ping"} is understood.'
        assert valid(read_until(client, "keepalive"))["timestamp"] > T0


def test_alert_clients_are_counted_among_the_clients_and_return_to_zero(
    running: Running, redis_client: redis.Redis
) -> None:
    redis_client.sadd(keys.SYMBOLS, "BTC")
    with listening(running), listening(running, "?symbol=BTC"):
        wait_until(lambda: running.gateway.connections == 2)
        _, stats = running.get("/ws/stats")
        jsonschema.validate(stats, frames.STATS_SCHEMA)
        assert stats["connections_by_symbol"] == {"ALL": 1, "BTC": 1}
    wait_until(lambda: running.get("/ws/stats")[1]["total_connections"] == 0)


def refused(running: Running, query: str = "", **options: Any) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as caught, listening(running, query, **options):
        pass
    return caught.value


def test_a_page_of_another_origin_is_answered_403(running: Running) -> None:
    assert refused(running, origin="http://evil.example").response.status_code == 403
    with listening(running, origin=f"http://127.0.0.1:{running.port}") as client:
        assert read(client)["type"] == "connection"


@pytest.mark.parametrize("severity", ["", "URGENT", "3", "LOW,HIGH", "%00"])
def test_a_severity_that_there_is_not_is_answered_422_with_those_that_there_are(
    running: Running, severity: str
) -> None:
    error = refused(running, f"?severity={severity}")
    assert error.response.status_code == 422
    body = json.loads(error.response.body or b"")
    jsonschema.validate(body, frames.OUT_OF_RANGE_SCHEMA)
    assert (body["parameter"], body["allowed"]) == ("severity", "one of LOW MEDIUM HIGH")


@pytest.mark.parametrize("symbol", ["NOPE", "", "B%20C", "x" * 21, "%3Cscript%3E", "%C3%9F", "%00"])
def test_a_symbol_that_nobody_knows_or_that_cannot_be_closes_with_1008(running: Running, symbol: str) -> None:
    with listening(running, f"?symbol={symbol}") as client:
        code, reason = closed_with(client)
    assert code == 1008 and "symbol" in reason
    assert running.gateway.connections == 0


def test_without_the_token_4401_and_with_it_in(redis_url: str) -> None:
    with serve(redis_url, Settings.from_env({"WS_TOKEN": TOKEN})) as running:
        with listening(running) as client:
            assert closed_with(client) == (4401, "token missing or wrong")
        with listening(running, subprotocols=["candlecast", TOKEN]) as client:
            assert client.subprotocol == "candlecast"
            assert read(client)["type"] == "connection"


def test_too_many_messages_and_frames_that_are_too_large_are_closed_as_on_the_other_socket(
    running: Running,
) -> None:
    with listening(running) as client:
        for _ in range(11):
            client.send('{"type":"ping"}')
        assert closed_with(client) == (1008, "more than 10 messages a second")
    with listening(running) as client:
        client.send("x" * 4_097)
        assert closed_with(client)[0] == 1009


def test_one_client_too_many_closes_with_1013_whichever_socket_it_asks_for(redis_url: str) -> None:
    with serve(redis_url, Settings(max_clients=1)) as running, listening(running):
        wait_until(lambda: running.gateway.connections == 1)
        for path in ("/ws/alerts", "/ws/prices/ALL"):
            with connect(f"ws://127.0.0.1:{running.port}{path}") as client:
                assert closed_with(client)[0] == 1013


class TestApi:
    @pytest.fixture
    def alerts(self, running: Running, redis_client: redis.Redis) -> list[Alert]:
        types = list(AlertType)
        alerts = [alert("BTC" if n % 2 else "ETH", n, alert_type=types[n % len(types)]) for n in range(12)]
        known(running, redis_client, *alerts)
        return alerts

    def get(self, running: Running, query: str = "") -> list[Alert]:
        status, body = running.get(f"/api/alerts{query}")
        assert status == 200
        jsonschema.validate(body, frames.ALERTS_SCHEMA)
        return [Alert.from_json(json.dumps(one)) for one in body["alerts"]]

    def ids(self, running: Running, query: str = "") -> list[str]:
        return [one.id for one in self.get(running, query)]

    def test_newest_first_filtered_by_symbol_type_time_and_number(
        self, running: Running, alerts: list[Alert]
    ) -> None:
        newest = alerts[::-1]
        since = T0 + 6 * MINUTE
        for query, wanted in (
            ("", newest),
            ("?limit=3", newest[:3]),
            ("?symbol=btc", [one for one in newest if one.symbol == "BTC"]),
            ("?symbol=ALL&type=stale", [one for one in newest if one.alert_type is AlertType.STALE]),
            (f"?since={since}", [one for one in newest if one.triggered_at_ms >= since]),
            (f"?since={since}&symbol=ETH&limit=1", [o for o in newest if o.symbol == "ETH"][:1]),
            ("?type=BREAKOUT&symbol=ETH", []),
        ):
            assert self.ids(running, query) == [one.id for one in wanted], query

    def test_the_numbers_are_the_digits_that_redis_keeps(self, running: Running, alerts: list[Alert]) -> None:
        text = running.get("/api/alerts?limit=1")[1]
        assert text["alerts"][0] == json.loads(alerts[-1].to_json())

    def test_it_reaches_further_back_than_one_reading(
        self, running: Running, redis_client: redis.Redis
    ) -> None:
        publish_alerts(redis_client, alert("OLD"), silently=True)
        publish_alerts(redis_client, *(alert(minute=n) for n in range(1_100)), silently=True)
        assert self.ids(running, "?symbol=OLD") == [alert("OLD").id]
        assert len(self.ids(running, "?limit=1000")) == 1_000
        assert len(self.ids(running)) == 500

    def test_what_is_no_alert_in_the_stream_is_left_out(
        self, running: Running, redis_client: redis.Redis, alerts: list[Alert]
    ) -> None:
        redis_client.xadd(keys.ALERTS, {"alert": '{"id":"<script>"}'})
        redis_client.xadd(keys.ALERTS, {"other": "x"})
        assert len(self.ids(running)) == len(alerts)

    @pytest.mark.parametrize(
        ("query", "parameter", "allowed"),
        [
            ("type=RUMOUR", "type", "one of PRICE_SPIKE PRICE_DROP VOLUME_SURGE BREAKOUT VOLATILITY STALE"),
            ("since=x", "since", "a whole number from 0 to 4102444800000"),
            ("since=-1", "since", "a whole number from 0 to 4102444800000"),
            ("limit=0", "limit", "a whole number from 1 to 1000"),
            ("limit=1001", "limit", "a whole number from 1 to 1000"),
        ],
    )
    def test_parameters_out_of_range_are_422_with_the_allowed_range(
        self, running: Running, query: str, parameter: str, allowed: str
    ) -> None:
        status, body = running.get(f"/api/alerts?{query}")
        jsonschema.validate(body, frames.OUT_OF_RANGE_SCHEMA)
        assert (status, body["parameter"], body["allowed"]) == (422, parameter, allowed)

    @pytest.mark.parametrize("symbol", ["NOPE", "a%20b", "%C3%9F"])
    def test_an_unknown_symbol_is_404(self, running: Running, symbol: str) -> None:
        assert running.get(f"/api/alerts?symbol={symbol}") == (404, {"error": "unknown symbol"})

    def test_while_redis_is_away_503(self, tmp_path: Any) -> None:
        with serve(f"unix://{tmp_path}/nothing.sock", connected=False) as running:
            assert running.get("/api/alerts")[0] == 503
            with listening(running) as client:
                assert read(client)["type"] == "connection"
