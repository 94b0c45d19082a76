"""Redis Pub/Sub into the hub: one thread, one connection, for as long as it takes.

The thread subscribes first and reads ``latest`` and history after that, so that nothing can fall
between the two; the hub drops what comes twice. It does the same after each reconnect, and for a
single symbol and interval when its ``seq`` shows a hole.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
import redis

from pipeline import keys
from pipeline.errors import InvalidCandle, InvalidTrade
from pipeline.hub import NOWHERE, Gap, Hub, Known, Pair, Update
from pipeline.market import INTERVALS, check_symbol
from pipeline.retry import LONGEST_WAIT_S, RETRYABLE, Backoff
from pipeline.store import Store

__all__ = ["Gap", "Hub", "Subscriber", "Update", "read_update"]

log = logging.getLogger(__name__)

HEAL_LIMIT: Final = 1_000
"""Closed candles a symbol and interval that are sent on after a hole: a client can take them at
once. Whoever missed more is told so, and reads ``/api/candles``."""

_QUIET_S: Final = 5.0
"""After so long without a word we ask whether the connection lives, and wait as long again."""
_LOOK_UP_S: Final = 0.2
"""How often a waiting thread looks whether it shall stop."""
_BATCH: Final = 2_000
"""Messages a batch: a flood must not keep the listeners waiting for its end."""
_NAMES: Final = frozenset(interval.value for interval in INTERVALS)


class Subscriber:
    """Owns the thread and its connections. ``start`` and ``stop`` once each."""

    def __init__(self, redis_url: str, hub: Hub) -> None:
        self._url = redis_url
        self._hub = hub
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="subscriber", daemon=True)
        self._instance: str | None = None
        self._was_connected = False
        self._backoff = Backoff(log, "subscribing")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; returns when it is gone."""
        self._stopping.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self) -> None:
        client = redis.Redis.from_url(self._url, socket_connect_timeout=2, socket_timeout=5)
        try:
            while not self._stopping.is_set():
                try:
                    self._subscribe_and_read(client)
                except RETRYABLE as error:
                    self._hub.connected = False
                    self._stopping.wait(self._backoff.failed(error))
                except redis.RedisError:
                    # Not a matter of time but of someone: no permission, a key of the wrong type. We
                    # go on trying, loudly, so that it works again as soon as that is mended.
                    self._hub.connected = False
                    log.exception("subscribing failed; trying again in %.0f s", LONGEST_WAIT_S)
                    self._stopping.wait(LONGEST_WAIT_S)
        finally:
            self._hub.connected = False
            client.close()

    def _subscribe_and_read(self, client: redis.Redis) -> None:
        connection: Any = client.connection_pool.make_connection()
        try:
            connection.connect()
            connection.send_command("SUBSCRIBE", keys.UPDATES_CHANNEL)
            connection.read_response()
            healer = Healer(Store(client), self._hub)
            self._instance = healer.heal_all(self._instance)
            self._hub.connected = True
            self._hub.reconnects += self._was_connected
            self._was_connected = True
            self._backoff.succeeded()
            self._read(connection, healer)
        finally:
            self._hub.connected = False
            connection.disconnect()

    def _read(self, connection: Any, healer: Healer) -> None:
        heard_at = time.monotonic()
        asked = False
        while not self._stopping.is_set():
            if connection.can_read(timeout=_LOOK_UP_S):
                self._take(_drain(connection), healer)
                heard_at, asked = time.monotonic(), False
            elif asked and time.monotonic() - heard_at > 2 * _QUIET_S:
                raise redis.ConnectionError(f"no answer in {_QUIET_S:.0f} s")
            elif not asked and time.monotonic() - heard_at > _QUIET_S:
                connection.send_command("PING")
                asked = True

    def _take(self, payloads: Sequence[bytes], healer: Healer) -> None:
        if not payloads:
            return
        hub = self._hub
        hub.messages += len(payloads)
        hub.last_message_at_ms = time.time_ns() // 1_000_000
        updates = read_updates(payloads, self._malformed)
        following, behind = hub.split(updates)
        hub.apply(following)
        if behind:
            healer.heal(list(dict.fromkeys(update.pair for update in behind)))
            hub.apply(behind)

    def _malformed(self, error: InvalidCandle) -> None:
        hub = self._hub
        hub.malformed += 1
        hub.last_malformed = str(error)
        if hub.malformed & (hub.malformed - 1) == 0:  # 1, 2, 4, 8: a flood of them must not flood the log
            log.warning(
                "%d messages on %s are no candles; newest: %s", hub.malformed, keys.UPDATES_CHANNEL, error
            )


