"""The Redis Streams reader as a Flink function: polls, and lets ``intake`` fold each poll.

Flink has no Redis source, and a Java connector would be a jar to build and to ship. So a keyed
function polls by processing-time timers and keeps its position in keyed state: a restored
checkpoint reads on from exactly there.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import redis
from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueState, ValueStateDescriptor

from pipeline import operator_log, wall_clock
from pipeline.arrivals import Position
from pipeline.intake import Intake
from pipeline.past import Past
from pipeline.retry import Connects
from pipeline.shard_reader import ShardReader

log = logging.getLogger(__name__)

BLOCK_MS = 20
"""How long an empty poll waits. Longer would hold up checkpoints, shorter would cost CPU."""


class TradeSource(KeyedProcessFunction):  # type: ignore[misc]
    """Polls each shard's stream and emits a Batch a poll. ``keys`` are the shards' keys in their order.

    The elements that arrive are ticks, which only keep the operator alive and start the polling.
    """

    def __init__(
        self, redis_url: str, out_of_order_ms: int, keys: Sequence[int], stream_max_entries: int
    ) -> None:
        self._redis_url = redis_url
        self._max_entries = stream_max_entries
        self._out_of_order_ms = out_of_order_ms
        self._shard_of = {key: shard for shard, key in enumerate(keys)}

    def open(self, runtime_context: RuntimeContext) -> None:
        operator_log.to_output()
        # One connection, no retries of its own: our timer is the retry.
        self._client = redis.Redis.from_url(self._redis_url, socket_timeout=5)
        self._connects = Connects(self._client)
        self._state: ValueState = runtime_context.get_state(
            ValueStateDescriptor("position", Types.PICKLED_BYTE_ARRAY())
        )
        # A state of its own: it changes every few seconds, the position at every poll.
        self._past: ValueState = runtime_context.get_state(
            ValueStateDescriptor("past", Types.PICKLED_BYTE_ARRAY())
        )
        self._shards: dict[int, ShardReader] = {}
        self._due_ms: dict[int, int] = {}

    def close(self) -> None:
        self._client.close()

    def process_element(self, tick: Any, ctx: KeyedProcessFunction.Context) -> None:  # noqa: ARG002
        shard = self._shard_of[ctx.get_current_key()]
        if shard not in self._shards:
            self._start(shard)
            self._poll_at(wall_clock.now_ms(), shard, ctx)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[tuple[int, bytes]]:
        shard = self._shard_of[ctx.get_current_key()]
        if shard not in self._shards:
            # A timer that came back from a checkpoint before the first tick.
            self._start(shard)
        elif timestamp != self._due_ms[shard]:
            return  # one that came back after it: a shard has one timer at a time
        now_ms = wall_clock.now_ms()
        reader = self._shards[shard]
        batch = reader.poll(max(1, BLOCK_MS // len(self._shards)))
        if batch is not None:
            self._state.update(pickle.dumps(reader.position))
            if batch.keep or batch.rewind_to is not None:
                self._past.update(reader.past.save())
            yield shard, pickle.dumps(batch)
        self._poll_at(max(now_ms, reader.next_poll_ms), shard, ctx)

    def _poll_at(self, due_ms: int, shard: int, ctx: KeyedProcessFunction.Context) -> None:
        """Poll ``shard`` at ``due_ms``, since the epoch: Flink serves the earliest timer, so shards take turns.

        With times of its own, a shard that is behind in them would keep the others from their turn.
        """
        self._due_ms[shard] = due_ms
        ctx.timer_service().register_processing_time_timer(due_ms)

    def _start(self, shard: int) -> None:
        saved = self._state.value()
        position = pickle.loads(saved) if saved else Position()  # noqa: S301  our own checkpoint
        intake = Intake(shard, self._out_of_order_ms)
        past = Past.load(self._past.value())
        self._shards[shard] = ShardReader(
            self._client, self._connects, intake, shard, position, past, self._max_entries
        )
        log.info("shard %d: reading on from entry %s", shard, position.entry_id)
