"""MULTI/EXEC that applies only while a key still holds what we left in it, in one round trip.

Each packet ends with WATCH and GET of the key, so the next transaction is guarded before it is
sent. Through redis-py's pipeline the same guard takes three round trips and four times the CPU of
a live feed, which writes 80 times a second; so this speaks to the connection itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import redis

from pipeline.errors import CandlecastError

Command = Sequence[str | bytes | int]
_UNKNOWN: Final = object()


class PositionMoved(CandlecastError):
    """The position in Redis is not the one we left there: start again from the one found.

    Redis was wiped, has lost its newest writes, or another feed of the same name is writing.
    """


class GuardedTransactions:
    """Compare and set on ``key``, with other commands in the same transaction. Not for two threads.

    Holds one connection of ``client``'s pool; the caller owns ``client``, and closes it.
    """

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._pool = client.connection_pool
        self._key = key
        self._watch: list[Command] = [("WATCH", key), ("GET", key)]
        self._connection: Any = None
        self._found: Any = _UNKNOWN
        self.left: bytes | None = None
        """What the key must hold."""

    def apply(self, commands: Sequence[Command], value: bytes | None = None) -> list[Any] | None:
        """Run ``commands`` in one transaction and, where ``value`` is given, SET the key to it.

        Their replies, or None where the key already holds ``value``: an attempt whose answer was
        lost had been applied. PositionMoved if it holds anything else than :attr:`left`; any
        redis.RedisError means that it may or may not have been applied: call again to know.
        """
        setting: list[Command] = [] if value is None else [("SET", self._key, value)]
        while True:
            if self._found is _UNKNOWN:
                self._exchange(self._watch)
            if self._found != self.left:
                if value is None or self._found != value:
                    raise PositionMoved(f"{self._key} is {self._found!r:.100}, we left {self.left!r:.100}")
                self.left = value
                return None
            replies = self._exchange([("MULTI",), *commands, *setting, ("EXEC",), *self._watch])
            executed = replies[-3]
            if executed is None:
                continue  # the key changed under us: what was found instead says how
            for reply in (*replies[:-3], executed, *(executed if isinstance(executed, list) else ())):
                if isinstance(reply, Exception):
                    raise reply
            if value is not None:
                self.left = value
            return list(executed[: len(commands)])

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send ``commands``, which end with WATCH and GET, and read a reply to each."""
        self._found = _UNKNOWN
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            self._connection.send_packed_command(self._connection.pack_commands(commands))
            replies = [self._reply() for _ in commands]
        except redis.RedisError:
            if self._connection is not None:
                self._connection.disconnect()
                self._pool.release(self._connection)
                self._connection = None
            raise
        for reply in replies[-2:]:
            if isinstance(reply, Exception):
                raise reply
        self._found = replies[-1]
        return replies

    def _reply(self) -> Any:
        """A reply; an error of one command is a value here, for the others' replies follow it."""
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error
