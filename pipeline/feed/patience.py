"""Waiting for Redis: what an outage is, and how a feed sits it out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

import redis

log = logging.getLogger(__name__)
_T = TypeVar("_T")

FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 1.0


class FeedStopped(Exception):
    """The feed was asked to stop while it waited for Redis or for the job."""


def patiently(call: Callable[[], _T], stop: threading.Event) -> _T:
    """What ``call`` returns, however long Redis is away; FeedStopped once ``stop`` is set meanwhile.

    One log line at the start of an outage and one at its end.
    """
    pause, away_since = FIRST_RETRY_S, 0.0
    while True:
        try:
            result = call()
        except redis.RedisError as error:
            if not is_outage(error):
                raise
            if not away_since:
                away_since = time.monotonic()
                log.warning("Redis takes no trades, trying until it does: %s", one_line(error))
            if stop.wait(pause):
                raise FeedStopped from None
            pause = min(2 * pause, LAST_RETRY_S)
        else:
            if away_since:
                log.warning("Redis takes trades again after %.1f s", time.monotonic() - away_since)
            return result


def is_outage(error: redis.RedisError) -> bool:
    """Whether waiting can help: Redis is down, loading, full, read-only, or cannot write its disk."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return False  # both are ConnectionErrors, and no waiting changes a password
    outages = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError)
    return isinstance(error, outages) or one_line(error).startswith(("MISCONF", "MASTERDOWN", "NOREPLICAS"))


def one_line(error: redis.RedisError) -> str:
    """The server's words, without the command (and its binary trades) that redis-py may put first."""
    return str(error).rsplit("caused error: ", 1)[-1].partition("\n")[0][:200]
