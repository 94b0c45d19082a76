"""Writes candles into Redis: one MULTI/EXEC for each list, safe to repeat.

Every command sets an absolute value, or removes what it is about to write, or is left out when
the progress hash shows that it was done before. So a list that is written twice, after a crash
or a lost connection, leaves the same data as one that was written once; only the revisions on
``crypto:updates`` are heard twice, with an epoch and seq that tell.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from pipeline import fold, keys
from pipeline.alerts import writer as alert_writer
from pipeline.intake import Batch
from pipeline.market import (
    INTERVALS,
    PRICE_DECIMALS,
    QUANTITY_DECIMALS,
    QUOTE_DECIMALS,
    Alert,
    Interval,
    candle_json,
    decimal_text,
)
from pipeline.retry import Backoff, is_outage

log = logging.getLogger(__name__)

LATEST_TTL_S: Final = 3_600
"""A `latest` that nobody renewed for an hour is no longer news."""
CAPPED_STREAM: Final = 10_000
"""Records kept of the late and of the rejected, to look at; their counts are never capped."""
CANDLES_A_TRANSACTION: Final = 2_000
"""Redis serves nobody else during an EXEC: at about 10 µs a candle, that is 20 ms."""


@dataclass(frozen=True, slots=True)
class Revisions:
    """What one batch changed: closed and forming partials, a matrix an interval each."""

    batch: Batch
    closed: list[fold.Partials]
    forming: list[fold.Partials]
    closed_total: int
    alerts: tuple[Alert, ...] = ()
    """What these candles give rise to; written after them, in the same transaction."""


class CandleWriter:
    """Owns the numbering of revisions: ``epoch`` is this writer's life, ``seq`` counts within it."""

    def __init__(self, client: redis.Redis, history_limit: int) -> None:
        self._client = client
        self._history_limit = history_limit
        self._epoch = time.time_ns() // 1_000_000
        self._seqs: defaultdict[tuple[str, Interval], int] = defaultdict(int)
        self._known: set[str] = set()
        self._noted: dict[int, tuple[int, int]] = {}
        self._newest_ms: dict[str, int] = {}
        self._backoff = Backoff(log, "writing candles")

    def write(self, revisions: Revisions) -> None:
        """Write all of ``revisions``; waits for as long as Redis is away."""
        now_ms = time.time_ns() // 1_000_000
        candles = list(self._candles(revisions, now_ms))
        parts = [candles[i : i + CANDLES_A_TRANSACTION] for i in range(0, len(candles), CANDLES_A_TRANSACTION)]
        for part in parts[:-1]:
            self._until_done(lambda part=part: self._execute(part, None, now_ms))
        last = parts[-1] if parts else []
        self._until_done(lambda: self._execute(last, revisions, now_ms))

    def _until_done(self, attempt: Any) -> None:
        while True:
            try:
                attempt()
            except redis.RedisError as error:
                if not is_outage(error):
                    raise
                self._noted.clear()
                self._known.clear()
                self._newest_ms.clear()
                time.sleep(self._backoff.failed(error))
            else:
                self._backoff.succeeded()
                return

    def _candles(self, revisions: Revisions, now_ms: int) -> Iterator[_Encoded]:
        symbols = revisions.batch.symbols
        for matrices, is_closed in ((revisions.closed, True), (revisions.forming, False)):
            for interval, partials in zip(INTERVALS, matrices, strict=True):
                for column in partials.T.tolist():
                    symbol = symbols[column[fold.SYMBOL]]
                    seq = self._seqs[symbol, interval] = self._seqs[symbol, interval] + 1
                    text = encode(symbol, interval, column, is_closed, self._epoch, seq, now_ms)
                    yield _Encoded(symbol, interval, column[fold.OPEN_TIME], is_closed, text)

    def _execute(self, candles: list[_Encoded], whole: Revisions | None, now_ms: int) -> None:
        """One transaction; ``whole`` where it completes its list and so moves the progress on."""
        with self._client.pipeline(transaction=True) as transaction:
            self._queue_candles(transaction, candles)
            if whole is not None:
                alert_writer.queue(transaction, whole.alerts)
                self._queue_notes(transaction, whole.batch)
                self._queue_progress(transaction, whole, now_ms)
            transaction.execute()

    def _queue_candles(self, transaction: Any, candles: list[_Encoded]) -> None:
        closed: defaultdict[str, dict[str, int]] = defaultdict(dict)
        latest: dict[str, str] = {}
        for candle in candles:
            if candle.is_closed:
                history = keys.history(candle.symbol, candle.interval.value)
                transaction.zremrangebyscore(history, candle.open_time_ms, candle.open_time_ms)
                closed[history][candle.text] = candle.open_time_ms
            # A minute may close when the next one, of an earlier list, is `latest` already.
            if candle.interval is Interval.M1 and candle.open_time_ms >= self._newest_ms.get(candle.symbol, 0):
                self._newest_ms[candle.symbol] = candle.open_time_ms
                latest[candle.symbol] = candle.text
        for history, members in closed.items():
            transaction.zadd(history, members)
            if self._history_limit:
                transaction.zremrangebyrank(history, 0, -self._history_limit - 1)
        for symbol, text in latest.items():
            transaction.setex(keys.latest(symbol), LATEST_TTL_S, text)
        new = {candle.symbol for candle in candles} - self._known
        if new:
            transaction.sadd(keys.SYMBOLS, *new)
            self._known |= new
        for candle in candles:
            transaction.publish(keys.UPDATES_CHANNEL, candle.text)

    def _queue_notes(self, transaction: Any, batch: Batch) -> None:
        """Late and rejected records, but for those that an earlier life has written already."""
        late_before, rejected_before = self._noted_before(batch.shard)
        late, rejected = batch.totals["late"], batch.totals["rejected"]
        for number, record in enumerate(batch.late, late - len(batch.late) + 1):
            if number > late_before:
                fields = {"trade": record, "shard": batch.shard}
                transaction.xadd(keys.LATE, fields, maxlen=CAPPED_STREAM, approximate=True)
        for number, one in enumerate(batch.rejected, rejected - len(batch.rejected) + 1):
            if number > rejected_before:
                fields = {"reason": one.reason, "origin": one.origin, "record": one.record}
                transaction.xadd(keys.REJECTED, fields, maxlen=CAPPED_STREAM, approximate=True)
                transaction.hincrby(keys.REJECTED_COUNTS, one.reason, 1)
        self._noted[batch.shard] = (max(late, late_before), max(rejected, rejected_before))

    def _noted_before(self, shard: int) -> tuple[int, int]:
        if shard not in self._noted:
            late, rejected = cast("list[Any]", self._client.hmget(keys.progress(shard), ["late", "rejected"]))
            self._noted[shard] = (int(late or 0), int(rejected or 0))
        return self._noted[shard]

    def _queue_progress(self, transaction: Any, whole: Revisions, now_ms: int) -> None:
        batch = whole.batch
        progress = {
            "position": batch.entry_id,
            "watermark_ms": batch.watermark_ms,
            "event_time_ms": batch.event_time_ms,
            "closed": whole.closed_total,
            "epoch": self._epoch,
            "updated_at_ms": now_ms,
        }
        # A life that repeats an earlier one must not take these two back: the next life skips by them.
        late, rejected = self._noted[batch.shard]
        noted = {"late": late, "rejected": rejected}
        transaction.hset(keys.progress(batch.shard), mapping=progress | batch.totals | noted)


