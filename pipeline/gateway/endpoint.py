"""What every WebSocket endpoint does: doors, admission, first frames, listening to the client."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final

import orjson
from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from pipeline.gateway import doors, frames
from pipeline.gateway.client import GONE, Client
from pipeline.gateway.fanout import ALL, note
from pipeline.gateway.wire import NOT_UTF8, accepted, denied, server_of
from pipeline.retry import RETRYABLE

if TYPE_CHECKING:
    from pipeline.gateway.gateway import Gateway

log = logging.getLogger(__name__)

NO_TEXT: Final = 1007
POLICY: Final = 1008
TOO_BIG: Final = 1009
TRY_LATER: Final = 1013
UNAUTHORIZED: Final = 4401


class Refused(Exception):
    """A client may not stay. Its text is for the client to read, ``counted_as`` for the metrics."""

    def __init__(self, code: int, counted_as: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.counted_as = counted_as


class Rate:
    """When a client's last messages came: more than ``per_s`` within any second are too many."""

    __slots__ = ("_per_s", "_times_s")

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._times_s: deque[float] | None = None  # most clients never say anything

    def exceeded(self, now_s: float) -> bool:
        """Note one message; whether it is one too many."""
        times = self._times_s = self._times_s if self._times_s is not None else deque(maxlen=self._per_s)
        too_many = len(times) == self._per_s and now_s - times[0] < 1
        times.append(now_s)
        return too_many


class Endpoint(ABC):
    """An ASGI app, not a function on a WebSocket: ``receive`` must be the server's own (see ``wire``)."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @abstractmethod
    def _channel(self, query: QueryParams) -> str:
        """What the client is sent, besides its symbol: the second half of its group in the fan-out.

        Looks at every parameter: doors.OutOfRange.
        """

    @abstractmethod
    def _asked_symbol(self, ask: WebSocket) -> str:
        """The symbol as the client wrote it."""

    @abstractmethod
    async def _greet(self, client: Client, query: QueryParams) -> None:
        """Send the first frames."""

    async def _prepare(self, symbol: str, channel: str) -> None:  # noqa: ARG002
        """Before a client of one symbol joins; one of ``retry.RETRYABLE``."""
        return  # nothing, where everything is in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ask = WebSocket(scope, receive, send)
        try:
            denial = self._denial(ask)
            if denial is not None:
                await _deny(ask, denial)
                denied(server_of(receive))
            else:
                await self._serve(ask, receive, send)
        except GONE:
            log.debug("a client was gone before it was greeted", exc_info=True)

    def _denial(self, ask: WebSocket) -> Response | None:
        """Answer to a handshake that is not even accepted."""
        if not doors.origin_allowed(ask.headers, self._gateway.settings.allowed_origins):
            self._gateway.metrics.rejections["origin"] += 1
            return PlainTextResponse("Origin not allowed\n", 403)
        try:
            self._channel(ask.query_params)
        except doors.OutOfRange as error:
            self._gateway.metrics.rejections["parameter"] += 1
            return JSONResponse(error.body(), 422)
        return None

    async def _serve(self, ask: WebSocket, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        client = Client(self._channel(ask.query_params), receive, send, gateway.limits, gateway.metrics)
        await receive()  # websocket.connect
        subprotocol = doors.subprotocol_for(ask.scope.get("subprotocols", []))
        await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        accepted(server_of(receive))
        try:
            client.symbol = await self._admit(ask, client.interval)
        except Refused as refused:
            self._refuse(client, refused)
            await self._listen(client, receive)
            return
        gateway.join(client)
        try:
            await self._greet(client, ask.query_params)
            await self._listen(client, receive)
        finally:
            gateway.leave(client)

    async def _admit(self, ask: WebSocket, channel: str) -> str:
        """The symbol that the client may have; Refused if it may not."""
        gateway = self._gateway
        if not doors.token_shown(ask.headers, ask.scope.get("subprotocols", []), gateway.settings.ws_token):
            raise Refused(UNAUTHORIZED, "token", "token missing or wrong")
        symbol = doors.symbol(self._asked_symbol(ask))
        if symbol is None:
            raise Refused(POLICY, "symbol", "symbol must be ALL or 1 to 20 of A-Z 0-9 . _ -")
        try:
            if symbol != ALL and not await gateway.known.has(symbol):
                raise Refused(POLICY, "symbol", f"unknown symbol {symbol}")
            if symbol != ALL:
                await self._prepare(symbol, channel)
        except RETRYABLE:
            raise Refused(TRY_LATER, "not ready", "not ready yet, try again later") from None
        if gateway.connections >= gateway.capacity:
            raise Refused(TRY_LATER, "full", "too many clients, try again later")
        return symbol

    async def _listen(self, client: Client, receive: Receive) -> None:
        """Answer what the client says until it is gone."""
        rate = Rate(self._gateway.limits.inbound_per_s)
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                if message.get("code") == TOO_BIG and not client.closing:  # by the server's parser
                    self._gateway.metrics.rejections["frame too large"] += 1
                return
            if not client.closing:
                try:
                    self._answer(client, message, rate)
                except Refused as refused:
                    self._refuse(client, refused)

    def _answer(self, client: Client, message: Message, rate: Rate) -> None:
        limits = self._gateway.limits
        now_s = time.monotonic()
        if rate.exceeded(now_s):
            raise Refused(POLICY, "rate", f"more than {limits.inbound_per_s} messages a second")
        if NOT_UTF8 in message:
            raise Refused(NO_TEXT, "not utf-8", "text that is not UTF-8")
        text, data = message.get("text"), message.get("bytes")
        payload = text.encode() if text is not None else data or b""
        if len(payload) > limits.inbound_bytes:
            raise Refused(TOO_BIG, "frame too large", f"more than {limits.inbound_bytes} bytes in a frame")
        number = time.monotonic_ns()
        if text is not None and _is_ping(payload):
            client.send([(note("pong", number), frames.pong())])
        else:
            client.send([(note("error", number), frames.error('Only {"type":"ping"} is understood.'))])

    def _refuse(self, client: Client, refused: Refused) -> None:
        self._gateway.metrics.rejections[refused.counted_as] += 1
        client.close(refused.code, str(refused))


async def _deny(ask: WebSocket, response: Response) -> None:
    if "websocket.http.response" in ask.scope.get("extensions", {}):
        await ask.send_denial_response(response)
    else:
        await ask.close()  # before it was accepted: HTTP 403


def _is_ping(payload: bytes) -> bool:
    try:
        frame = orjson.loads(payload)
    except ValueError:
        return False
    return isinstance(frame, dict) and frame.get("type") == "ping"
