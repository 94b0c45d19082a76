"""One WebSocket connection: straight to the transport while it reads, slots while it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from starlette.types import Receive, Send

from pipeline.gateway.limits import Limits
from pipeline.gateway.metrics import Metrics
from pipeline.gateway.slots import Slot, Slots
from pipeline.gateway.wire import Frame, server_of, tighten, transport_of

TOO_SLOW: Final = 1013
Sending = Sequence[tuple[Slot, Frame]]

# What a server raises on `send` when its client is gone: uvicorn ClientDisconnected (an OSError),
# or RuntimeError where it has sent the close frame itself.
GONE: Final = (OSError, RuntimeError)


class Client:
    """Lives in the event loop's thread. The endpoint that made it calls :meth:`leave` at its end."""

    __slots__ = (
        "_limits", "_metrics", "_pending", "_pending_bytes", "_send", "_task",
        "closing", "interval", "symbol", "transport",
    )  # fmt: skip

    def __init__(self, interval: str, receive: Receive, send: Send, limits: Limits, metrics: Metrics) -> None:
        self.symbol = ""  # until it is admitted
        self.interval = interval
        self.closing = False
        self._send = send
        self._limits = limits
        self._metrics = metrics
        self._pending: Slots[Frame] | None = None
        self._pending_bytes = 0
        self._task: asyncio.Task[None] | None = None
        server = server_of(receive)
        tighten(server, limits)
        self.transport = transport_of(server)

    def write(self, wire: bytes) -> bool:
        """Straight to the transport; False, and nothing done, where it must wait its turn."""
        transport = self.transport
        if (
            transport is None
            or self._pending is not None
            or self.closing
            or transport.is_closing()
            or transport.get_write_buffer_size() > self._limits.write_buffer_bytes
        ):
            return False
        transport.write(wire)
        return True

    def send(self, frames: Sending) -> None:
        """Send now if the client reads, else as soon as it does."""
        if self.write(b"".join([frame.wire for _, frame in frames])):
            self._metrics.frames_sent += len(frames)
        else:
            self.keep(frames)

    def keep(self, frames: Sending) -> None:
        """Let ``frames`` wait in their slots; close the client when too much waits."""
        if self.closing:
            return
        if self._pending is None:
            self._pending = Slots()
            self._task = asyncio.create_task(self._drain())
        for slot, frame in frames:
            superseded = self._pending.put(slot, frame)
            self._metrics.frames_superseded += len(superseded)
            self._pending_bytes += len(frame.payload) - sum(len(old.payload) for old in superseded)
        if self._pending_bytes > self._limits.pending_bytes:
            self._metrics.evictions += 1
            self.close(TOO_SLOW, "too slow: more waited than is kept")

    def hold(self) -> None:
        """Let everything wait until :meth:`release`."""
        self._pending = Slots()

    def release(self, first: Sending) -> None:
        """Send ``first``, then what has gathered since :meth:`hold`."""
        gathered = self._pending.take() if self._pending else []
        self._pending, self._pending_bytes = None, 0
        self.send([*first, *gathered])

    def close(self, code: int, reason: str) -> None:
        """Say goodbye, once; the server ends the connection, and we do if the client does not listen."""
        if self.closing:
            return
        self.closing = True
        self._forget()
        self._task = asyncio.create_task(self._say_goodbye(code, reason))

    def check(self) -> None:
        """Now and then: end what the server has given up but cannot end, for the client never reads.

        A server's ``close`` waits until everything is written, which may be never.
        """
        transport = self.transport
        if transport is None:
            return
        if transport.is_closing():
            transport.abort()
        elif transport.get_write_buffer_size() > self._limits.pending_bytes:
            self._metrics.evictions += 1
            self.close(TOO_SLOW, "too slow: more waited than is kept")

    def leave(self) -> None:
        """The connection is gone."""
        self.closing = True
        self._forget()

    def _forget(self) -> None:
        self._pending, self._pending_bytes = None, 0
        if self._task:
            self._task.cancel()
            self._task = None

    async def _drain(self) -> None:
        """By the server's own `send`, which waits while the transport is full."""
        try:
            while self._pending:
                frame = self._pending.pop()
                self._pending_bytes -= len(frame.payload)
                await self._send({"type": "websocket.send", "text": frame.text})
                self._metrics.frames_sent += 1
        except GONE:
            return  # the endpoint hears of it from `receive`
        self._pending = self._task = None

    async def _say_goodbye(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(self._limits.goodbye_s):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            if self.transport:
                self.transport.abort()
        except GONE:
            pass
        else:
            if self.transport:
                # The close frame may lie in a buffer that nobody empties.
                asyncio.get_running_loop().call_later(self._limits.goodbye_s, self.transport.abort)
