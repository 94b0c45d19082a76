"""The one place that appends trades to the streams: each write happens exactly once.

A write is one MULTI/EXEC of its entries, its rejected records and the feed's new position, made
under WATCH of that position. After a lost connection the position tells whether the transaction
was applied, and the WATCH keeps one that was only delayed from being applied on top of its retry.
A feed that is killed starts again from its position: what was written is not written again, and
what was only read is read again.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import redis
from redis.client import Pipeline

from pipeline import keys
from pipeline.entry import END_OF_STREAM, RECORD, Records, encode
from pipeline.errors import CandlecastError
from pipeline.feed.backlog import Backlog
from pipeline.settings import Settings

log = logging.getLogger(__name__)
_T = TypeVar("_T")

MAX_ENTRY_TRADES: Final = 500
"""Trades in one entry. Measured by ``python -m bench feed``: from 500 on, more gain nothing."""
MAX_WRITE_TRADES: Final = 64 * MAX_ENTRY_TRADES
"""Trades a bulk feed puts in one transaction: 1.3 MB, so Redis answers others in between."""
REJECTED_KEPT: Final = 10_000
"""Newest rejected records that can be looked at. All of them are counted."""
RECORD_SHOWN: Final = 1_000
"""Characters kept of a rejected record: enough to see what it was, even if it was 10 MB."""
FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 1.0


class Rejected(NamedTuple):
    """A record that no trade could be made of: why, from where (``FILE:LINE``), and its text."""

    reason: str
    origin: str
    record: str


class FeedStopped(Exception):
    """The feed was asked to stop while it waited for Redis or for the job."""


class PositionMoved(CandlecastError):
    """The position in Redis is not the one we left there: start again from the one found.

    Redis was wiped, has lost its newest writes, or another feed of the same name is writing.
    """


class Position(NamedTuple):
    """Where a feed stopped; both texts are the feed's own. None where it never wrote."""

    position: str | None
    state: str | None


def shard_of(symbol: str, shards: int) -> int:
    """The shard a symbol lives in: the same in every process and every run."""
    return zlib.crc32(symbol.encode()) % shards


