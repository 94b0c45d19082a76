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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import redis

from pipeline import keys, wall_clock
from pipeline.entry import END_OF_STREAM, RECORD, Records, encode
from pipeline.feed.backlog import Backlog
from pipeline.feed.patience import FeedStopped, patiently
from pipeline.feed.transaction import Command, GuardedTransactions
from pipeline.gap import GAPS_KEPT, Gap
from pipeline.settings import Settings

log = logging.getLogger(__name__)

MAX_ENTRY_TRADES: Final = 500
"""Trades in one entry. Writer, Redis and reader together spent 0.28 us of CPU a trade at 200, 0.15 at
500, 0.13 at 2,000 (``python -m bench feed``): more gain little, and make a poll's steps coarser."""
MAX_WRITE_TRADES: Final = 64 * MAX_ENTRY_TRADES
"""Trades a bulk feed puts in one transaction: 1.3 MB, so Redis answers others in between."""
REJECTED_KEPT: Final = 10_000
"""Newest rejected records that can be looked at. All of them are counted."""
RECORD_SHOWN: Final = 1_000
"""Characters kept of a rejected record: enough to see what it was, even if it was 10 MB."""
_TELL_AFTER_S: Final = 10.0
"""A job that takes longer than this to catch up is worth a line in the log: it may not run at all."""
NO_TRADES: Final[Records] = np.empty(0, RECORD)


class Rejected(NamedTuple):
    """A record that no trade could be made of: why, from where (``FILE:LINE``), and its text."""

    reason: str
    origin: str
    record: str


class Position(NamedTuple):
    """Where a feed stopped; both texts are the feed's own. None where it never wrote."""

    position: str | None
    state: str | None


class _Part(NamedTuple):
    """An entry to be: its shard, the trades in it, its fields."""

    shard: int
    trades: int
    fields: dict[str, str | bytes | int]


def shard_of(symbol: str, shards: int) -> int:
    """The shard a symbol lives in: the same in every process and every run."""
    return zlib.crc32(symbol.encode()) % shards


