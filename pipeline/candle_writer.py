"""Writes candles into Redis: one MULTI/EXEC for each list, safe to repeat.

Every command sets an absolute value, or removes what it is about to write, or is left out when
the progress hash shows that it was done before. So a list that is written twice, after a crash
or a lost connection, leaves the same data as one that was written once; only the revisions on
``crypto:updates`` are heard twice, with an epoch and seq that tell.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import redis

from pipeline import keys, wall_clock
from pipeline.alerts import writer as alert_writer
from pipeline.errors import CandlecastError
from pipeline.intake import Batch
from pipeline.market import Interval
from pipeline.past import order
from pipeline.retry import Backoff, Connects, until_done
from pipeline.revisions import Encoded, Numbering, Revisions

log = logging.getLogger(__name__)

LATEST_TTL_S: Final = 3_600
"""A `latest` that nobody renewed for an hour is no longer news."""
CAPPED_STREAM: Final = 10_000
"""Records kept of the late and of the rejected, to look at; their counts are never capped."""
CANDLES_A_TRANSACTION: Final = 2_000
"""Redis serves nobody else during an EXEC: at about 10 µs a candle, that is 20 ms."""


class LostWrites(CandlecastError):
    """Redis came back without candles that it had confirmed: the job must go on from its checkpoint."""


@dataclass(slots=True)
class _Life:
    """What one shard's writing goes by since we began, or since Redis was away."""

    epoch: int
    written: tuple[int, int]
    """The entry up to which an earlier life has published; forming candles before it are old news."""
    noted: tuple[int, int] | None
    """The entry up to which late and rejected records are written. None: Redis must be asked again."""


