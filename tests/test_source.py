"""Shards that share a subtask take turns, whatever timers a checkpoint brings back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from pipeline import keys
from pipeline.source import TradeSource

KEYS = (17, 4)


class Timers:
    """Flink's own rule: of all keys' timers the earliest fires, and one key has a time once."""

    def __init__(self, source: TradeSource, restored: set[tuple[int, int]]) -> None:
        self.polls: Counter[int] = Counter()
        self._source = source
        self._waiting = set(restored)
        self._key = 0
        self._context: Any = SimpleNamespace(
            get_current_key=lambda: self._key,
            timer_service=lambda: SimpleNamespace(register_processing_time_timer=self._register),
        )

    def _register(self, time_ms: int) -> None:
        self._waiting.add((time_ms, self._key))

    def tick(self, key: int) -> None:
        self._key = key
        self._source.process_element(0, self._context)

    def fire(self) -> None:
        time_ms, self._key = min(self._waiting)
        self._waiting.remove((time_ms, self._key))
        time.sleep(max(0.0, time_ms / 1_000 - time.time()))
        before = len(self._waiting)
        list(self._source.on_timer(time_ms, self._context))
        if len(self._waiting) > before:
            self.polls[self._key] += 1


@pytest.fixture
def source(redis_url: str, redis_client: redis.Redis) -> Iterator[TradeSource]:
    redis_client.config_set("hz", 50)
    redis_client.set(keys.INSTANCE, "test")  # or nobody would wait for trades
    source = TradeSource(redis_url, 1_000, KEYS, 1_000)
    source.open(SimpleNamespace(get_state=lambda _: SimpleNamespace(value=lambda: None)))
    yield source
    source.close()


@pytest.mark.parametrize(
    "restored",
    [
        set(),
        {(1_000_000, KEYS[0]), (5, KEYS[1])},  # of a job that counted its polls
        {(1_700_000_000_000, KEYS[0]), (1_600_000_000_000, KEYS[1])},
    ],
)
@pytest.mark.parametrize("ticked", [(), KEYS[:1], KEYS[1:], KEYS])
def test_two_shards_are_polled_equally_often(
    source: TradeSource, restored: set[tuple[int, int]], ticked: tuple[int, ...]
) -> None:
    timers = Timers(source, restored)
    for key in ticked if restored else KEYS:
        timers.tick(key)
    for _ in range(42):
        timers.fire()
    assert abs(timers.polls[KEYS[0]] - timers.polls[KEYS[1]]) <= 3
    assert sum(timers.polls.values()) >= 40


def test_a_timer_of_a_clock_that_ran_ahead_keeps_no_shard_from_its_turn(source: TradeSource) -> None:
    hour_ahead_ms = int(time.time() * 1_000) + 3_600_000
    timers = Timers(source, {(hour_ahead_ms, KEYS[0]), (hour_ahead_ms, KEYS[1])})
    for key in KEYS:
        timers.tick(key)
    for _ in range(20):
        timers.fire()
    assert min(timers.polls.values()) >= 8