class Healer:
    """Fills the hub with what was missed, from ``latest`` and history."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub

    def heal_all(self, instance: str | None) -> str | None:
        """Heal every symbol. ``instance`` is the database of the last time; returns the one of now."""
        now = self._store.instance()
        if instance is not None and now != instance:
            log.warning("another or a wiped Redis answers: starting afresh")
            self._hub.clear()
        for symbol in self._store.symbols():
            self.heal([(symbol, interval.value) for interval in INTERVALS])
            self._hub.apply(read_updates([text.encode() for text in self._store.latest_of([symbol])]))
        return now

    def heal(self, pairs: Sequence[Pair]) -> None:
        """Apply the closed candles of ``pairs`` that are newer than what is known; report what is gone."""
        hub = self._hub
        wanted = [(*pair, _from_ms(hub, pair)) for pair in pairs]
        for pair, found in zip(pairs, self._store.histories_from(wanted, HEAL_LIMIT + 2), strict=True):
            self._heal_one(pair, read_updates([text.encode() for text in found]))

    def _heal_one(self, pair: Pair, found: list[Update]) -> None:
        hub, known = self._hub, self._hub.known(pair)
        if known.position != NOWHERE and not reaches_back(found, known):
            hub.report([Gap(*pair, known.position)])
            # What is left has holes before it: only the newest is of use. Readers fetch the rest.
            newest = self._store.histories_from([(*pair, -1)], 1)[0]
            found = read_updates([text.encode() for text in newest])
        hub.apply(sorted(found, key=lambda update: update.position))


def reaches_back(found: Sequence[Update], known: Known) -> bool:
    """Whether ``found``, oldest first, holds every candle that closed after what is known.

    History is trimmed from its old end: as long as the newest candle that is known is still there,
    everything after it is too. ``found`` was read from there on, at most HEAL_LIMIT + 2.
    """
    known_itself = 1 if known.closed_ms >= 0 else 0
    if len(found) - known_itself > HEAL_LIMIT:
        return False
    if known.closed_ms >= 0:
        return bool(found) and found[0].open_time_ms == known.closed_ms
    # No candle had closed yet: nothing is missing if history begins with the one that was forming.
    return not found or known.latest is None or found[0].open_time_ms <= known.latest.open_time_ms


def _from_ms(hub: Hub, pair: Pair) -> int:
    """Where to read from: the newest closed candle that is known; all if none; -1 at first sight."""
    known = hub.known(pair)
    return -1 if known.position == NOWHERE else max(0, known.closed_ms)


def _drain(connection: Any) -> list[bytes]:
    """Every message that has arrived: one wake-up, one batch."""
    payloads: list[bytes] = []
    can_read: Callable[..., bool] = connection.can_read
    read: Callable[[], list[Any]] = connection.read_response
    while True:
        message = read()
        if len(message) == 3 and message[0] == b"message":
            payloads.append(message[2])
        if len(payloads) >= _BATCH or not can_read(timeout=0):
            return payloads


def read_updates(
    payloads: Sequence[bytes], malformed: Callable[[InvalidCandle], None] | None = None
) -> list[Update]:
    """Updates of ``payloads``; those that are none go to ``malformed``, or into the log."""
    updates = []
    for payload in payloads:
        try:
            updates.append(read_update(payload))
        except InvalidCandle as error:
            if malformed:
                malformed(error)
            else:
                log.warning("left out of what Redis keeps: %s", error)
    return updates


def read_update(payload: bytes) -> Update:
    """Read candle JSON for its envelope; InvalidCandle if it is not one.

    The numbers of the candle are not looked at: the payload goes on as it is, exact.
    """
    try:
        fields = orjson.loads(payload)
        update = Update(
            fields["symbol"],
            fields["interval"],
            fields["open_time_ms"],
            fields["is_closed"],
            fields["epoch"],
            fields["seq"],
            fields["published_at_ms"],
            payload.decode(),
        )
    except (KeyError, TypeError, ValueError) as error:  # ValueError: not JSON, or not UTF-8
        raise InvalidCandle(f"not a candle ({error!r}): {payload!r:.200}") from None
    _check(update)
    return update


def _check(update: Update) -> None:
    """The payload goes to browsers inside our frames: nothing in it may be other than it seems."""
    symbol, interval, open_time_ms, is_closed, epoch, seq, published_at_ms, payload = update
    if not (
        all(type(number) is int for number in (open_time_ms, epoch, seq, published_at_ms))
        and type(is_closed) is bool
        and type(interval) is type(symbol) is str
        and interval in _NAMES
        and _is_symbol(symbol)
    ):
        raise InvalidCandle(f"not a candle (a field has the wrong type or value): {payload!r:.200}")


@functools.lru_cache(maxsize=10_000)
def _is_symbol(text: str) -> bool:
    try:
        return bool(check_symbol(text))
    except InvalidTrade:
        return False
