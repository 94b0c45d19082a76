"""Waiting for Redis: how a feed sits an outage out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from pipeline.retry import Backoff, until_done

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class FeedStopped(Exception):
    """The feed was asked to stop while it waited for Redis or for the job."""


def patiently(call: Callable[[], _T], stop: threading.Event) -> _T:
    """What ``call`` returns, however long Redis is away; FeedStopped once ``stop`` is set meanwhile.

    One log line at the start of an outage and one at its end.
    """

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise FeedStopped from None

    return until_done(call, Backoff(log, "writing trades"), pause)
