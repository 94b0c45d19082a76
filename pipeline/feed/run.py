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
from pipeline.feed.patience import FeedStopped
from pipeline.feed.replay import ReplayResult, feed_name, replay
from pipeline.feed.simulator import Simulator
from pipeline.feed.stream import TradeWriter
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
    if settings.feed == "simulator":
        writer = TradeWriter(
            client,
            settings,
            "simulator",
            source="simulator",
            simulated=True,
            detail=f"A simulated market (seed {settings.simulator_seed}): invented prices and spikes, "
            "no one's trades",
            stop=stop,
        )
        return lambda: Simulator(settings, writer).run()
    kind, _, file = settings.feed.partition(":")
    if kind != "replay":
        raise SettingsError(f"FEED={settings.feed!r}: no such feed")
    paths = [Path(file)]
    writer = TradeWriter(
        client,
        settings,
        feed_name(paths, ()),
        source="replay",
        detail=f"Recorded trades of {paths[0].name}",
        stop=stop,
    )
    return lambda: _log_sums(replay(paths, (), settings.replay_speed, writer, is_last=False))


def _log_sums(result: ReplayResult) -> None:
    log.info(
        "replay: %d trades, %d duplicates left out, %d rejected %s",
        result.trades,
        result.duplicates,
        sum(result.rejected.values()),
        dict(result.rejected),
    )
