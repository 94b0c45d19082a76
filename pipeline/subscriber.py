"""Redis Pub/Sub into the hub: one thread, one connection, for as long as it takes.

The thread subscribes first and reads ``latest`` and history after that, so that nothing can fall
between the two; the hub drops what comes twice. It does the same after each reconnect, and for a
single symbol and interval when its ``seq`` shows a hole.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis

from pipeline import keys, wall_clock
from pipeline.errors import InvalidAlert, InvalidCandle
from pipeline.healer import Healer
from pipeline.hub import Gap, Hub
from pipeline.retry import LONGEST_WAIT_S, RETRYABLE, Backoff
from pipeline.store import Store
from pipeline.update import Update, read_alerts, read_updates

__all__ = ["Gap", "Hub", "Subscriber", "Update"]

log = logging.getLogger(__name__)

_QUIET_S: Final = 5.0
"""After so long without a word we ask whether the connection lives, and wait as long again."""
_LOOK_UP_S: Final = 0.2
"""How often a waiting thread looks whether it shall stop."""
_BATCH: Final = 2_000
"""Messages a batch: a flood must not keep the listeners waiting for its end."""
_ALERTS: Final = keys.ALERTS.encode()

Message = tuple[bytes, bytes]
"""(channel, payload)."""


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
            channels = (keys.UPDATES_CHANNEL, keys.ALERTS)
            connection.send_command("SUBSCRIBE", *channels)
            for _ in channels:
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

    def _take(self, messages: Sequence[Message], healer: Healer) -> None:
        if not messages:
            return
        hub = self._hub
        payloads = [payload for channel, payload in messages if channel != _ALERTS]
        alerts = [payload for channel, payload in messages if channel == _ALERTS]
        hub.messages += len(messages)
        hub.last_message_at_ms = wall_clock.now_ms()
        updates = read_updates(payloads, self._malformed)
        following, behind = hub.split(updates)
        hub.apply(following)
        if behind:
            healer.heal(list(dict.fromkeys(update.pair for update in behind)))
            hub.apply(behind)
        if alerts:  # after the candles of this batch: an alert never comes before its own
            hub.apply_alerts(read_alerts(alerts, self._malformed))

    def _malformed(self, error: InvalidCandle | InvalidAlert) -> None:
        hub = self._hub
        hub.malformed += 1
        hub.last_malformed = str(error)
        if hub.malformed & (hub.malformed - 1) == 0:  # 1, 2, 4, 8: a flood of them must not flood the log
            log.warning("%d messages are neither candles nor alerts; newest: %s", hub.malformed, error)


def _drain(connection: Any) -> list[Message]:
    """Every message that has arrived: one wake-up, one batch."""
    messages: list[Message] = []
    can_read: Callable[..., bool] = connection.can_read
    read: Callable[[], list[Any]] = connection.read_response
    while True:
        message = read()
        if len(message) == 3 and message[0] == b"message":
            messages.append((message[1], message[2]))
        if len(messages) >= _BATCH or not can_read(timeout=0):
            return messages