class CandleWriter:
    """Writes lists of revisions, each under the ``epoch`` of its shard's life.

    The caller owns ``client``, and gives it to nobody else.
    """

    def __init__(self, client: redis.Redis, history_limit: int) -> None:
        self._client = client
        self._history_limit = history_limit
        self._numbering = Numbering()
        self._lives: dict[int, _Life] = {}
        self._confirmed: dict[int, str] = {}
        self._newest_ms: dict[str, int] = {}
        self._unlisted: set[str] = set()
        self._backoff = Backoff(log, "writing candles")
        Connects(client, self._check)

    def write(self, revisions: Revisions) -> None:
        """Write all of ``revisions``; waits for as long as Redis is away. LostWrites."""
        batch = revisions.batch
        if batch.rewind_to is not None:
            self._forget(batch.shard)
        if batch.shard not in self._lives:
            self._until_done(lambda: self._begin(batch.shard))
        life = self._lives[batch.shard]
        now_ms = wall_clock.now_ms()
        # Where an earlier life has published newer forming candles than these, only the closed ones count.
        is_old_news = order(batch.entry_id) <= life.written
        candles = list(self._numbering.encoded(revisions, life.epoch, now_ms, only_closed=is_old_news))
        self._until_done(lambda: self._know({candle.symbol for candle in candles}))
        parts = [candles[i : i + CANDLES_A_TRANSACTION] for i in range(0, len(candles), CANDLES_A_TRANSACTION)]
        for part in parts[:-1]:
            self._until_done(partial(self._execute, part, None, life, now_ms))
        last = parts[-1] if parts else []
        self._until_done(lambda: self._execute(last, revisions, life, now_ms))
        self._confirmed[batch.shard] = batch.entry_id

    def _until_done(self, attempt: Callable[[], None]) -> None:
        until_done(attempt, self._backoff, self._pause)

    def _pause(self, seconds: float) -> None:
        # The attempt that failed may have been applied, or may still be.
        for life in self._lives.values():
            life.noted = None
        time.sleep(seconds)

    def _check(self, connection: Any) -> None:
        """See to it that a new connection leads to a Redis that holds all it has confirmed."""
        for shard, confirmed in self._confirmed.items():
            connection.send_command("HGET", keys.progress(shard), "position")
            found = connection.read_response()
            if found is None or order(found.decode()) < order(confirmed):
                raise LostWrites(f"{keys.progress(shard)}: Redis has confirmed {confirmed}, and has {found!r}")

    def _forget(self, shard: int) -> None:
        self._lives.pop(shard, None)
        self._confirmed.pop(shard, None)
        self._newest_ms.clear()

    def _begin(self, shard: int) -> None:
        found = cast("list[Any]", self._client.hmget(keys.progress(shard), ["position", "epoch", "noted"]))
        position, epoch, noted = found
        # Clocks may go back; epochs may not: readers would take what is new for what is old.
        life_epoch = max(wall_clock.now_ms(), int(epoch or 0) + 1)
        self._lives[shard] = _Life(life_epoch, _order(position), _order(noted))

    def _know(self, symbols: set[str]) -> None:
        """Learn which minute is `latest` of symbols that are new to us: it must not go back."""
        new = sorted(symbols - self._newest_ms.keys())
        if new:
            found = cast("list[Any]", self._client.mget([keys.latest(symbol) for symbol in new]))
            self._unlisted.update(new)
            for symbol, text in zip(new, found, strict=True):
                self._newest_ms[symbol] = json.loads(text)["open_time_ms"] if text else 0

    def _execute(self, candles: list[Encoded], whole: Revisions | None, life: _Life, now_ms: int) -> None:
        """One transaction; ``whole`` where it completes its list and so moves the progress on."""
        with self._client.pipeline(transaction=True) as transaction:
            alerts = whole.alerts if whole is not None else ()
            if whole is not None and alerts:
                alerts = alert_writer.unwritten(transaction, whole.batch.shard, alerts)
            if whole is not None and life.noted is None:
                # An attempt that seemed to fail may yet be applied: then this one must not be.
                self._watch(transaction, whole.batch.shard, life)
            transaction.multi()
            self._queue_candles(transaction, candles)
            if whole is not None:
                alert_writer.queue(transaction, whole.batch.shard, alerts)
                self._queue_notes(transaction, whole.batch, life)
                self._queue_progress(transaction, whole, life, now_ms)
            try:
                transaction.execute()
            except redis.WatchError as error:
                raise redis.ConnectionError("an earlier attempt was applied after all") from error
        self._unlisted.clear()
        if whole is not None:
            life.noted = max(life.noted or (0, 0), order(whole.batch.entry_id))

    @staticmethod
    def _watch(transaction: Any, shard: int, life: _Life) -> None:
        transaction.watch(keys.progress(shard))
        life.noted = _order(transaction.hget(keys.progress(shard), "noted"))

    def _queue_candles(self, transaction: Any, candles: list[Encoded]) -> None:
        closed: defaultdict[str, dict[str, int]] = defaultdict(dict)
        latest: dict[str, str] = {}
        for candle in candles:
            if candle.is_closed:
                history = keys.history(candle.symbol, candle.interval.value)
                transaction.zremrangebyscore(history, candle.open_time_ms, candle.open_time_ms)
                closed[history][candle.text] = candle.open_time_ms
            # A minute may close when the next one, of an earlier list or life, is `latest` already.
            if candle.interval is Interval.M1 and candle.open_time_ms >= self._newest_ms[candle.symbol]:
                self._newest_ms[candle.symbol] = candle.open_time_ms
                latest[candle.symbol] = candle.text
        for history, members in closed.items():
            transaction.zadd(history, members)
            if self._history_limit:
                transaction.zremrangebyrank(history, 0, -self._history_limit - 1)
        for symbol, text in latest.items():
            transaction.setex(keys.latest(symbol), LATEST_TTL_S, text)
        if self._unlisted:
            transaction.sadd(keys.SYMBOLS, *self._unlisted)
        for candle in candles:
            transaction.publish(keys.UPDATES_CHANNEL, candle.text)

    def _queue_notes(self, transaction: Any, batch: Batch, life: _Life) -> None:
        """Late and rejected records, and their counts, but for those that were written before."""
        noted = life.noted or (0, 0)
        late = [one for one, at in zip(batch.late, batch.late_at, strict=True) if order(at) > noted]
        rejected = [one for one, at in zip(batch.rejected, batch.rejected_at, strict=True) if order(at) > noted]
        for record in late:
            fields = {"trade": record, "shard": batch.shard}
            transaction.xadd(keys.LATE, fields, maxlen=CAPPED_STREAM, approximate=True)
        for one in rejected:
            fields = {"reason": one.reason, "origin": one.origin, "record": one.record}
            transaction.xadd(keys.REJECTED, fields, maxlen=CAPPED_STREAM, approximate=True)
            transaction.hincrby(keys.REJECTED_COUNTS, one.reason, 1)
        for name, count in (("late", len(late)), ("rejected", len(rejected))):
            transaction.hincrby(keys.progress(batch.shard), name, count)

    def _queue_progress(self, transaction: Any, whole: Revisions, life: _Life, now_ms: int) -> None:
        batch = whole.batch
        # A life that repeats an earlier one must not take this back: the next life skips by it.
        is_ahead = order(batch.entry_id) > (life.noted or (0, 0))
        progress: dict[str, Any] = {
            "position": batch.entry_id,
            "watermark_ms": batch.watermark_ms,
            "event_time_ms": batch.event_time_ms,
            "closed": whole.closed_total,
            "trades": batch.totals["trades"],
            "lost": batch.totals["lost"],
            "rewound": batch.totals["rewound"],
            "epoch": life.epoch,
            "updated_at_ms": now_ms,
        }
        if is_ahead:
            progress["noted"] = batch.entry_id
        transaction.hset(keys.progress(batch.shard), mapping=progress)


def _order(entry_id: bytes | None) -> tuple[int, int]:
    return order(entry_id.decode()) if entry_id else (0, 0)
