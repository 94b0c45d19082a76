"""The feeds there are, each as a call that runs it: what they say of themselves, and in whose place."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import redis

from pipeline import keys
from pipeline.feed.exchange.auto import probe
from pipeline.feed.patience import patiently
from pipeline.feed.replay import ReplayResult, feed_name, replay
from pipeline.feed.simulator import Simulator
from pipeline.feed.stream import TradeWriter
from pipeline.feed.takeover import EXCHANGE_FEED, refuse_to_simulate, wipe_simulated
from pipeline.settings import Settings

log = logging.getLogger(__name__)

FELL_BACK: Final = (
    "No exchange could be reached, showing a simulated market. "
    "Start again to look for one, or name it: FEED=exchange:coinbase"
)

Feed = Callable[[], None]


def simulator_feed(settings: Settings, client: redis.Redis, stop: threading.Event, why: str = "") -> Feed:
    """A simulated market. SettingsError where real candles are."""
    refuse_to_simulate(client, stop)
    invented = (
        f"A simulated market (seed {settings.simulator_seed}): invented prices and spikes, no one's trades"
    )
    writer = TradeWriter(
        client, settings, "simulator", source="simulator", simulated=True, detail=why or invented, stop=stop
    )
    return lambda: Simulator(settings, writer).run()


def replay_feed(settings: Settings, client: redis.Redis, stop: threading.Event, path: Path) -> Feed:
    """Recorded trades of a file."""
    wipe_simulated(client, stop)
    writer = TradeWriter(
        client,
        settings,
        feed_name([path], ()),
        source="replay",
        detail=f"Recorded trades of {path.name}",
        stop=stop,
    )
    return lambda: _log_sums(replay([path], (), settings.replay_speed, writer, is_last=False))


def exchange_feed(
    settings: Settings, client: redis.Redis, stop: threading.Event, exchanges: Sequence[str]
) -> Feed:
    """Live trades. SettingsError names an exchange that there is not."""
    # Imported here: with it comes ccxt, which a simulator has no use for.
    from pipeline.feed.exchange import live  # noqa: PLC0415

    live.check_exchanges(exchanges)
    wipe_simulated(client, stop)
    writer = TradeWriter(
        client, settings, EXCHANGE_FEED, source=",".join(exchanges), detail=live.detail(exchanges), stop=stop
    )
    return lambda: live.LiveFeed(settings, writer, exchanges, client).run()


def auto_feed(settings: Settings, client: redis.Redis, stop: threading.Event) -> Feed:
    """The exchange whose candles are here; or the first that answers; or a simulated market.

    The choice stays for the life of the process.
    """
    before = _exchanges_before(client, stop)
    if before:
        log.info("FEED=auto: going on with %s", ",".join(before))
        return exchange_feed(settings, client, stop, before)
    choice = probe()
    for reason in choice.reasons:
        log.info("FEED=auto: %s", reason)
    if choice.exchange:
        log.info("FEED=auto: %s answers", choice.exchange)
        return exchange_feed(settings, client, stop, [choice.exchange])
    log.warning("FEED=auto: %s", FELL_BACK)
    return simulator_feed(settings, client, stop, FELL_BACK)


def _exchanges_before(client: redis.Redis, stop: threading.Event) -> list[str]:
    """Those whose trades the last live feed wrote here."""
    state: Any = patiently(lambda: client.get(keys.feed_state(EXCHANGE_FEED)), stop)
    return list(dict.fromkeys(market.partition(" ")[0] for market in json.loads(state))) if state else []


def _log_sums(result: ReplayResult) -> None:
    log.info(
        "replay: %d trades, %d duplicates left out, %d rejected %s",
        result.trades,
        result.duplicates,
        sum(result.rejected.values()),
        dict(result.rejected),
    )
