"""Reads one shard's stream, poll by poll, and notices when Redis is not as it was left.

A Redis that comes back may be another one, a wiped one, one that has trimmed what we had not read,
or one that has lost writes it had confirmed. So what is found is looked at after every connect,
before anything that was read counts, and each poll also reads the word that names the database.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis

from pipeline import keys, wall_clock
from pipeline.arrivals import Position
from pipeline.intake import Batch, Intake, RawEntry
from pipeline.past import BEGINNING, EVERY_S, Past, order
from pipeline.retry import Backoff, is_outage

log = logging.getLogger(__name__)

MAX_ENTRIES = 200
"""Entries a poll reads at most: up to 100,000 trades, 4 MB; some 10 ms of folding."""


class ShardReader:
    """One shard's position and what its polling needs between two polls.

    ``connects`` counts the connections that ``client`` has made. ``past`` may hold states of earlier
    positions; the reader keeps it up to date. ``max_entries``: what the feed trims the stream to.
    """

    def __init__(
        self,
        client: redis.Redis,
        connects: Callable[[], int],
        intake: Intake,
        shard: int,
        position: Position,
        past: Past,
        max_entries: int,
    ) -> None:
        self.position = position
        self.past = past
        self.next_poll_ms = 0
        self._client: Any = client
        self._connects = connects
        self._max_entries = max_entries
        self._intake = intake
        self._shard = shard
        self._stream = keys.trades_stream(shard)
        self._backoff = Backoff(log, f"shard {shard}: reading trades")
        self._checked = -1
        self._is_first_check = True
        self._behind = True
        self._flushed = True
        self._rewind_to: str | None = None
        self._kept_at = time.monotonic()

    def poll(self, block_ms: int) -> Batch | None:
        """Read what there is, waiting up to ``block_ms``. None if there was nothing, or if Redis is away."""
        try:
            raw_entries = self._read(block_ms)
        except redis.RedisError as error:
            if not is_outage(error):
                raise
            self._checked = -1
            self.next_poll_ms = wall_clock.now_ms() + int(1_000 * self._backoff.failed(error))
            return None
        self._backoff.succeeded()
        self.next_poll_ms = 0
        if not raw_entries and self._flushed and self._rewind_to is None:
            return None
        # The first empty poll after trades is passed on: it tells the next operator to publish
        # whatever forming candles it was holding back.
        self._flushed = not raw_entries
        self._behind = len(raw_entries) == MAX_ENTRIES
        batch = self._intake.take(self.position, raw_entries, self._behind)
        return replace(batch, rewind_to=self._taken_rewind(), keep=self._keep())

    def _taken_rewind(self) -> str | None:
        rewind_to, self._rewind_to = self._rewind_to, None
        return rewind_to

    def _keep(self) -> bool:
        """Whether this batch's end is one of the places that we and the roll-up can return to."""
        if time.monotonic() - self._kept_at < EVERY_S or self.position.entry_id == BEGINNING:
            return False
        self._kept_at = time.monotonic()
        self.past.keep(self.position.entry_id, pickle.dumps(self.position))
        return True

    def _read(self, block_ms: int) -> list[RawEntry]:
        while True:
            if self._checked != self._connects() and not self._check():
                return []
            position = self.position.entry_id
            with self._client.pipeline(transaction=False) as looks:
                looks.get(keys.INSTANCE)
                looks.xrange(self._stream, position, position, count=1)
                looks.xread({self._stream: position}, MAX_ENTRIES, block_ms)
                instance, ours, reply = looks.execute()
            if self._connects() != self._checked:
                continue  # read over a connection that nobody has looked at: it does not count
            if (instance or b"").decode() != self.position.instance:
                self._checked = -1  # wiped under a living connection
                if not instance:
                    return []
                continue
            if reply and not ours:
                # Also where we seemed to keep up: a process may stand still between two polls.
                self._check_trimmed()
            return reply[0][1] if reply else []

    def _check(self) -> bool:
        """Hold what Redis has against our position. False while nothing was ever written there."""
        position = self.position
        with self._client.pipeline(transaction=False) as looks:
            looks.get(keys.INSTANCE)
            looks.hget(keys.progress(self._shard), "position")
            looks.xrange(self._stream, position.entry_id, position.entry_id, count=1)
            # "(0-0" is an error to Redis: nothing can come before it.
            before = BEGINNING if position.entry_id == BEGINNING else f"({position.entry_id}"
            looks.xrevrange(self._stream, before, "-", count=1)
            looks.xlen(self._stream)
            instance, written, ours, older, entries = looks.execute()
        if not instance:
            return False
        self._checked = self._connects()
        is_first, self._is_first_check = self._is_first_check, False
        self._behind = True
        if position.instance and position.instance != instance.decode():
            log.warning("%s: this is another, or a wiped, Redis: folding from its beginning", self._stream)
            self.past = Past()
            self._go_to(Position(rewound=position.rewound))
        elif position.entry_id != BEGINNING:
            survived = _newest_that_survived(position.entry_id, ours, older, written, is_first)
            if order(survived) < order(position.entry_id):
                self._return_to(survived)
        if self.position.entry_id == BEGINNING and written:
            self._begin_again(written.decode(), is_trimmed=entries >= self._max_entries)
        self.position.instance = instance.decode()
        return True

    def _begin_again(self, folded: str, is_trimmed: bool) -> None:
        """An earlier life had folded up to entry ``folded``, and has left no checkpoint."""
        if not is_trimmed:
            log.warning("%s: no checkpoint: reading all of it again", self._stream)
            return
        # What is cut must not replace what was whole.
        self.position.begins_cut = True
        log.warning(
            "%s: no checkpoint, and the stream was trimmed: reading again what is left of it; candles that "
            "began before stay as they were written", self._stream,
        )  # fmt: skip
        first = self._client.xrange(self._stream, count=1)
        if first and order(first[0][0].decode()) > order(folded):
            self.position.lost += 1
            log.warning(
                "%s: trades between entries %s and %s are lost", self._stream, folded, first[0][0].decode()
            )

    def _return_to(self, survived: str) -> None:
        entry_id, saved = self.past.back_to(survived)
        log.warning(
            "%s: Redis has lost what came after entry %s, which it had confirmed: folding again from entry %s",
            self._stream, survived, entry_id,
        )  # fmt: skip
        before: Position = pickle.loads(saved) if saved else Position()  # noqa: S301  our own checkpoint
        before.rewound = self.position.rewound + 1
        self._go_to(before)

    def _go_to(self, position: Position) -> None:
        self.position = position
        self._rewind_to = position.entry_id
        self._flushed = False

    def _check_trimmed(self) -> None:
        """Count it where entries were trimmed from the stream before we read them."""
        if self.position.entry_id == BEGINNING:
            return
        first = self._client.xrange(self._stream, count=1)
        if first and order(first[0][0].decode()) > order(self.position.entry_id):
            # Our own entry is gone; what stood between it and the first one left, nobody knows.
            self.position.lost += 1
            log.warning(
                "%s: trimmed past our position %s: trades up to entry %s are lost",
                self._stream, self.position.entry_id, first[0][0].decode(),
            )  # fmt: skip


def _newest_that_survived(
    entry_id: str, ours: list[Any], older: list[Any], written: bytes | None, is_first: bool
) -> str:
    """Id of the newest entry, up to ours, that Redis still has with all that was made of it.

    If ours is gone and older ones are there, then it was not trimmed: Redis came back without it.
    ``written`` is how far the candles in Redis go. At a start they must go as far as ``entry_id``,
    or Flink would not have completed the checkpoint; later the writer may be behind by what is on
    its way to it.
    """
    is_lost = not ours and bool(older)
    if not is_lost and not is_first:
        return entry_id
    survived = older[0][0].decode() if is_lost else entry_id
    return min(survived, written.decode() if written else BEGINNING, key=order)
