"""Which Redis errors pass by themselves, and how long to wait between attempts."""

from __future__ import annotations

import logging
import math
import random
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

import redis

_T = TypeVar("_T")

RETRYABLE: Final = (
    redis.ConnectionError,  # away, restarting, or loading its file
    redis.TimeoutError,
    redis.ReadOnlyError,  # a replica that is about to be promoted
    redis.OutOfMemoryError,  # full: passes when something is trimmed
    redis.exceptions.ExecAbortError,  # one of the above, met inside MULTI
)
"""What a reader meets while Redis is away. A writer asks :func:`is_outage`, which knows more."""
_OUTAGE_WORDS: Final = ("MISCONF", "MASTERDOWN", "NOREPLICAS")  # cannot write its disk, or has no peer

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 1.0
AFTERMATH_S: Final = 5.0
"""So soon after the end of an outage, another failure belongs to it, as far as the log goes."""


def is_outage(error: redis.RedisError) -> bool:
    """Whether waiting can help. A wrong password or a wrong type will not pass by itself."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return False  # both are ConnectionErrors
    return isinstance(error, RETRYABLE) or one_line(error).startswith(_OUTAGE_WORDS)


def one_line(error: redis.RedisError) -> str:
    """The server's words, without the command (and its binary trades) that redis-py may put first."""
    return str(error).rsplit("caused error: ", 1)[-1].partition("\n")[0][:200]


class Backoff:
    """Waits that double up to a cap, with jitter; one log line when trouble starts, one when it ends.

    One a process, that is: who else of it fails in the same outage, or finds its connection broken
    just after it, says nothing.
    """

    _failing: ClassVar[weakref.WeakSet[Backoff]] = weakref.WeakSet()
    _ended_at: ClassVar[float] = -math.inf
    _is_aftermath: ClassVar[bool] = False

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._failures = 0
        self._since = 0.0

    def failed(self, error: redis.RedisError) -> float:
        """Note a failure; seconds to wait before the next attempt."""
        if not self._failures:
            if not self._failing:
                Backoff._is_aftermath = time.monotonic() - self._ended_at < AFTERMATH_S
                if not self._is_aftermath:
                    self._log.warning(
                        "%s: Redis is away or refuses, trying until it answers (%s)",
                        self._what,
                        one_line(error),
                    )
            self._failing.add(self)
            self._since = time.monotonic()
        self._failures += 1
        longest: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._failures - 1, 10))
        return longest * random.uniform(0.5, 1)  # noqa: S311  jitter, no secret

    def succeeded(self) -> None:
        if not self._failures:
            return
        self._failing.discard(self)
        if not self._failing and not self._is_aftermath:
            Backoff._ended_at = time.monotonic()
            self._log.warning(
                "%s: Redis answers again after %.1f s, %d attempts",
                self._what, time.monotonic() - self._since, self._failures,
            )  # fmt: skip
        self._failures = 0


def until_done(attempt: Callable[[], _T], backoff: Backoff, pause: Callable[[float], object]) -> _T:
    """What ``attempt`` returns, however long Redis is away; ``pause`` waits, and may raise to give up.

    Whatever is no outage is raised.
    """
    while True:
        try:
            result = attempt()
        except redis.RedisError as error:
            if not is_outage(error):
                raise
            pause(backoff.failed(error))
        else:
            backoff.succeeded()
            return result


class Connects:
    """Counts the connections a client makes; answers the count when called.

    redis-py connects again on its own when it finds a connection closed, and tells nobody: the
    Redis behind the next answer may be another one. ``check`` is called with each new connection
    before its first use; what it raises, the one who wanted to use the connection gets.
    """

    def __init__(self, client: redis.Redis, check: Callable[[Any], None] = lambda _: None) -> None:
        self._count = 0
        self._check = check
        pool: Any = client.connection_pool
        pool.connection_kwargs["redis_connect_func"] = self._connected

    def __call__(self) -> int:
        return self._count

    def _connected(self, connection: Any) -> None:
        connection.on_connect()
        self._count += 1
        try:
            self._check(connection)
        except BaseException:
            connection.disconnect()  # unchecked, it must not be used
            raise
