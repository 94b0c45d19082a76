"""The Redis that a subcommand looks at: REDIS_URL, or that of the embedded run in STATE_DIR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from pipeline.embedded import url_of
from pipeline.errors import CandlecastError
from pipeline.settings import Settings, without_secret


class NotReachable(CandlecastError):
    """There is no Redis to look at."""


@contextmanager
def connected(settings: Settings) -> Iterator[redis.Redis]:
    """A client that has been answered once. NotReachable."""
    url = url_of(settings)
    with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            hint = "" if settings.redis_url else " Is a run of this STATE_DIR up?"
            raise NotReachable(f"no Redis at {without_secret(url)}: {str(error).rstrip('.')}.{hint}") from None
        yield client
