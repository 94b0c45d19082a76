"""The webhook process: every alert of the stream to a receiver, beside the job, which never waits.

Its position in the stream is kept in Redis and moves on once an alert was taken, or has become a
dead letter. So a process that dies in between sends that alert again, with the same id: each is
delivered at least once.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import redis

from pipeline import keys, wall_clock
from pipeline.alert import Alert
from pipeline.alerts.delivery import Delivery, NotDelivered
from pipeline.errors import InvalidAlert
from pipeline.retry import Backoff, is_outage

log = logging.getLogger(__name__)

DEAD_KEPT: Final = 1_000
_READ_AT_ONCE: Final = 20
_BLOCK_MS: Final = 1_000
"""How long a reading waits for an alert; also how often we say that we live."""

Record = tuple[bytes, dict[bytes, bytes]]


class Webhook:
    """Sends what comes until ``stop`` is set. The caller owns ``client`` and ``delivery``."""

    def __init__(self, client: redis.Redis, delivery: Delivery, stop: threading.Event) -> None:
        self._client: Any = client
        self._delivery = delivery
        self._stop = stop
        self._backoff = Backoff(log, "webhook")

    def run(self) -> None:
        """Blocks. What waiting cannot mend (a wrong password) is raised."""
        while not self._stop.is_set():
            try:
                for record in self._next():
                    if self._stop.is_set():
                        return
                    self._deal_with(record)
                self._backoff.succeeded()
            except redis.RedisError as error:
                if not is_outage(error):
                    raise
                self._stop.wait(self._backoff.failed(error))

    def _next(self) -> list[Record]:
        position = self._client.hget(keys.WEBHOOK, "position") or b"0-0"
        self._note_trimmed(position)
        reply: Any = self._client.xread({keys.ALERTS: position}, _READ_AT_ONCE, _BLOCK_MS)
        self._client.hset(keys.WEBHOOK, "updated_at_ms", wall_clock.now_ms())
        return reply[0][1] if reply else []

    def _note_trimmed(self, position: bytes) -> None:
        """Count it where the stream's cap overtook us; the receiver reads ``/api/alerts`` then."""
        first: list[Record] = self._client.xrange(keys.ALERTS, count=1)
        if position != b"0-0" and first and _order(first[0][0]) > _order(position):
            noted = self._client.hget(keys.WEBHOOK, "overtaken_at")
            if noted != position:
                self._client.hset(keys.WEBHOOK, "overtaken_at", position)
                self._client.hincrby(keys.WEBHOOK, "overtaken", 1)
                log.warning("webhook: alerts between %s and %s are no longer kept", position, first[0][0])

    def _deal_with(self, record: Record) -> None:
        entry_id, fields = record
        body = fields.get(b"alert", b"")
        try:
            alert = Alert.from_json(body)
            self._delivery.post(alert, body)
        except InvalidAlert:
            self._move_on(entry_id, body, "not an alert")
        except NotDelivered as error:
            log.warning("webhook: alert %s is a dead letter: %s", alert.id, error)
            self._move_on(entry_id, body, str(error))
        else:
            self._move_on(entry_id)

    def _move_on(self, entry_id: bytes, body: bytes = b"", reason: str = "") -> None:
        """Count this record and keep it if it is ``dead``, in one transaction with the position.

        Tried until Redis has taken it: else the receiver would get what it has again and again.
        """
        while True:
            try:
                with self._client.pipeline(transaction=True) as transaction:
                    transaction.hset(keys.WEBHOOK, "position", entry_id)
                    transaction.hincrby(keys.WEBHOOK, "dead" if reason else "delivered", 1)
                    if reason:
                        transaction.hset(keys.WEBHOOK, "last_error", reason)
                        dead = {"alert": body, "reason": reason}
                        transaction.xadd(keys.ALERTS_DEAD, dead, maxlen=DEAD_KEPT, approximate=True)
                    transaction.execute()
            except redis.RedisError as error:
                if not is_outage(error):
                    raise
                if self._stop.wait(self._backoff.failed(error)):
                    return  # what comes after us sends it again
            else:
                return


def _order(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)
