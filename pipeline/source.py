"""The Redis Streams reader as a Flink function: polls, and lets ``intake`` fold each poll.

Flink has no Redis source, and a Java connector would be a jar to build and to ship. So a keyed
function polls by processing-time timers and keeps its position in keyed state: a restored
checkpoint reads on from exactly there.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import redis
from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueState, ValueStateDescriptor

from pipeline import keys
from pipeline.intake import Batch, Intake, Position, RawEntry
from pipeline.retry import Backoff, is_outage

log = logging.getLogger(__name__)

MAX_ENTRIES = 200
"""Entries a poll reads at most: up to 100,000 trades, 4 MB; some 10 ms of folding."""
BLOCK_MS = 20
"""How long an empty poll waits. Longer would hold up checkpoints, shorter would cost CPU."""


class TradeSource(KeyedProcessFunction):  # type: ignore[misc]
    """Polls each shard's stream and emits a Batch a poll. ``keys`` are the shards' keys in their order.

    The elements that arrive are ticks, which only keep the operator alive and start the polling.
    """

    def __init__(self, redis_url: str, out_of_order_ms: int, keys: Sequence[int]) -> None:
        self._redis_url = redis_url
        self._out_of_order_ms = out_of_order_ms
        self._shard_of = {key: shard for shard, key in enumerate(keys)}

    def open(self, runtime_context: RuntimeContext) -> None:
        # One connection, no retries of its own: our timer is the retry.
        self._client = redis.Redis.from_url(self._redis_url, socket_timeout=5)
        self._state: ValueState = runtime_context.get_state(
            ValueStateDescriptor("position", Types.PICKLED_BYTE_ARRAY())
        )
        self._shards: dict[int, _Shard] = {}

    def close(self) -> None:
        self._client.close()

    def process_element(self, tick: Any, ctx: KeyedProcessFunction.Context) -> None:  # noqa: ARG002
        shard = self._shard_of[ctx.get_current_key()]
        if shard not in self._shards:
            self._start(shard, ctx)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[tuple[int, bytes]]:
        shard = self._shard_of[ctx.get_current_key()]
        if shard not in self._shards:
            # A timer that came back from a checkpoint before the first tick.
            self._start(shard, ctx, poll=False)
        reader = self._shards[shard]
        batch = reader.poll(self._client, max(1, BLOCK_MS // len(self._shards)))
        if batch is not None:
            self._state.update(pickle.dumps(reader.position))
            yield shard, pickle.dumps(batch)
        ctx.timer_service().register_processing_time_timer(max(timestamp + 1, reader.next_poll_ms))

    def _start(self, shard: int, ctx: KeyedProcessFunction.Context, poll: bool = True) -> None:
        saved = self._state.value()
        position = pickle.loads(saved) if saved else Position()  # noqa: S301  our own checkpoint
        self._shards[shard] = _Shard(shard, Intake(shard, self._out_of_order_ms), position)
        log.info("shard %d: reading on from entry %s", shard, position.entry_id)
        if poll:
            ctx.timer_service().register_processing_time_timer(1)


class _Shard:
    """What one shard's polling needs between two polls."""

    def __init__(self, shard: int, intake: Intake, position: Position) -> None:
        self.position = position
        self.next_poll_ms = 0
        self._stream = keys.trades_stream(shard)
        self._intake = intake
        self._backoff = Backoff(log, f"shard {shard}: reading trades")
        self._instance_checked = False
        self._behind = True
        self._flushed = True

    def poll(self, client: redis.Redis, block_ms: int) -> Batch | None:
        """Read what there is, waiting up to ``block_ms``. None if there was nothing, or if Redis is away."""
        try:
            if not self._instance_checked:
                self._check_instance(client)
            if self._behind:
                self._check_trimmed(client)
            reply = cast(
                "list[Any]",
                client.xread({self._stream: self.position.entry_id}, MAX_ENTRIES, block_ms),
            )
        except redis.RedisError as error:
            if not is_outage(error):
                raise
            self._instance_checked = False
            self.next_poll_ms = int(time.time() * 1000 + self._backoff.failed(error) * 1000)
            return None
        self._backoff.succeeded()
        self.next_poll_ms = 0
        raw_entries: list[RawEntry] = reply[0][1] if reply else []
        if not raw_entries and self._flushed:
            return None
        # The first empty poll after trades is passed on: it tells the next operator to publish
        # whatever forming candles it was holding back.
        self._flushed = not raw_entries
        self._behind = len(raw_entries) == MAX_ENTRIES
        return self._intake.take(self.position, raw_entries, self._behind)

    def _check_instance(self, client: redis.Redis) -> None:
        """Begin anew where the Redis is not the one that the position belongs to."""
        instance = cast("bytes", client.get(keys.INSTANCE) or b"").decode()
        if not instance:
            return  # nothing was ever written here, so there is nothing to read either
        if self.position.instance and self.position.instance != instance:
            log.warning("%s: this is another, or a wiped, Redis: reading from its beginning", self._stream)
            self.position.entry_id = "0-0"
            self.position.event_time_ms = 0
        self.position.instance = instance
        self._instance_checked = True
        self._behind = True

    def _check_trimmed(self, client: redis.Redis) -> None:
        """Count it where entries were trimmed from the stream before we read them."""
        if self.position.entry_id == "0-0":
            return
        first = cast("list[Any]", client.xrange(self._stream, count=1))
        if first and _order(first[0][0].decode()) > _order(self.position.entry_id):
            # Our own entry is gone; what stood between it and the first one left, nobody knows.
            self.position.lost += 1
            log.warning(
                "%s: trimmed past our position %s: trades up to entry %s are lost",
                self._stream, self.position.entry_id, first[0][0].decode(),
            )  # fmt: skip


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)
