"""Alerts of the real job on a real Flink, which is killed in the middle: the same ones, each once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from pipeline import keys
from pipeline.alert import Alert, AlertType
from pipeline.embedded import COMMANDS, Embedded
from pipeline.settings import Settings
from tests import alert_market
from tests.integration import processes

ENTRIES_A_SECOND = 250
"""An hour of one entry a second lasts 15 s: there is a middle to be killed in, twice."""


class Heard:
    """Every message on both channels, in the order in which Redis published them."""

    def __init__(self, url: str) -> None:
        self.messages: list[tuple[str, Any]] = []
        self._client = redis.Redis.from_url(url, decode_responses=True)
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(keys.UPDATES_CHANNEL, keys.ALERTS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            message = self._pubsub.get_message(timeout=0.1)
            if message:
                self.messages.append((message["channel"], json.loads(message["data"])))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    """A Redis and a job with a checkpoint every two seconds: 500 s of the recorded hour."""
    settings = replace(
        Settings.from_env(alert_market.SETTINGS), state_dir=tmp_path / "state", checkpoint_ms=2_000
    )
    embedded = Embedded(settings, {"job": COMMANDS["job"]})
    embedded.start()
    yield embedded
    embedded.stop()


def job(embedded: Embedded) -> Any:
    return next(step for step in embedded.steps() if step.name == "job")


def kill_job(embedded: Embedded) -> None:
    """kill -9 of the client, its JVM and everything beneath, at once."""
    restarts = job(embedded).restarts
    process = psutil.Process(job(embedded).pid)
    tree = [*process.children(recursive=True), process]
    assert any("java" in one.name() for one in tree)
    for one in tree:
        one.kill()
    processes.wait_until(lambda: job(embedded).restarts > restarts, 10, "the supervisor to notice")


def folded(client: redis.Redis) -> tuple[int, int]:
    """Id of the last entry folded."""
    position: Any = client.hget(keys.progress(0), "position")
    first, _, second = (position or b"0-0").decode().partition("-")
    return int(first), int(second)


def test_alerts_are_the_same_and_single_after_two_kills_of_the_job_and_come_after_their_candles(
    shared_data: Path, embedded: Embedded, tmp_path: Path
) -> None:
    trades = alert_market.injected(alert_market.recorded_trades(shared_data))
    calm = alert_market.expected(trades)
    assert {one.alert_type for one in calm} == set(AlertType)

    with redis.Redis.from_url(embedded.redis_url) as client:
        processes.wait_until(lambda: embedded.steps()[0].state == "ready", 20, "Redis to be ready")
        heard = Heard(embedded.redis_url)
        try:
            client.set(keys.INSTANCE, "test")
            processes.wait_until(lambda: job(embedded).pid, 20, "the job to start")
            _feed(client, embedded, trades, tmp_path)
        finally:
            heard.close()

        stored = [Alert.from_json(fields[b"alert"]) for _, fields in client.xrange(keys.ALERTS)]

    assert job(embedded).restarts == 2
    ids = [one.id for one in stored]
    assert len(ids) == len(set(ids)), "none is there twice"
    assert [one for one in stored if not one.provisional] == calm, "and they are what a calm run gives"
    _assert_order(heard.messages)
    told = [message["id"] for channel, message in heard.messages if channel == keys.ALERTS]
    assert told == ids, "each was heard once"
    repeated = [m["open_time_ms"] for c, m in heard.messages if c == keys.UPDATES_CHANNEL and _is_minute(m)]
    assert len(repeated) > len(set(repeated)), "the kills did make the job repeat something"


def _feed(client: redis.Redis, embedded: Embedded, trades: Any, tmp_path: Path) -> None:
    entries = alert_market.entries(trades)
    # The entry after which the alerts of a minute fire, and how many there are by then.
    kills = {60 * (minute + 1) + 5: minute for minute in (alert_market.DROP, alert_market.SURGE)}
    started = False
    last = b""
    for number, one in enumerate(entries):
        if number % ENTRIES_A_SECOND == 0:
            time.sleep(1)
        last = client.xadd(keys.trades_stream(0), one)  # type: ignore[arg-type]
        if not started:
            processes.wait_until(lambda: folded(client) > (0, 0), 180, "the job to fold")
            started = True
        if number in kills:
            processes.wait_until(lambda: checkpoints(tmp_path), 30, "a checkpoint")
            wait_for_alerts_of(client, kills[number])
            kill_job(embedded)  # at once: no checkpoint knows that they were written
    first, _, second = last.decode().partition("-")
    processes.wait_until(lambda: folded(client) >= (int(first), int(second)), 180, "the job to catch up")


def wait_for_alerts_of(client: redis.Redis, minute: int) -> None:
    start_ms = alert_market.START_MS + minute * alert_market.MINUTE
    deadline = time.monotonic() + 180
    while str(start_ms).encode() not in client.hvals(keys.alerts_newest(0)):
        assert time.monotonic() < deadline, f"no alert of minute {minute}"


def checkpoints(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("state/checkpoints/*/chk-*/_metadata"))


def _is_minute(message: Any) -> bool:
    return message["interval"] == "1m" and message["is_closed"]


def _assert_order(messages: list[tuple[str, Any]]) -> None:
    """Each alert comes after the candle it is about: closed, or forming where it is provisional."""
    closed: set[int] = set()
    forming: set[int] = set()
    for channel, message in messages:
        if channel == keys.UPDATES_CHANNEL:
            if message["interval"] == "1m":
                (closed if message["is_closed"] else forming).add(message["open_time_ms"])
        else:
            seen = forming if message["provisional"] else closed
            assert message["window_start_ms"] in seen, message["id"]
