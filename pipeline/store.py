"""The read side of Redis: candles as their JSON, and what feed and job say of themselves.

Reads only, connects never: the client is the caller's, and so are its timeouts. While Redis is away
every method raises one of ``retry.RETRYABLE``. Keys that do not exist read as nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import redis

from pipeline import keys
from pipeline.errors import InvalidEntry
from pipeline.gap import GAPS_KEPT, Agreement, Gap
from pipeline.market import Interval
from pipeline.merging import Timed, merged

log = logging.getLogger(__name__)
_T = TypeVar("_T")

Record = dict[str, str]
"""One entry of a capped stream: its fields, and its ``id``."""

_SHARDS_AT_ONCE: Final = 16


class Store:
    """Reads with ``client``, which may answer in bytes or in text."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client  # redis-py's own types say Awaitable | Any for every answer

    def latest(self, symbol: str) -> str | None:
        """JSON of the newest 1m candle; None if there has been none for an hour."""
        found = self._client.get(keys.latest(symbol))
        return None if found is None else _text(found)

    def history(self, symbol: str, interval: Interval, limit: int, before_ms: int | None = None) -> list[str]:
        """JSON of the newest ``limit`` closed candles that open before ``before_ms``, oldest first.

        Where ours are missing, or a gap makes them incomplete, the exchange's own stand in.
        """
        newest = "+inf" if before_ms is None else f"({before_ms}"
        pipe = self._client.pipeline(transaction=False)
        for key in (keys.history, keys.exchange_history):
            place = key(symbol, interval.value)
            pipe.zrevrangebyscore(place, newest, "-inf", start=0, num=limit, withscores=True)
        ours, theirs = (_timed(found) for found in pipe.execute())
        gaps = [gap for gap in self.gaps(GAPS_KEPT) if gap.symbol == symbol] if ours and theirs else []
        return merged(ours, theirs, gaps, interval.ms)[-limit:] if limit else []

    def gaps(self, limit: int) -> list[Gap]:
        """The newest ``limit`` gaps in what the feed saw, newest first. One that is torn is left out."""
        texts = [record.get("gap", "") for record in self._newest(keys.GAPS, limit)]
        return [gap for text in texts if (gap := _read(Gap.from_json, text))]

    def agreement(self) -> dict[str, Agreement]:
        """By symbol: how our closed candles compare with the exchange's. Empty where none is."""
        found = _fields(self._client.hgetall(keys.AGREEMENT)).items()
        return {symbol: read for symbol, text in found if (read := _read(Agreement.from_json, text))}

    def histories_from(self, wanted: Sequence[tuple[str, str, int]], limit: int) -> list[list[str]]:
        """For each (symbol, interval, open time in ms): at most ``limit`` candles from there on. One trip.

        A negative open time asks for the newest candle alone.
        """
        pipe = self._client.pipeline(transaction=False)
        for symbol, interval, from_ms in wanted:
            key = keys.history(symbol, interval)
            if from_ms < 0:
                pipe.zrange(key, -1, -1)
            else:
                pipe.zrangebyscore(key, from_ms, "+inf", start=0, num=limit)
        return [[_text(member) for member in found] for found in pipe.execute()]

    def latest_of(self, symbols: Iterable[str]) -> list[str]:
        """JSON of the newest 1m candle of each of ``symbols`` that has one, in one trip."""
        names = [keys.latest(symbol) for symbol in symbols]
        return [_text(found) for found in self._client.mget(names) if found] if names else []

    def symbols(self) -> list[str]:
        """Symbols that have had a candle, in order."""
        return sorted(_text(name) for name in self._client.smembers(keys.SYMBOLS))

    def instance(self) -> str | None:
        """The word that names this life of the database; None before the first trade."""
        found = self._client.get(keys.INSTANCE)
        return None if found is None else _text(found)

    def progress(self) -> dict[int, Record]:
        """Of each shard that the job has written to: the fields of ``keys.progress``."""
        found: dict[int, Record] = {}
        first = 0
        while True:
            pipe = self._client.pipeline(transaction=False)
            shards = range(first, first + _SHARDS_AT_ONCE)
            for shard in shards:
                pipe.hgetall(keys.progress(shard))
            answers = {shard: _fields(fields) for shard, fields in zip(shards, pipe.execute(), strict=True)}
            found |= {shard: fields for shard, fields in answers.items() if fields}
            # Shards are numbered from 0; a run of empty ones is the end, a single one may be an idle shard.
            if not any(answers.values()):
                return found
            first += _SHARDS_AT_ONCE

    def feed(self) -> Record:
        """The fields of ``keys.FEED``; empty before a feed has started."""
        return _fields(self._client.hgetall(keys.FEED))

    def alerts(self, count: int) -> list[str]:
        """JSON of the newest ``count`` alerts, newest first."""
        return [record.get("alert", "") for record in self._newest(keys.ALERTS, count)]

    def alerts_before(self, entry_id: str, count: int) -> list[Record]:
        """Records of ``keys.ALERTS``, newest first, before ``entry_id`` (``+`` for the newest)."""
        newest = entry_id if entry_id == "+" else f"({entry_id}"
        found = self._client.xrevrange(keys.ALERTS, newest, count=count)
        return [{"id": _text(found_id), **_fields(fields)} for found_id, fields in found]

    def late(self, count: int) -> list[Record]:
        """The newest ``count`` late trades, newest first: fields of ``keys.LATE``."""
        return self._newest(keys.LATE, count)

    def rejected(self, count: int) -> list[Record]:
        """The newest ``count`` rejected records, newest first: fields of ``keys.REJECTED``."""
        return self._newest(keys.REJECTED, count)

    def rejected_counts(self) -> dict[str, int]:
        """How many records were ever rejected, by reason."""
        counts = _fields(self._client.hgetall(keys.REJECTED_COUNTS))
        return {reason: int(count) for reason, count in counts.items()}

    def rejected_count(self) -> int:
        """How many records were ever rejected."""
        return sum(self.rejected_counts().values())

    def _newest(self, stream: str, count: int) -> list[Record]:
        return [
            {"id": _text(entry_id), **_fields(fields)}
            for entry_id, fields in self._client.xrevrange(stream, count=count)
        ]


def writes_state(info: Mapping[str, Any]) -> str:
    """Whether this Redis takes writes, from its INFO: ``taken``, or why they are refused, in words."""
    limit = int(info.get("maxmemory", 0))
    if info.get("role") == "slave":
        return "refused: read-only replica"
    if limit and int(info.get("used_memory", 0)) >= limit and info.get("maxmemory_policy") == "noeviction":
        return "refused: memory is full"
    if info.get("aof_last_write_status", "ok") != "ok":
        return "refused: its disk is full or fails"
    return "taken"


def _text(value: bytes | str) -> str:
    # A record that was rejected may be anything: it must stay readable, not raise.
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _timed(found: Sequence[tuple[bytes | str, float]]) -> list[Timed]:
    return [(int(open_time_ms), _text(member)) for member, open_time_ms in found]


def _read(read: Callable[[str], _T], text: str) -> _T | None:
    """What ``read`` makes of ``text``; a page with one record less is better than none."""
    try:
        return read(text)
    except InvalidEntry as error:
        log.warning("left out of what Redis keeps: %s", error)
        return None


def _fields(found: dict[Any, Any]) -> Record:
    return {_text(name): _text(value) for name, value in found.items()}