@dataclass(frozen=True, slots=True)
class _Encoded:
    symbol: str
    interval: Interval
    open_time_ms: int
    is_closed: bool
    text: str


def encode(
    symbol: str, interval: Interval, column: list[int], is_closed: bool, epoch: int, seq: int, now_ms: int
) -> str:
    """The candle JSON of one partial, given as the ROWS numbers of its column."""
    return candle_json(
        symbol,
        interval,
        column[fold.OPEN_TIME],
        open=decimal_text(column[fold.OPEN], PRICE_DECIMALS),
        high=decimal_text(column[fold.HIGH], PRICE_DECIMALS),
        low=decimal_text(column[fold.LOW], PRICE_DECIMALS),
        close=decimal_text(column[fold.CLOSE], PRICE_DECIMALS),
        volume=decimal_text(_sum(column, fold.VOLUME), QUANTITY_DECIMALS),
        quote_volume=decimal_text(_sum(column, fold.QUOTE_VOLUME), QUOTE_DECIMALS),
        taker_buy_volume=decimal_text(_sum(column, fold.TAKER_BUY_VOLUME), QUANTITY_DECIMALS),
        trade_count=column[fold.COUNT],
        is_closed=is_closed,
        epoch=epoch,
        seq=seq,
        published_at_ms=now_ms,
    )


def _sum(column: list[int], row: int) -> int:
    """A sum from its low and its high word."""
    return (column[row + fold.VOLUME_HIGH - fold.VOLUME] << 64) + column[row]
