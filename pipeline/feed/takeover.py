"""Invented prices and real ones never share a Redis: what the first feed left decides.

A real feed that finds a simulated market wipes it: it can be invented again. The job sees another
``keys.INSTANCE`` and begins anew, with empty windows. A simulator that finds real candles refuses:
they cannot be had again.
"""

from __future__ import annotations

import logging
import secrets
import threading
from typing import Any, Final

import redis

from pipeline import keys
from pipeline.errors import SettingsError
from pipeline.feed.patience import FeedStopped, patiently

log = logging.getLogger(__name__)

EXCHANGE_FEED: Final = "exchange"
"""Name of the live feed's position: one for all exchanges, so that it goes on with those it knows."""
IN_FLIGHT_S: Final = 1.0
"""What a running job may take to write what it had read before: it is wiped as well."""


def has_real_candles(client: redis.Redis, stop: threading.Event) -> bool:
    """Whether a live feed has written here."""
    return bool(patiently(lambda: client.exists(keys.feed_position(EXCHANGE_FEED)), stop))


def refuse_to_simulate(client: redis.Redis, stop: threading.Event) -> None:
    """SettingsError where a simulated market would be mixed with real candles."""
    if has_real_candles(client, stop):
        raise SettingsError(
            "FEED=simulator: this Redis holds candles of a real exchange. Give the simulator a folder of "
            "its own: STATE_DIR=simulated"
        )


def wipe_simulated(client: redis.Redis, stop: threading.Event) -> bool:
    """Remove everything that came of a simulated market; whether there was one. FeedStopped."""
    found: Any = patiently(lambda: client.hget(keys.FEED, "simulated"), stop)
    if found != b"1":
        return False
    log.warning("a simulated market was here: it is removed before real trades come")
    instance = secrets.token_hex(8)
    for pause_s in (IN_FLIGHT_S, 0.0):
        patiently(lambda: _wipe(client, instance), stop)
        if stop.wait(pause_s):
            raise FeedStopped
    return True


def _wipe(client: redis.Redis, instance: str) -> None:
    names: list[Any] = list(client.scan_iter("crypto:*", count=1_000))
    with client.pipeline(transaction=True) as transaction:
        if names:
            transaction.unlink(*names)
        transaction.set(keys.INSTANCE, instance)
        # Until the real feed speaks, a page must not take what it still shows for real.
        transaction.hset(keys.FEED, mapping={"source": "", "simulated": 1, "trades": 0, "updated_at_ms": 0})
        transaction.execute()
