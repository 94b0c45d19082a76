"""One replay from its files to its candles, in a state folder that lives as long as the replay."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis

from pipeline import keys
from pipeline.cli import export as exporting
from pipeline.cli.progress import Progress
from pipeline.embedded import COMMANDS, Embedded, Step
from pipeline.errors import StartError
from pipeline.feed import replay as feed
from pipeline.feed.stream import TradeWriter
from pipeline.feed.tape import Tape
from pipeline.settings import Settings

_TICK_S: Final = 0.05
_GIVE_UP_AFTER: Final = 5
"""Starts of a process that has never come up: it will not come up."""
_EXAMPLES: Final = 5


@dataclass(frozen=True)
class Summary:
    """What a replay did. ``start_s`` is the time until the job folded for the first time."""

    played: feed.ReplayResult
    examples: Sequence[tuple[str, str]]
    """Origin and reason of the first rejected lines."""
    late: int
    lost: int
    candles: int
    job_restarts: int
    start_s: float
    total_s: float


class ReplayRun:
    """A Redis and a job for one replay; a context manager that ends them. InputFileError at once."""

    def __init__(self, settings: Settings, files: Sequence[Path], where: Sequence[tuple[str, str]]) -> None:
        Tape(files, where, 0)  # says what is wrong with a file before anything is started
        self._files = files
        self._where = where
        self._folder = tempfile.TemporaryDirectory(prefix="candlecast-replay-", ignore_cleanup_errors=True)
        self._settings = replace(settings, redis_url=None, state_dir=Path(self._folder.name), history_limit=0)
        self._embedded = Embedded(self._settings, {"job": COMMANDS["job"]})
        self._stop = threading.Event()
        self._part = 0.0
        self._written = 0
        self._event_time_ms = 0

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        try:
            self._embedded.start()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._embedded.stop()
        self._folder.cleanup()

    def play(self, speed: float | None, progress: Progress, export: Path | None) -> Summary:
        """Play everything, wait until it is folded, write the candles to ``export``. StartError."""
        url = self._embedded.redis_url
        with ThreadPoolExecutor(1) as executor, redis.Redis.from_url(url) as client:
            self._wait_for_redis()
            played = executor.submit(self._feed, speed)
            try:
                start_s = self._watch(played, client, progress)
            finally:
                self._stop.set()  # the executor waits for its thread
            result = played.result()
            candles = exporting.write_csv(client, export) if export else exporting.count(client)
            return Summary(
                played=result,
                examples=_examples(client),
                late=self._sum(client, "late"),
                lost=self._sum(client, "lost"),
                candles=candles,
                job_restarts=self._job().restarts,
                start_s=start_s,
                total_s=time.monotonic() - self._started,
            )

    def _wait_for_redis(self) -> None:
        while self._embedded.steps()[0].state != "ready":
            _give_up_on(self._embedded.steps()[0])
            time.sleep(_TICK_S)

    def _feed(self, speed: float | None) -> feed.ReplayResult:
        with redis.Redis.from_url(self._embedded.redis_url, socket_timeout=5) as client:
            name = feed.feed_name(self._files, self._where)
            writer = TradeWriter(client, self._settings, name, source="replay", stop=self._stop)
            return feed.replay(self._files, self._where, speed, writer, self._note)

    def _note(self, progress: feed.Progress) -> None:
        self._part, self._written, self._event_time_ms = progress.part, progress.trades, progress.event_time_ms

    def _watch(self, played: Future[feed.ReplayResult], client: redis.Redis, progress: Progress) -> float:
        """Draw until the last entry is folded; the time in s until the first one was."""
        start_s = 0.0
        while True:
            is_folded = played.done() and (played.exception() is not None or self._is_folded(client))
            trades = self._sum(client, "trades")
            if not start_s and (trades or is_folded):
                start_s = time.monotonic() - self._started
            if not start_s:
                _give_up_on(self._job())
            what = "replay" if start_s else f"the job starts ({self._job().elapsed_s:.0f} s)"
            # Of what was read from the files, the share that is folded.
            part = 1.0 if is_folded else min(0.99, self._part * trades / max(1, self._written))
            progress.show(what, part, trades, self._newest(client), now=is_folded)
            if is_folded:
                return start_s
            time.sleep(_TICK_S)

    def _is_folded(self, client: redis.Redis) -> bool:
        """Whether the job has come to the end of each stream."""
        for shard in range(self._settings.shards):
            last: Any = client.xrevrange(keys.trades_stream(shard), count=1)
            if last and client.hget(keys.progress(shard), "position") != last[0][0]:
                return False
        return True

    def _job(self) -> Step:
        return self._embedded.steps()[-1]

    def _sum(self, client: redis.Redis, field: str) -> int:
        return sum(self._progress(client, field))

    def _newest(self, client: redis.Redis) -> int:
        """Event time the job has come to. Its last heartbeat stands for the end of all time."""
        return min(max(self._progress(client, "event_time_ms")), self._event_time_ms)

    def _progress(self, client: redis.Redis, field: str) -> list[int]:
        shards = range(self._settings.shards)
        values: list[Any] = [client.hget(keys.progress(shard), field) for shard in shards]
        return [int(value or 0) for value in values]


def _give_up_on(step: Step) -> None:
    if step.restarts >= _GIVE_UP_AFTER:
        raise StartError(f"{step.name} does not start: {step.detail}")


def _examples(client: redis.Redis) -> list[tuple[str, str]]:
    found: Any = client.xrange(keys.REJECTED, count=_EXAMPLES)
    return [(fields[b"origin"].decode(), fields[b"reason"].decode()) for _, fields in found]