class TradeWriter:
    """Writes one feed's trades. The caller owns ``client`` (which answers in bytes) and ``stop``.

    Call :meth:`resume` first, always. While Redis is away every method waits for it, with capped
    backoff, until ``stop`` is set (FeedStopped).
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        name: str,
        *,
        source: str,
        simulated: bool = False,
        detail: str = "",
        max_lag_trades: int = 3_000_000,
        stop: threading.Event | None = None,
    ) -> None:
        self._client = client
        self._shards = settings.shards
        self._max_entries = settings.stream_max_entries
        self._position_key = keys.feed_position(name)
        self._state_key = keys.feed_state(name)
        self._about = {"source": source, "simulated": int(simulated), "detail": detail}
        self._backlog = Backlog(client, settings, max_lag_trades)
        self._position: bytes | None = None
        self._introduced = False
        self.stop = stop or threading.Event()
        self.bulk_trades = min(MAX_WRITE_TRADES, max(1, self._max_entries // 4) * MAX_ENTRY_TRADES)
        """Trades that a bulk feed should give to one :meth:`write`."""

    def resume(self) -> Position:
        """Where the feed of this name stopped. What it writes goes on from there."""
        found: Any = self._patiently(lambda: self._client.mget(self._position_key, self._state_key))
        self._position, state = found
        self._introduced = False
        self._patiently(self._backlog.look_again)
        return Position(*(text.decode() if text is not None else None for text in (self._position, state)))

    def write(
        self,
        symbols: Sequence[str],
        trades: Records,
        position: str,
        *,
        state: str | None = None,
        heartbeat_ms: int = 0,
        rejected: Sequence[Rejected] = (),
    ) -> None:
        """Append ``trades`` (records of entry.RECORD that point into ``symbols``), exactly once.

        ``position`` differs from that of the write before. ``state`` is kept beside it until
        another is given. ``heartbeat_ms`` goes to every shard, after the trades. PositionMoved if
        another writer, or a wiped Redis, came between.
        """
        if position.encode() == self._position:
            raise ValueError(f"two writes with the same position {position!r}")
        entries = list(self._entries(symbols, trades, heartbeat_ms))

        def queue(pipe: Pipeline) -> None:
            for shard, _, fields in entries:
                pipe.xadd(keys.trades_stream(shard), fields, maxlen=self._max_entries)
            pipe.set(self._position_key, position)
            if state is not None:
                pipe.set(self._state_key, state)
            self._queue_rejected(pipe, rejected)
            self._queue_about(pipe, len(trades))

        replies = self._patiently(lambda: self._transact(queue, position.encode()))
        self._position, self._introduced = position.encode(), True
        if replies is None:  # applied, but the answer with the entries' ids was lost
            self._patiently(self._backlog.look_again)
        else:
            for (shard, count, _), entry_id in zip(entries, replies, strict=False):
                self._backlog.wrote(shard, entry_id, count)

    def heartbeat(self, event_time_ms: int) -> None:
        """Tell every shard that no trade before ``event_time_ms`` follows. Leaves the position."""

        def queue(pipe: Pipeline) -> None:
            for shard in range(self._shards):
                fields: dict[Any, Any] = dict(encode((), np.empty(0, RECORD), event_time_ms))
                pipe.xadd(keys.trades_stream(shard), fields, maxlen=self._max_entries)
            self._queue_about(pipe, 0)

        self._patiently(lambda: self._transact(queue, None))

    def end_of_stream(self) -> None:
        """Tell every shard that no trade follows at all: everything closes."""
        self.heartbeat(END_OF_STREAM)

    def wait_until_read(self) -> None:
        """For bulk feeds, before a write: wait while the job has too much still to fold.

        Keeps a stream from being trimmed before it was read. Live feeds do not wait.
        """
        pause = 0.005
        while self._patiently(self._backlog.too_long):
            if self.stop.wait(pause):
                raise FeedStopped
            pause = min(pause * 1.5, 0.1)

    def _entries(
        self, symbols: Sequence[str], trades: Records, heartbeat_ms: int
    ) -> Iterator[tuple[int, int, dict[Any, Any]]]:
        """(shard, trades in it, fields) of each entry, in the order of the trades in each shard."""
        silent = set(range(self._shards)) if heartbeat_ms else set()
        for shard, part in self._split(symbols, trades):
            silent.discard(shard)
            for start in range(0, len(part), MAX_ENTRY_TRADES):
                chunk = part[start : start + MAX_ENTRY_TRADES].copy()
                used, chunk["symbol"] = np.unique(chunk["symbol"], return_inverse=True)
                last = start + MAX_ENTRY_TRADES >= len(part)
                names = [symbols[code] for code in used]
                yield shard, len(chunk), dict(encode(names, chunk, heartbeat_ms if last else 0))
        for shard in sorted(silent):
            yield shard, 0, dict(encode((), np.empty(0, RECORD), heartbeat_ms))

    def _split(self, symbols: Sequence[str], trades: Records) -> Iterator[tuple[int, Records]]:
        if not len(trades):
            return
        if self._shards == 1:
            yield 0, trades
            return
        homes = np.array([shard_of(symbol, self._shards) for symbol in symbols], np.intp)
        home = homes[trades["symbol"]]
        order = np.argsort(home, kind="stable")
        shards, starts = np.unique(home[order], return_index=True)
        for shard, part in zip(shards, np.split(order, starts[1:]), strict=True):
            yield int(shard), trades[part]

    @staticmethod
    def _queue_rejected(pipe: Pipeline, rejected: Sequence[Rejected]) -> None:
        for record in rejected[-REJECTED_KEPT:]:
            fields: dict[Any, Any] = {**record._asdict(), "record": record.record[:RECORD_SHOWN]}
            pipe.xadd(keys.REJECTED, fields, maxlen=REJECTED_KEPT)
        counts: dict[str, int] = {}
        for record in rejected:
            counts[record.reason] = counts.get(record.reason, 0) + 1
        for reason, count in counts.items():
            pipe.hincrby(keys.REJECTED_COUNTS, reason, count)

    def _queue_about(self, pipe: Pipeline, trades: int) -> None:
        about: dict[str, Any] = {"updated_at_ms": time.time_ns() // 1_000_000}
        if not self._introduced:
            pipe.setnx(keys.INSTANCE, secrets.token_hex(8))
            about |= self._about
        pipe.hset(keys.FEED, mapping=about)
        pipe.hincrby(keys.FEED, "trades", trades)

    def _transact(self, queue: Callable[[Pipeline], None], position: bytes | None) -> list[Any] | None:
        """One attempt at MULTI/EXEC; None if an earlier attempt turns out to have been applied."""
        with self._client.pipeline() as pipe:
            pipe.watch(self._position_key)  # type: ignore[no-untyped-call]
            found: Any = pipe.get(self._position_key)
            if found != self._position:
                if position is not None and found == position:
                    return None
                raise PositionMoved(f"{self._position_key} is {found!r:.100}, we left {self._position!r:.100}")
            pipe.multi()
            queue(pipe)
            replies: list[Any] = pipe.execute()
            return replies

    def _patiently(self, call: Callable[[], _T]) -> _T:
        """What ``call`` returns, however long Redis is away."""
        pause, away_since = FIRST_RETRY_S, 0.0
        while True:
            try:
                result = call()
            except redis.WatchError:
                continue  # the position changed, or the connection broke: the next attempt sees which
            except redis.RedisError as error:
                if not is_outage(error):
                    raise
                if not away_since:
                    away_since = time.monotonic()
                    log.warning("Redis takes no trades, trying until it does: %s", _one_line(error))
                if self.stop.wait(pause):
                    raise FeedStopped from None
                pause = min(2 * pause, LAST_RETRY_S)
            else:
                if away_since:
                    log.warning("Redis takes trades again after %.1f s", time.monotonic() - away_since)
                return result


def is_outage(error: redis.RedisError) -> bool:
    """Whether waiting can help: Redis is down, loading, full, read-only, or cannot write its disk."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return False  # both are ConnectionErrors, and no waiting changes a password
    outages = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError)
    return isinstance(error, outages) or _one_line(error).startswith(("MISCONF", "MASTERDOWN", "NOREPLICAS"))


def _one_line(error: redis.RedisError) -> str:
    """The server's words, without the command (and its binary trades) that redis-py puts before them."""
    return str(error).rsplit("caused error: ", 1)[-1][:200]
