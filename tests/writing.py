"""The job's steps before the writer, poll by poll, and what the writer left behind."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import redis

from pipeline import keys
from pipeline.arrivals import Position
from pipeline.candle import Candle
from pipeline.fold import Windows
from pipeline.intake import Intake
from pipeline.revisions import Revisions
from pipeline.rollup import Forming
from tests.golden import Deal
from tests.test_intake import T0, fields


class Shard:
    """The job's steps before the writer, for one shard; each call is one poll."""

    def __init__(self) -> None:
        self.position, self.windows, self.forming = Position(), Windows(), Forming()
        self.entries = self.closed = 0

    def poll(self, *entries: dict[bytes, bytes]) -> Revisions:
        raw = [(b"%d-0" % (self.entries + number), one) for number, one in enumerate(entries, 1)]
        self.entries += len(raw)
        batch = Intake(0, 1_000).take(self.position, raw, is_backlog=False)
        self.windows.add(batch.partials)
        closed = self.windows.close(batch.watermark_ms)
        self.closed += sum(partials.shape[1] for partials in closed)
        return Revisions(batch, closed, self.forming.due(self.windows.open_partials, batch, 0.0), self.closed)

    def deals(self, *deals: Deal) -> Revisions:
        return self.poll(fields(deals))

    def crash(self) -> Shard:
        """What a checkpoint taken now would bring back."""
        return pickle.loads(pickle.dumps(self))


def heartbeat(time_ms: int) -> dict[bytes, bytes]:
    return {b"heartbeat": b"%d" % time_ms}


def deal(time_ms: int, trade_id: int = 1, symbol: int = 0) -> Deal:
    return Deal(symbol, time_ms, trade_id, 10**12 + trade_id, 10**8 + trade_id, trade_id % 2 == 0)


def unpublished(candle: Candle) -> Candle:
    return dataclasses.replace(candle, epoch=0, seq=0, published_at_ms=0)


def dump(client: redis.Redis) -> dict[str, Any]:
    """Everything a reader may look at, less the times and numbers of the publishing and the streams' ids."""
    shown: dict[str, Any] = {"symbols": client.smembers(keys.SYMBOLS)}
    for key in client.scan_iter("crypto:*:*"):
        if client.type(key) == b"zset":
            members = client.zrange(key, 0, -1, withscores=True)
            shown[key.decode()] = [(unpublished(Candle.from_json(text)), score) for text, score in members]
    shown["late"] = [record for _, record in client.xrange(keys.LATE)]
    shown["rejected"] = [record for _, record in client.xrange(keys.REJECTED)]
    shown["counts"] = client.hgetall(keys.REJECTED_COUNTS)
    shown["progress"] = client.hgetall(keys.progress(0))
    for moving in (b"epoch", b"updated_at_ms"):
        shown["progress"].pop(moving, None)
    return shown


def noisy(shard: Shard) -> Revisions:
    """A list with closed and forming candles, a late trade, a torn entry and an impossible record."""
    return shard.poll(
        fields([deal(T0, 1), deal(T0 + 70_000, 2, symbol=1)]),
        fields([deal(T0 + 300, 3)]),
        {b"trades": b"torn"},
        fields([deal(T0 + 71_000, 4), Deal(0, T0 + 71_000, 5, 0, 1, True)]),
    )
