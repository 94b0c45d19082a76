"""A real HTTP server on the loopback interface that takes webhooks, and misbehaves as it is told."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float


@dataclass(frozen=True)
class Answer:
    """What to say to one request; ``hang_up``: nothing."""

    status: int = 204
    headers: tuple[tuple[str, str], ...] = ()
    after_s: float = 0.0
    hang_up: bool = False


class Receiver:
    """Answers from ``script``, one request each, and with ``then`` when that is used up."""

    def __init__(self, *script: Answer, then: Answer | None = None, port: int = 0) -> None:
        self.received: list[Received] = []
        self.script = deque(script)
        self.then = then or Answer()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self._take))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/t0ken-of-the-path?key=t0ken-of-the-query"

    @property
    def ids(self) -> list[str]:
        return [one.headers["webhook-id"] for one in self.received]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, body, time.monotonic()))
        answer = self.script.popleft() if self.script else self.then
        time.sleep(answer.after_s)
        if answer.hang_up:
            request.close_connection = True
            return
        request.send_response(answer.status)
        for name, value in (*answer.headers, ("content-length", "0")):
            request.send_header(name, value)
        request.end_headers()


def _handler(take: Callable[[BaseHTTPRequestHandler], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            take(self)

        def do_GET(self) -> None:
            take(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
