"""The feed process: ``python -m pipeline feed``."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import redis

from pipeline.errors import SettingsError
from pipeline.feed.chosen import check_feed
from pipeline.feed.feeds import auto_feed, exchange_feed, replay_feed, simulator_feed
from pipeline.feed.patience import FeedStopped
from pipeline.feed.transaction import PositionMoved
from pipeline.settings import Settings

log = logging.getLogger(__name__)

ANSWER_WITHIN_S = 5.0
"""A Redis that says nothing for so long counts as away; its transaction is looked up afterwards."""


def run(settings: Settings) -> None:
    """Run the feed that ``settings.feed`` names until SIGTERM or SIGINT, or until it has ended.

    A transaction in progress is finished first. Call from the main thread.
    """
    if settings.redis_url is None:
        raise SettingsError("REDIS_URL is not set: the feed needs a Redis to write to")
    check_feed(settings.feed)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with redis.Redis.from_url(
        settings.redis_url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S
    ) as client:
        feed = _feed(settings, client, stop)
        with contextlib.suppress(FeedStopped):
            _keep_running(feed, stop)
    log.info("feed %s: stopped", settings.feed)


def _keep_running(feed: Callable[[], None], stop: threading.Event) -> None:
    while True:
        try:
            return feed()
        except PositionMoved as moved:
            log.warning("%s: starting again from there. Redis was wiped, or another feed writes", moved)
            if stop.wait(1.0):
                return None


def _feed(settings: Settings, client: redis.Redis, stop: threading.Event) -> Callable[[], None]:
    kind, _, rest = settings.feed.partition(":")
    match kind:
        case "auto":
            return auto_feed(settings, client, stop)
        case "exchange":
            return exchange_feed(settings, client, stop, rest.split(","))
        case "replay":
            return replay_feed(settings, client, stop, Path(rest))
        case "simulator":
            return simulator_feed(settings, client, stop)
    raise SettingsError(f"FEED={settings.feed!r}: no such feed")
