"""Which Redis errors pass by themselves, and how long to wait between attempts."""

from __future__ import annotations

import logging
import random
from typing import Final

import redis

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
LONGEST_WAIT_S: Final = 2.0


def is_outage(error: redis.RedisError) -> bool:
    """Whether waiting can help. A wrong password or a wrong type will not pass by itself."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return False  # both are ConnectionErrors
    return isinstance(error, RETRYABLE) or one_line(error).startswith(_OUTAGE_WORDS)


def one_line(error: redis.RedisError) -> str:
    """The server's words, without the command (and its binary trades) that redis-py may put first."""
    return str(error).rsplit("caused error: ", 1)[-1].partition("\n")[0][:200]


class Backoff:
    """Waits that double up to a cap, with jitter; one log line when trouble starts, one when it ends."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._failures = 0

    def failed(self, error: redis.RedisError) -> float:
        """Note a failure; seconds to wait before the next attempt."""
        if not self._failures:
            self._log.warning(
                "%s: Redis is away, trying again until it is back (%s)", self._what, one_line(error)
            )
        self._failures += 1
        longest: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._failures - 1, 10))
        return longest * random.uniform(0.5, 1)  # noqa: S311  jitter, no secret

    def succeeded(self) -> None:
        if self._failures:
            self._log.warning("%s: Redis is back after %d attempts", self._what, self._failures)
        self._failures = 0
