"""Waiting for Redis: what an outage is, and how a feed sits it out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

import redis

from pipeline.retry import is_outage, one_line

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
