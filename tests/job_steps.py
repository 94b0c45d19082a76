"""The job without Flink: its real functions on a real Redis, with states that a test can bring back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import redis

from pipeline.alerts.rules import Rules
from pipeline.candle_writer import CandleWriter
from pipeline.rollup import RollUp
from pipeline.settings import Settings
from pipeline.source import TradeSource

KEY = 17
"""Flink's key of the one shard there is."""


class _State:
    """A ValueState whose value lives in the job's dictionary."""

    def __init__(self, values: dict[str, bytes], name: str) -> None:
        self._values, self._name = values, name

    def value(self) -> bytes | None:
        return self._values.get(self._name)

    def update(self, value: bytes) -> None:
        self._values[self._name] = value

    def clear(self) -> None:
        self._values.pop(self._name, None)


class Job:
    """Source, roll-up and writer, one poll after the other.

    ``states`` is what a checkpoint holds: :meth:`checkpoint` copies it, another job begins with it.
    """

    def __init__(self, url: str, states: dict[str, bytes] | None = None, max_entries: int = 1_000) -> None:
        self.states = dict(states or {})
        self._timers: list[int] = []
        self._source = TradeSource(url, 1_000, [KEY], max_entries)
        self._rollup = RollUp(Rules.of(Settings()))
        for name, function in (("source", self._source), ("rollup", self._rollup)):
            function.open(
                SimpleNamespace(
                    get_state=lambda descriptor, name=name: _State(self.states, f"{name} {descriptor.name}")
                )
            )
        self._client = redis.Redis.from_url(url)
        self._writer = CandleWriter(self._client, 0)
        timers = SimpleNamespace(register_processing_time_timer=self._timers.append)
        self._context: Any = SimpleNamespace(get_current_key=lambda: KEY, timer_service=lambda: timers)
        self._source.process_element(0, self._context)

    @property
    def reader(self) -> Any:
        return self._source._shards[0]

    def poll(self) -> None:
        """One timer of the source, and all that comes of it."""
        for shard_and_batch in self._source.on_timer(self._timers.pop(), self._context):
            for revisions in self._rollup.process_element(shard_and_batch, self._context):
                self._writer.write(revisions)

    def read_all(self) -> None:
        """Poll until nothing comes any more."""
        while True:
            before = self.reader.position.entry_id
            self.poll()
            if self.reader.position.entry_id == before and self.reader.next_poll_ms == 0:
                return

    def checkpoint(self) -> dict[str, bytes]:
        return dict(self.states)

    def close(self) -> None:
        self._source.close()
        self._client.close()
