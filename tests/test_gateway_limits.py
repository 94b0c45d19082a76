"""A test for every limit and door of the gateway, with its close code; nobody else is harmed."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.gateway import Limits, doors
from pipeline.settings import Settings
from tests.candles import candle, publish, wait_until
from tests.gateway_server import Running, closed_with, read, read_until, serve

TOKEN = "correct-horse-battery"


@pytest.fixture
def running(redis_url: str, redis_client: redis.Redis) -> Iterator[Running]:
    publish(redis_client, candle())
    with serve(redis_url) as running:
        yield running


def refused(running: Running, path: str, **options: Any) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as caught, running.client(path, **options):
        pass
    return caught.value


def rejections(running: Running, reason: str) -> float:
    return running.metric(f'rejections_total{{reason="{reason}"}}')


def own(running: Running) -> str:
    return f"http://127.0.0.1:{running.port}"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://[", "file://"])
def test_a_page_of_another_origin_is_answered_403(running: Running, origin: str) -> None:
    error = refused(running, "BTC", origin=origin)
    assert error.response.status_code == 403
    assert rejections(running, "origin") == 1


def test_our_own_pages_and_clients_without_origin_come_in(running: Running) -> None:
    for origin in (own(running), own(running).upper(), None):
        with running.client(origin=origin) as client:
            assert read(client)["type"] == "connection"


def test_allowed_origins_come_in_and_no_others(redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, candle())
    settings = Settings.from_env({"ALLOWED_ORIGINS": "https://Charts.example/, http://two.example:8080"})
    with serve(redis_url, settings) as running:
        for origin in ("https://charts.example", "http://two.example:8080"):
            with running.client(origin=origin) as client:
                assert read(client)["type"] == "connection"
        for origin in ("http://charts.example", "https://charts.example.evil.example", "http://two.example"):
            assert refused(running, "BTC", origin=origin).response.status_code == 403


def test_of_two_origins_both_must_be_allowed() -> None:
    ours, evil = (b"origin", b"http://us:80"), (b"origin", b"http://evil.example")
    for headers, answer in (([ours], True), ([ours, evil], False), ([evil, ours], False)):
        assert doors.origin_allowed(Headers(raw=[(b"host", b"us"), *headers]), ()) is answer


def test_a_frame_over_the_limit_closes_with_1009(running: Running) -> None:
    with running.client() as client:
        client.send('{"type":"ping","pad":"' + "x" * 4_000 + '"}')
        read_until(client, "pong")
        client.send("x" * 4_097)
        assert closed_with(client) == (1009, "more than 4096 bytes in a frame")
    with running.client() as client:
        client.send("\u20ac" * 1_400)  # 4,200 bytes in 1,400 characters
        assert closed_with(client)[0] == 1009
    with running.client() as client:
        client.send(b"x" * 5_000)
        assert closed_with(client)[0] == 1009
    assert rejections(running, "frame too large") == 3


def test_a_frame_of_megabytes_is_cut_off_by_the_parser_with_1009(running: Running) -> None:
    with running.client() as client:
        read(client)
        # The head alone: a message of 1 MB is announced.
        client.socket.sendall(b"\x81\xff" + struct.pack("!Q", 1_000_000) + b"\0\0\0\0")
        assert closed_with(client)[0] == 1009
    wait_until(lambda: rejections(running, "frame too large") == 1)


def test_a_message_in_many_fragments_is_limited_as_a_whole(running: Running) -> None:
    with running.client() as client:
        client.send("x" * 1_000 for _ in range(5))
        assert closed_with(client)[0] == 1009


def test_more_than_ten_messages_a_second_close_with_1008(running: Running) -> None:
    with running.client() as client:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(30):
                client.send('{"type":"ping"}')
        assert closed_with(client) == (1008, "more than 10 messages a second")
    assert rejections(running, "rate") == 1


def test_ten_messages_in_a_second_are_answered(running: Running) -> None:
    with running.client() as client:
        for _ in range(10):
            client.send('{"type":"ping"}')
        for _ in range(10):
            read_until(client, "pong")


@pytest.mark.parametrize("path", ["B%20C", "x" * 21, "%3Cscript%3E", "%C3%9F", "B%0AC", "%00", "%E2%82%BF"])
def test_what_cannot_be_a_symbol_closes_with_1008(running: Running, path: str) -> None:
    with running.client(path) as client:
        code, reason = closed_with(client)
    assert code == 1008 and reason.startswith("symbol must be")


def test_an_unknown_symbol_closes_with_1008_and_its_name(running: Running) -> None:
    with running.client("nope") as client:
        assert closed_with(client) == (1008, "unknown symbol NOPE")
    assert rejections(running, "symbol") == 1
    assert running.gateway.connections == 0


def test_a_symbol_that_redis_knows_is_known_before_it_trades_again(
    running: Running, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle("OLD"), silently=True)
    with running.client("OLD") as client:
        assert read(client)["type"] == "connection"
        frame = read(client)
        assert (frame["type"], frame["data"]["seq"]) == ("initial_data", 1), "read from the cache"
        publish(redis_client, candle("OLD", seq=2))
        assert read(client)["data"]["seq"] == 2


def test_while_redis_cannot_be_asked_an_unknown_symbol_closes_with_1013(tmp_path: Any) -> None:
    with serve(f"unix://{tmp_path}/nothing.sock", connected=False) as running:
        for _ in range(2):
            with running.client("BTC") as client:
                assert closed_with(client) == (1013, "not ready yet, try again later")
        assert running.get("/api/candles/BTC")[0] == 503
        assert running.get("/api/symbols") == (200, {"symbols": []})
        with running.client("ALL") as client:
            assert read(client)["type"] == "connection"


def test_one_client_too_many_closes_with_1013_until_another_leaves(
    redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle())
    with serve(redis_url, Settings(max_clients=2)) as running:
        with running.client(), running.client() as second:
            wait_until(lambda: running.gateway.connections == 2)
            with running.client() as third:
                assert closed_with(third) == (1013, "too many clients, try again later")
            second.close()
            wait_until(lambda: running.gateway.connections == 1)
            with running.client() as third:
                assert read(third)["type"] == "connection"
        assert rejections(running, "full") == 1


def test_without_the_token_4401_and_with_it_by_header_or_subprotocol_in(
    redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle())
    with serve(redis_url, Settings.from_env({"WS_TOKEN": TOKEN})) as running:
        wrong: list[dict[str, Any]] = [
            {},
            {"additional_headers": {"Authorization": f"Bearer {TOKEN}x"}},
            {"additional_headers": {"Authorization": "Bearer \u00e9"}},
            {"subprotocols": ["candlecast", TOKEN[:-1]]},
        ]
        for options in wrong:
            with running.client(**options) as client:
                assert closed_with(client) == (4401, "token missing or wrong")
        with running.client("NOPE") as client:
            assert closed_with(client)[0] == 4401, "a stranger does not learn which symbols there are"
        with running.client(additional_headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            assert read(client)["type"] == "connection"
        with running.client(subprotocols=["candlecast", TOKEN]) as client:
            assert client.subprotocol == "candlecast", "the token is not sent back"
            assert read(client)["type"] == "connection"
        assert rejections(running, "token") == 5


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        ("interval=7m", "one of 1s 1m 5m 15m 1h"),
        ("since=1", "<epoch>:<seq>"),
        ("since=-1:2", "<epoch>:<seq>"),
        ("since=1:" + "9" * 19, "<epoch>:<seq>"),
    ],
)
def test_query_parameters_out_of_range_are_answered_422(running: Running, query: str, allowed: str) -> None:
    error = refused(running, f"BTC?{query}")
    assert error.response.status_code == 422
    assert allowed in (error.response.body or b"").decode()
    assert rejections(running, "parameter") == 1


def test_a_client_that_answers_no_ping_is_closed(redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, candle())
    with (
        serve(redis_url, limits=Limits(ping_s=0.4), ws_ping_interval=300, ws_ping_timeout=300) as running,
        stalled(running) as dead,
        running.client() as alive,
    ):
        received = b""
        dead.settimeout(10)
        while chunk := dead.recv(65_536):
            received += chunk
        assert b"keepalive ping timeout" in received
        wait_until(lambda: running.gateway.connections == 1)
        alive.send('{"type":"ping"}')
        read_until(alive, "pong")


def flood(running: Running, client: redis.Redis, megabytes: int) -> int:
    """Publish so many MB of closed candles; returns the seq of the last."""
    text_bytes = len(candle(is_closed=True, seq=10_000))
    count = megabytes * 1_000_000 // text_bytes
    for first in range(2, count, 500):
        texts = (candle(seq=n, minute=n, is_closed=True) for n in range(first, min(first + 500, count)))
        publish(client, *texts)
    publish(client, candle(seq=count, minute=count, is_closed=True))
    return count


def stalled(running: Running) -> socket.socket:
    """A client that never reads, with small buffers of its own."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(("127.0.0.1", running.port))
    sock.sendall(
        b"GET /ws/prices/BTC HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    wait_until(lambda: running.gateway.connections == 1)
    return sock


def test_a_client_that_never_reads_is_evicted_counted_and_harms_nobody(
    redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle())
    with (
        serve(redis_url, limits=Limits(goodbye_s=0.5)) as running,
        stalled(running),
        running.client(max_queue=None) as reader,
    ):
        read(reader), read(reader)
        last = flood(running, redis_client, 4)
        seqs = [read(reader)["data"]["seq"] for _ in range(2, last + 1)]
        assert seqs == list(range(2, last + 1)), "the one that reads gets every closed candle"
        wait_until(lambda: running.metric("evictions_total") == 1)
        wait_until(lambda: running.gateway.connections == 1)


def test_an_evicted_client_that_reads_on_at_last_is_told_1013(
    redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle())
    with serve(redis_url, limits=Limits(goodbye_s=10)) as running, stalled(running) as sock:
        flood(running, redis_client, 4)
        wait_until(lambda: running.metric("evictions_total") == 1)
        sock.settimeout(10)
        received = b""
        while b"too slow" not in received[-4_000:] and (chunk := sock.recv(65_536)):
            received += chunk
        assert struct.pack("!H", 1013) + b"too slow" in received


def test_one_that_neither_reads_nor_answers_pings_is_let_go_with_all_that_waits_for_it(
    redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle())
    limits = Limits(ping_s=0.4, keepalive_s=1, pending_bytes=1 << 24)
    with serve(redis_url, limits=limits) as running, stalled(running):
        flood(running, redis_client, 1)
        wait_until(lambda: running.gateway.connections == 0)
        wait_until(lambda: not running.server.server_state.connections)
        assert running.metric("evictions_total") == 0


def test_one_that_is_closed_and_never_reads_that_is_let_go(redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, candle())
    with serve(redis_url, limits=Limits(goodbye_s=0.5)) as running, stalled(running) as sock:
        client = next(iter(running.gateway.fan_out._groups["BTC", "1m"]))
        seq = 1
        while not client.transport.get_write_buffer_size():
            publish(redis_client, *(candle(seq=(seq := seq + 1), minute=seq, is_closed=True) for _ in range(9)))
            wait_until(lambda: running.gateway.fan_out.board.known(("BTC", "1m")).position[1] == seq)
        sock.sendall(b"\x81\x80\0\0\0\0" * 11)
        wait_until(lambda: running.gateway.connections == 0)
        assert rejections(running, "rate") == 1
        wait_until(lambda: not running.server.server_state.connections, 5)


def test_a_slow_client_gets_the_newest_revision_and_all_closed_candles(
    redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle())
    limits = Limits(write_buffer_bytes=65_536, pending_bytes=1 << 22)
    with serve(redis_url, limits=limits) as running, stalled(running) as sock:
        seq = flood(running, redis_client, 1)  # fills every buffer on the way
        for _ in range(20):
            publish(redis_client, *(candle(seq=(seq := seq + 1), minute=seq - n) for n in range(1, 51)))
        closed = candle(seq=(seq := seq + 1), minute=seq, is_closed=True)
        publish(redis_client, closed, candle(seq=seq + 1, minute=seq + 1), candle(seq=seq + 2, minute=seq + 1))
        board = running.gateway.fan_out.board
        wait_until(lambda: board.known(("BTC", "1m")).position[1] == seq + 2)
        assert running.metric("frames_superseded_total") > 0

        sock.settimeout(10)
        received = b""
        while f'"seq":{seq + 2},'.encode() not in received and (chunk := sock.recv(65_536)):
            received += chunk
        assert closed.encode() in received
        assert f'"seq":{seq + 1},'.encode() not in received, "overtaken by the next revision"
        assert running.metric("evictions_total") == 0
        assert running.gateway.connections == 1


def test_one_that_only_pings_and_never_reads_cannot_grow_without_end(
    redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle())
    limits = Limits(keepalive_s=0.5, goodbye_s=0.3, pending_bytes=200_000)
    with serve(redis_url, limits=limits) as running, stalled(running) as sock:
        ping = b"\x89\xfd\0\0\0\0" + b"p" * 125  # the server itself answers each with 127 bytes
        sock.settimeout(10)
        with contextlib.suppress(OSError):  # reset or broken pipe: the server has hung up
            for _ in range(40_000):
                sock.sendall(ping * 10)
            pytest.fail("it could go on for ever")
        wait_until(lambda: running.gateway.connections == 0)
        assert running.metric("evictions_total") == 1


class HidesTheServer:
    """Middleware that wraps ``receive``, so that the transport is out of reach."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def wrapped() -> Any:
            return await receive()

        await self.app(scope, wrapped, send)


def test_where_the_transport_is_out_of_reach_the_plain_way_does_the_same(
    redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle())
    with serve(redis_url, middleware=[Middleware(HidesTheServer)]) as running:
        with running.client() as client, running.client("ALL", max_queue=None) as other:
            assert [read(client)["type"] for _ in range(2)] == ["connection", "initial_data"]
            wait_until(lambda: running.metric("clients_plain") == 2)
            publish(redis_client, *(candle(seq=n, minute=n, is_closed=True) for n in range(2, 200)))
            assert [read(client)["data"]["seq"] for _ in range(2, 200)] == list(range(2, 200))
            client.send("x" * 5_000)
            assert closed_with(client)[0] == 1009
            assert read(other)["type"] == "connection"
        wait_until(lambda: running.metric("clients_plain") == 0)
        with running.client("NOPE") as client:
            assert closed_with(client)[0] == 1008


def test_compression_and_direct_frames_go_together(redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, candle())
    with serve(redis_url, ws_per_message_deflate=True) as running, running.client() as client:
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]  # type: ignore[union-attr]
        read(client), read(client)
        publish(redis_client, candle(seq=2))
        assert read(client)["data"]["seq"] == 2
        assert running.metric("clients_plain") == 0


def test_no_limit_leaves_an_error_in_the_log(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        with running.client("NOPE") as client:
            closed_with(client)
        with running.client() as client:
            client.send("x" * 5_000)
            closed_with(client)
        with running.client() as client:
            client.socket.sendall(b"\xff\xff\xff\xff")  # no frame at all
            closed_with(client)
        refused(running, "BTC?interval=x")
        refused(running, "BTC", origin="http://evil.example")
        assert running.get("/api/candles/BTC?limit=x")[0] == 422
        wait_until(lambda: running.gateway.connections == 0)
    assert [record.getMessage() for record in caplog.records] == []