class TradeWriter:
    """Writes one feed's trades, from one thread. The caller owns ``client`` and ``stop``.

    ``client`` answers in bytes (redis-py's default). Call :meth:`resume` first, always. While
    Redis is away every method waits for it, with capped backoff, until ``stop`` is set (FeedStopped).
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
        self.stop = stop or threading.Event()
        self.bulk_trades = min(MAX_WRITE_TRADES, max(1, settings.stream_max_entries // 4) * MAX_ENTRY_TRADES)
        """Trades that a bulk feed should give to one :meth:`write`."""
        self._client = client
        self._shards = settings.shards
        self._max_entries = settings.stream_max_entries
        self._position_key = keys.feed_position(name)
        self._state_key = keys.feed_state(name)
        self._about: Command = ("source", source, "simulated", int(simulated), "detail", _utf8(detail))
        self._introduced = False
        self._guarded = GuardedTransactions(client, self._position_key)
        self._backlog = Backlog(client, settings, max_lag_trades)

    def resume(self) -> Position:
        """Where the feed of this name stopped. What it writes goes on from there."""

        def read() -> Position:
            found: Any = self._client.mget(self._position_key, self._state_key)
            self._backlog.look_again()
            self._guarded.left = found[0]
            return Position(*(text.decode() if text is not None else None for text in found))

        self._introduced = False
        return patiently(read, self.stop)

    def write(
        self,
        symbols: Sequence[str],
        trades: Records,
        position: str,
        *,
        state: str | None = None,
        heartbeat_ms: int = 0,
        rejected: Sequence[Rejected] = (),
        gaps: Sequence[Gap] = (),
        about: Mapping[str, str | int] | None = None,
    ) -> None:
        """Append ``trades`` (records of entry.RECORD that point into ``symbols``), exactly once.

        ``position`` differs from that of the write before. ``state`` is kept beside it until
        another is given. ``heartbeat_ms`` goes to every shard, after the trades. ``gaps`` are kept for
        pages, and ``about`` is what the feed says of itself by now (fields of ``keys.FEED``).
        PositionMoved if another writer, or a wiped Redis, came between.
        """
        if position.encode() == self._guarded.left:
            raise ValueError(f"two writes with the same position {position!r}")
        parts = list(self._parts(symbols, trades, heartbeat_ms))
        commands = [
            *(self._xadd(part) for part in parts),
            *(() if state is None else [("SET", self._state_key, state)]),
            *_report(rejected),
            *(_xadd(keys.GAPS, GAPS_KEPT, {"gap": gap.to_json()}) for gap in gaps),
            *self._introduce(len(trades), about),
        ]
        replies = patiently(lambda: self._guarded.apply(commands, position.encode()), self.stop)
        self._introduced = True
        if replies is None:  # applied, but the answer with the entries' ids was lost
            patiently(self._backlog.look_again, self.stop)
        else:
            for part, entry_id in zip(parts, replies, strict=False):
                self._backlog.wrote(part.shard, entry_id, part.trades)

    def heartbeat(self, event_time_ms: int, about: Mapping[str, str | int] | None = None) -> None:
        """Tell every shard that no trade before ``event_time_ms`` follows. Leaves the position.

        One that was sent twice, after a lost connection, says nothing new.
        """
        parts = self._parts((), NO_TRADES, event_time_ms)
        commands = [*map(self._xadd, parts), *self._introduce(0, about)]
        patiently(lambda: self._guarded.apply(commands), self.stop)

    def end_of_stream(self) -> None:
        """Tell every shard that no trade follows at all: everything closes."""
        self.heartbeat(END_OF_STREAM)

    def wait_until_read(self) -> None:
        """For bulk feeds, before a write: wait while the job has too much still to fold.

        Keeps a stream from being trimmed before it was read. Live feeds do not wait.
        """
        pause, tell_at = 0.005, time.monotonic() + _TELL_AFTER_S
        while patiently(self._backlog.too_long, self.stop):
            if self.stop.wait(pause):
                raise FeedStopped
            pause = min(pause * 1.5, 0.1)
            if time.monotonic() > tell_at:
                tell_at = float("inf")
                log.warning("waiting for the job: it has not read enough of what is written")

    def _parts(self, symbols: Sequence[str], trades: Records, heartbeat_ms: int) -> Iterator[_Part]:
        """The entries of a write; in each shard, trades keep their order."""
        silent = set(range(self._shards)) if heartbeat_ms else set()
        for shard, part in self._split(symbols, trades):
            silent.discard(shard)
            for start in range(0, len(part), MAX_ENTRY_TRADES):
                chunk = part[start : start + MAX_ENTRY_TRADES].copy()
                used, chunk["symbol"] = np.unique(chunk["symbol"], return_inverse=True)
                last = start + MAX_ENTRY_TRADES >= len(part)
                names = [symbols[code] for code in used]
                yield _Part(shard, len(chunk), encode(names, chunk, heartbeat_ms if last else 0))
        for shard in sorted(silent):
            yield _Part(shard, 0, encode((), NO_TRADES, heartbeat_ms))

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

    def _xadd(self, part: _Part) -> Command:
        return _xadd(keys.trades_stream(part.shard), self._max_entries, part.fields)

    def tell(self, about: Mapping[str, str | int]) -> None:
        """Say how the feed is, with nothing else to write: it lives, though no exchange may."""
        patiently(lambda: self._guarded.apply(self._introduce(0, about)), self.stop)

    def _introduce(self, trades: int, more: Mapping[str, str | int] | None = None) -> list[Command]:
        """What the feed says of itself; all of it with the first write, and to a new Redis."""
        news = [text for field in (more or {}).items() for text in field]
        about: Command = ("updated_at_ms", wall_clock.now_ms(), *map(_plain, news))
        counted: Command = ("HINCRBY", keys.FEED, "trades", trades)
        if self._introduced:
            return [("HSET", keys.FEED, *about), counted]
        named: Command = ("SETNX", keys.INSTANCE, secrets.token_hex(8))
        others: Command = ("HDEL", keys.FEED, "state", "clock_offset_ms")  # what another feed said
        return [others, ("HSET", keys.FEED, *self._about, *about), counted, named]


def _xadd(stream: str, max_entries: int, fields: dict[str, str | bytes | int]) -> Command:
    flat = [text for field in fields.items() for text in field]
    return ("XADD", stream, "MAXLEN", "~", max_entries, "*", *flat)


def _plain(value: str | int) -> bytes | int:
    return _utf8(value) if isinstance(value, str) else value


def _utf8(text: str) -> bytes:
    """Whatever was read, from a broken line or a strange file name, so that a page can show it."""
    return text.encode("utf-8", "backslashreplace")


def _report(rejected: Sequence[Rejected]) -> list[Command]:
    """Keep the newest rejected records, count all of them by reason."""
    kept: list[Command] = []
    for record in rejected[-REJECTED_KEPT:]:
        shown = record._replace(record=record.record[:RECORD_SHOWN])
        kept.append(
            _xadd(keys.REJECTED, REJECTED_KEPT, {name: _utf8(text) for name, text in shown._asdict().items()})
        )
    counts = Counter(record.reason for record in rejected)
    return kept + [("HINCRBY", keys.REJECTED_COUNTS, reason, count) for reason, count in counts.items()]
