"""A gateway on a real server, in a thread of the test, so that the test can look inside."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from pipeline.gateway import Gateway, Limits
from pipeline.settings import Settings
from pipeline.subscriber import Hub, Subscriber
from tests.candles import wait_until


@dataclass
class Running:
    """A served gateway; ``port`` on 127.0.0.1."""

    gateway: Gateway
    subscriber: Subscriber
    server: uvicorn.Server
    port: int

    @property
    def hub(self) -> Hub:
        return self.gateway.hub

    @contextmanager
    def client(self, path: str = "BTC", **options: Any) -> Iterator[ClientConnection]:
        """A connected client; ``path`` follows /ws/prices/."""
        with connect(f"ws://127.0.0.1:{self.port}/ws/prices/{path}", **options) as client:
            yield client

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body of a GET; JSON is read."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                status, kind, body = answer.status, answer.headers["content-type"], answer.read()
        except urllib.error.HTTPError as error:
            status, kind, body = error.code, error.headers["content-type"], error.read()
        return status, json.loads(body) if "json" in kind else body.decode()

    def metric(self, name: str) -> float:
        """One line of /metrics by its name and labels; 0 if it is not there."""
        for line in self.get("/metrics")[1].splitlines():
            if line.rpartition(" ")[0] == f"candlecast_{name}":
                return float(line.rpartition(" ")[2])
        return 0


@contextmanager
def serve(
    redis_url: str,
    settings: Settings | None = None,
    limits: Limits | None = None,
    *,
    middleware: Any = (),
    connected: bool = True,
    **options: Any,
) -> Iterator[Running]:
    """A gateway with its hub and subscriber. ``options`` are uvicorn's."""
    hub = Hub()
    subscriber = Subscriber(redis_url, hub)
    gateway = Gateway(hub, redis_url, settings or Settings(), limits)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        await gateway.start()
        yield
        await gateway.stop()

    app = Starlette(routes=gateway.routes, lifespan=lifespan, middleware=middleware)
    sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(app, log_config=None, ws="websockets-sansio", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    subscriber.start()
    try:
        wait_until(lambda: server.started and (hub.connected or not connected))
        yield Running(gateway, subscriber, server, sock.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        subscriber.stop()
        sock.close()


def read(client: ClientConnection, timeout: float = 10) -> dict[str, Any]:
    return json.loads(client.recv(timeout))  # type: ignore[no-any-return]


def read_until(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The next frame of type ``kind``."""
    while (frame := read(client))["type"] != kind:
        pass
    return frame


def closed_with(client: ClientConnection) -> tuple[int | None, str]:
    """Code and reason of the close that follows, whatever comes before it."""
    try:
        while True:
            client.recv(15)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (None, "")
