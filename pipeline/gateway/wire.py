"""How a frame gets out of the server: straight into the transport where we can reach it.

``await send(...)`` costs an ASGI message, a walk through the middleware, and an encoding of the
frame for each client. A frame to ten thousand clients is the same bytes ten thousand times, so
uvicorn's transport gets them as they are. Other servers, and middleware that hides the server,
get the plain way: the same frames, by ``send``.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import weakref
from typing import Any, Final

from starlette.types import Receive

from pipeline.gateway.limits import Limits

_REACHABLE: Final = "uvicorn.protocols.websockets."
_FINAL_TEXT: Final = 0x81
NOT_UTF8: Final = "not_utf8"
"""Key in a received message: it was text that is none."""


class Frame:
    """One text message: its payload, and the same as bytes on the wire."""

    __slots__ = ("payload", "wire")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.wire = _header(len(payload)) + payload

    @property
    def text(self) -> str:
        return self.payload.decode()


def _header(length: int) -> bytes:
    """Head of an unmasked, unfragmented text message (RFC 6455, 5.2).

    It also fits a connection with compression: there each message says whether it is compressed.
    """
    if length < 126:
        return bytes((_FINAL_TEXT, length))
    if length < 1 << 16:
        return bytes((_FINAL_TEXT, 126)) + length.to_bytes(2, "big")
    return bytes((_FINAL_TEXT, 127)) + length.to_bytes(8, "big")


def server_of(receive: Receive) -> Any | None:
    """The server's object for this connection, if it is one we know; ``receive`` is its method.

    Middleware wraps ``send``, hardly ever ``receive``.
    """
    server = getattr(receive, "__self__", None)
    return server if type(server).__module__.startswith(_REACHABLE) else None


def transport_of(server: Any | None) -> asyncio.Transport | None:
    """Its transport, if it has what we need of one."""
    transport = getattr(server, "transport", None)
    needed = ("write", "is_closing", "get_write_buffer_size", "abort")
    return transport if all(hasattr(transport, name) for name in needed) else None


def tighten(server: Any | None, limits: Limits) -> None:
    """Set our limits on this connection, before it is accepted.

    Mounted in Streamlit we share a server whose own suit its uploads: 200 MB a frame, a ping in 30 s.
    """
    if server is None:
        return
    if hasattr(server, "ping_interval") and hasattr(server, "ping_timeout"):
        server.ping_interval = server.ping_timeout = limits.ping_s
    parser: Any = getattr(server, "conn", None)
    if hasattr(parser, "max_message_size"):
        parser.max_message_size = limits.inbound_hard_bytes
    if all(
        hasattr(server, name) for name in ("send_receive_event_to_app", "curr_msg_data_type", "frames", "queue")
    ):
        server.send_receive_event_to_app = functools.partial(_deliver, weakref.ref(server))
    transport = transport_of(server)
    sock = transport.get_extra_info("socket") if transport else None
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.socket_buffer_bytes)


def denied(server: Any | None) -> None:
    """Tell uvicorn that the handshake is over: after a denial by a response it logs an error otherwise."""
    if hasattr(server, "handshake_complete"):
        server.handshake_complete = True  # type: ignore[union-attr]


def accepted(server: Any | None) -> None:
    """Let go of the handshake, which uvicorn keeps for as long as the connection: 3 KB a client."""
    for name in ("request", "response"):
        if hasattr(server, name):
            setattr(server, name, None)


def _deliver(reference: weakref.ref[Any]) -> None:
    """Hand a message to the app; in place of uvicorn's own, which any stranger can make log tracebacks.

    It logs one for text that is not UTF-8, and fails with another if the close frame follows at once.
    """
    server = reference()
    if server is None:
        return
    if server.curr_msg_data_type == "text":
        try:
            b"".join(server.frames).decode()
        except UnicodeDecodeError:
            server.frames = []
            server.queue.put_nowait({"type": "websocket.receive", NOT_UTF8: True})
            return
    type(server).send_receive_event_to_app(server)
