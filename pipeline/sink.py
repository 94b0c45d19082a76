"""The Redis sink as a Flink function: the last operator of the job."""

from __future__ import annotations

import redis
from pyflink.datastream import MapFunction, RuntimeContext

from pipeline import operator_log
from pipeline.candle_writer import CandleWriter
from pipeline.revisions import Revisions


class RedisSink(MapFunction):  # type: ignore[misc]
    """Writes each list of revisions in one transaction; one connection a subtask."""

    def __init__(self, redis_url: str, history_limit: int) -> None:
        self._redis_url = redis_url
        self._history_limit = history_limit

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        operator_log.to_output()
        self._client = redis.Redis.from_url(self._redis_url, socket_timeout=30)
        self._writer = CandleWriter(self._client, self._history_limit)

    def map(self, revisions: Revisions) -> str:
        """Write; the id of the batch's last entry goes on, for Flink wants every operator to say something."""
        self._writer.write(revisions)
        return revisions.batch.entry_id

    def close(self) -> None:
        self._client.close()
