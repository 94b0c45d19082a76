"""Whatever comes in: the server never dies, never logs a traceback, and goes on serving the others."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.candles import candle, publish, wait_until
from tests.gateway_server import Running, closed_with, read, serve

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Errors(logging.Handler):
    """Keeps what must not be logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or (record.exc_info and record.levelno > logging.DEBUG):
            self.texts.append(self.format(record))


@pytest.fixture(scope="module")
def running(redis_socket: Path) -> Iterator[Running]:
    """One server for the whole fuzzing: it must live through all of it."""
    url = f"unix://{redis_socket}?db=3"
    publish(redis.Redis.from_url(url), candle())
    errors = Errors()
    logging.getLogger().addHandler(errors)
    with serve(url) as running:
        yield running
        wait_until(lambda: running.gateway.connections == 0)
        assert serves(running)
    logging.getLogger().removeHandler(errors)
    assert errors.texts == []


def serves(running: Running) -> bool:
    with running.client() as client:
        return read(client)["type"] == "connection" and read(client)["data"]["symbol"] == "BTC"


@FUZZ
@given(st.lists(st.one_of(st.text(max_size=200), st.binary(max_size=200)), max_size=8))
def test_any_messages_are_answered_or_close_the_connection(
    running: Running, messages: list[str | bytes]
) -> None:
    with running.client() as client:
        read(client), read(client)
        for message in messages:
            client.send(message)
            assert read(client)["type"] in {"error", "pong"}
    assert serves(running)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@FUZZ
@given(json_values | st.fixed_dictionaries({"type": json_values}))
def test_any_json_is_answered(running: Running, value: object) -> None:
    with running.client() as client:
        read(client), read(client)
        client.send(json.dumps(value))
        is_ping = isinstance(value, dict) and value.get("type") == "ping"
        assert read(client)["type"] == ("pong" if is_ping else "error")


@FUZZ
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_in_place_of_frames_close_only_that_connection(running: Running, data: bytes) -> None:
    with running.client() as client:
        read(client), read(client)
        client.socket.sendall(data)
        with contextlib.suppress(OSError):
            client.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(EOFError, TimeoutError):
            closed_with(client)
    assert serves(running)


raw_frames = st.builds(
    lambda head, payload: bytes((head, 0x80 | len(payload))) + b"\0\0\0\0" + payload,
    st.integers(0, 255) | st.sampled_from([0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8A]),
    st.binary(max_size=125),
)


@FUZZ
@given(st.lists(raw_frames, min_size=1, max_size=5))
def test_any_frames_of_any_kind_close_only_that_connection(running: Running, raw: list[bytes]) -> None:
    with running.client() as client:
        read(client), read(client)
        client.socket.sendall(b"".join(raw))
        with contextlib.suppress(OSError):
            client.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(EOFError, TimeoutError):
            closed_with(client)
    assert serves(running)


def test_text_that_is_no_utf8_closes_with_1007(running: Running) -> None:
    with running.client() as client:
        read(client), read(client)
        client.socket.sendall(b"\x81\x82\0\0\0\0\xc3\x28")
        assert closed_with(client)[0] == 1007


@FUZZ
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_path_and_query_is_refused_with_a_code(running: Running, symbol: str, query: str) -> None:
    path = f"{quote(symbol, safe='')}?{quote(query, safe='=&')}"
    try:
        with running.client(path) as client:
            answer: object = json.loads(client.recv(10))["type"]
    except ConnectionClosed as closed:
        answer = closed.rcvd.code if closed.rcvd else None
    except InvalidStatus as refused:
        answer = refused.response.status_code
    assert answer in {"connection", 1008, 403, 404, 422}


@FUZZ
@given(
    st.sampled_from(["interval", "limit", "before", "since", "x"]),
    st.text(alphabet=st.characters(codec="utf-8"), max_size=30),
)
def test_any_parameter_is_answered_200_or_422_with_json(running: Running, name: str, value: str) -> None:
    status, body = running.get(f"/api/candles/BTC?{name}={quote(value)}")
    assert status in {200, 422}
    assert isinstance(body, dict)


@FUZZ
@given(st.binary(max_size=200))
def test_any_handshake_leaves_the_server_alive(running: Running, junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as sock:
        sock.sendall(b"GET /ws/prices/" + junk.replace(b"\n", b"") + b" HTTP/1.1\r\n" + junk + b"\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(10)
        with contextlib.suppress(OSError):
            while sock.recv(65_536):
                pass
    assert serves(running)


def test_clients_that_vanish_at_any_point_leave_nothing_behind(running: Running) -> None:
    request = (
        b"GET /ws/prices/BTC?since=1:0 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    for cut in range(1, len(request) + 1, 3):
        with socket.create_connection(("127.0.0.1", running.port)) as sock:
            sock.sendall(request[:cut])
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", running.port)) as sock:
            sock.sendall(request + os.urandom(7))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, no goodbye
    wait_until(lambda: running.gateway.connections == 0)
    assert serves(running)
