"""The load client, a process of its own: ``python -m bench.gateways.clients PORT PATH``.

Reads commands from stdin, one a line, and answers each with a line of JSON on stdout:
``connect N``, ``count`` and ``report`` (latencies since the last report), ``drop``, ``stall`` (one more client,
which never reads). Raw sockets and epoll: ten thousand asyncio clients would take longer to read a
message than the server takes to send it, and the bench would measure itself.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from array import array
from typing import Any

_AT_ONCE = 64
_STAMP = b'"trade_count":'


class Clients:
    """Many WebSocket clients of one path, in one thread."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._rests: dict[int, bytes] = {}
        self._greeting: set[int] = set()
        self._stalled: list[socket.socket] = []
        self._latencies_ns = array("q")
        self._closed = 0

    def serve(self) -> None:
        stdin = sys.stdin.fileno()
        self._epoll.register(stdin, select.EPOLLIN)
        rest = b""
        while True:
            for fd, _ in self._epoll.poll():
                if fd != stdin:
                    self._read(fd)
                    continue
                chunk = sys.stdin.buffer.raw.read(4_096)  # type: ignore[union-attr]
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    print(json.dumps(self._do(*line.decode().split())), flush=True)

    def _do(self, command: str, *arguments: str) -> dict[str, Any]:
        if command == "connect":
            return self._connect(int(arguments[0]))
        if command == "stall":
            self._stalled.append(self._open(receive_buffer=4_096))
            return {}
        if command == "count":
            return {"received": len(self._latencies_ns)}
        if command == "drop":
            return self._drop()
        return self._report()

    def _connect(self, count: int) -> dict[str, Any]:
        began = time.monotonic()
        opened = 0
        while opened < count or self._greeting:
            while opened < count and len(self._greeting) < _AT_ONCE:
                sock = self._open()
                sock.setblocking(False)
                self._sockets[sock.fileno()] = sock
                self._greeting.add(sock.fileno())
                self._epoll.register(sock.fileno(), select.EPOLLIN)
                opened += 1
            for fd, _ in self._epoll.poll(0.1):
                if fd in self._sockets:
                    self._read(fd)
        return {"connected": len(self._sockets), "seconds": time.monotonic() - began}

    def _open(self, receive_buffer: int = 0) -> socket.socket:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(("127.0.0.1", self._port))
        sock.sendall(self._request)
        return sock

    def _drop(self) -> dict[str, Any]:
        dropped = len(self._sockets)
        for sock in [*self._sockets.values(), *self._stalled]:
            sock.close()
        self._sockets.clear()
        self._rests.clear()
        self._stalled.clear()
        return {"dropped": dropped}

    def _report(self) -> dict[str, Any]:
        ordered = sorted(self._latencies_ns)
        self._latencies_ns = array("q")
        report: dict[str, Any] = {"received": len(ordered), "closed": self._closed}
        if ordered:
            for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0)):
                report[name] = ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6
        return report

    def _read(self, fd: int) -> None:
        try:
            data = self._sockets[fd].recv(65_536)
        except OSError:
            data = b""
        now_ns = time.monotonic_ns()
        if not data:
            self._sockets.pop(fd).close()
            self._greeting.discard(fd)
            self._closed += 1
            return
        if fd in self._rests:
            data = self._rests.pop(fd) + data
        if fd in self._greeting:
            _, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rests[fd] = data
                return
            self._greeting.discard(fd)
        rest = self._frames(fd, data, now_ns)
        if rest:
            self._rests[fd] = rest

    def _frames(self, fd: int, data: bytes, now_ns: int) -> bytes:
        """Take whole frames off ``data``; returns what is left."""
        at = 0
        while len(data) - at >= 4:
            length, head = data[at + 1], 2
            if length == 126:
                length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            end = at + head + length
            if end > len(data):
                break
            if data[at] == 0x89:  # a protocol ping
                self._sockets[fd].send(bytes((0x8A, 0x80 | length)) + b"\0\0\0\0" + data[at + head : end])
            elif b"price_update" in data[at + head : at + head + 40]:
                stamp = data.index(_STAMP, at) + len(_STAMP)
                self._latencies_ns.append(now_ns - int(data[stamp : data.index(b",", stamp)]))
            at = end
        return data[at:]


if __name__ == "__main__":
    Clients(int(sys.argv[1]), sys.argv[2]).serve()
