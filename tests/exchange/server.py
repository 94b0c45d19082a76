"""A loopback server that stands for the exchanges: ``EXCHANGE_RELAY`` points the real client at it.

It says only what a test lets happen. :meth:`Exchange.happen` makes trades: they are listed by REST
from then on, and, unless the test says otherwise, sent to whoever has subscribed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


class RawTrade(NamedTuple):
    """A trade as the exchange has it: prices and sizes as its own text, ``side`` the taker's."""

    market: str
    id: int
    time_ms: int
    price: str
    size: str
    side: str
    frame: str
    """What the exchange sent of it."""


class Exchange:
    """One exchange. Subclasses know its protocol; tests turn its hooks."""

    hosts: Sequence[str] = ()
    """Of REST and WebSocket."""

    def __init__(self) -> None:
        self.listed: dict[str, list[RawTrade]] = {}
        """What has happened, by market, oldest first."""
        self.connections = 0
        """Accepted so far."""
        self.requests: list[str] = []
        self.refuses = False
        """Nobody gets in any more, nor an answer."""
        self.hides: set[int] = set()
        """Ids that REST does not list."""
        self.forgets_before_ms = 0
        """REST lists nothing older."""
        self.is_mute = False
        """Accepts and answers pings, but sends no trade."""
        self.candles: dict[tuple[str, str], list[list[Any]]] = {}
        """By market and interval in seconds: open time in ms, open, high, low, close, volume."""
        self._sockets: dict[WebSocket, set[str]] = {}
        self._now_ms = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---- the test's side

    def happen(self, trades: Iterable[RawTrade], *, heard: bool = True) -> None:
        """Let ``trades`` happen; unless ``heard`` is False, subscribers are told, in this order."""
        trades = list(trades)
        for trade in trades:
            self.listed.setdefault(trade.market, []).append(trade)
            self._now_ms = max(self._now_ms, trade.time_ms)
        for have in self.listed.values():
            have.sort(key=lambda trade: trade.id)
        if heard:
            self.send(trade for trade in trades)

    def send(self, trades: Iterable[RawTrade]) -> None:
        """Tell subscribers of ``trades``, whether they happened or not."""
        frames = list(dict.fromkeys((trade.market, trade.frame) for trade in trades))
        self._call(self._send(frames))

    def send_raw(self, frame: str, times: int = 1) -> None:
        """Send ``frame`` to whoever listens, ``times`` times in a row."""
        self._call(
            self._send(
                [(market, frame) for markets in self._sockets.values() for market in markets][:1] * times
            )
        )

    def drop(self) -> None:
        """End every connection."""
        self._call(self._drop())

    def subscribed(self) -> set[str]:
        """Markets that somebody listens to now."""
        return set().union(*self._sockets.values()) if self._sockets else set()

    def now_ms(self) -> int:
        """The exchange's clock: it stands still between trades."""
        return self._now_ms

    # ---- the wire's side

    def listing(self, market: str) -> list[RawTrade]:
        """What REST knows of ``market``, oldest first."""
        have = self.listed.get(market, [])
        return [one for one in have if one.id not in self.hides and one.time_ms >= self.forgets_before_ms]

    def answer(self, path: str, query: dict[str, str]) -> Any:
        """The JSON of a GET; None where there is no such thing."""
        raise NotImplementedError

    def subscription(self, message: Any) -> tuple[set[str], list[str]]:
        """Markets that a client's message asks for, and what the exchange says to it."""
        raise NotImplementedError

    async def serve(self, socket: WebSocket) -> None:
        self._loop = asyncio.get_running_loop()
        if self.refuses:
            await socket.close(1013)
            return
        await socket.accept()
        self.connections += 1
        self._sockets[socket] = set()
        try:
            while True:
                markets, replies = self.subscription(orjson.loads(await socket.receive_text()))
                for reply in replies:
                    await socket.send_text(reply)
                self._sockets[socket] |= markets
        except WebSocketDisconnect:
            pass
        finally:
            self._sockets.pop(socket, None)

    async def _send(self, frames: Sequence[tuple[str, str]]) -> None:
        if self.is_mute:
            return
        for socket, markets in list(self._sockets.items()):
            # One that has just gone is still in the list for a moment.
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                for market, frame in frames:
                    if market in markets:
                        await socket.send_text(frame)

    async def _drop(self) -> None:
        for socket in list(self._sockets):
            with contextlib.suppress(RuntimeError):
                await socket.close(1001)
        self._sockets.clear()

    def _call(self, work: Any) -> None:
        if self._loop is None:
            work.close()
            return
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class Relay:
    """Serves ``exchanges`` at :attr:`url`. A context manager."""

    def __init__(self, *exchanges: Exchange) -> None:
        self._by_host = {host: exchange for exchange in exchanges for host in exchange.hosts}
        app = Starlette(
            routes=[WebSocketRoute("/{path:path}", self._socket), Route("/{path:path}", self._request)]
        )
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="error", ws="websockets-sansio", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="relay", daemon=True)

    @property
    def url(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def now_ms(self) -> int:
        """The newest of the exchanges' clocks; ours, where nothing has happened."""
        return max(exchange.now_ms() for exchange in self._by_host.values()) or time.time_ns() // 1_000_000

    def __enter__(self) -> Relay:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the relay did not start"
            threading.Event().wait(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def _find(self, path: str) -> tuple[Exchange | None, str]:
        host, _, rest = path.lstrip("/").partition("/")
        return self._by_host.get(host), f"/{rest}"

    async def _request(self, request: Request) -> Response:
        exchange, path = self._find(request.url.path)
        if exchange is None or exchange.refuses:
            return Response("nobody is here", 503)
        exchange.requests.append(path)
        found = await asyncio.to_thread(exchange.answer, path, dict(request.query_params))
        if found is None:
            return Response('{"message":"NotFound"}', 404, media_type="application/json")
        body = found if isinstance(found, bytes) else orjson.dumps(found)
        return Response(body, media_type="application/json")

    async def _socket(self, socket: WebSocket) -> None:
        exchange, _ = self._find(socket.url.path)
        if exchange is None:
            await socket.close(1013)
            return
        await exchange.serve(socket)
