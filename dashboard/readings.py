"""One look at the whole pipeline, shared by everyone who looks in the same second."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dashboard.feed_facts import Facts
from dashboard.flink import Checkpoints, FlinkWatch
from dashboard.health import Reading
from dashboard.services import Services
from pipeline.checkpoints import newest_checkpoint
from pipeline.store import Record, writes_state

_FRESH_S: Final = 0.9
_RATE_OVER_S: Final = 10
_RECORDS: Final = 20


@dataclass(frozen=True, slots=True)
class Look:
    """A reading, with the newest late and rejected records."""

    reading: Reading
    late: list[Record]
    rejected: list[Record]
    facts: Facts
    written: list[tuple[int, int]]
    """Of each shard's newest write: when it was published, and the event time of its newest trade, in ms."""


class _Job:
    """What the shards of the job say, taken together."""

    def __init__(self, shards: list[dict[str, str]]) -> None:
        self._shards = shards

    def total(self, name: str) -> int:
        return sum(int(shard.get(name, 0)) for shard in self._shards)

    def oldest(self, name: str) -> int:
        return min((int(shard.get(name, 0)) for shard in self._shards), default=0)

    def writes(self) -> list[tuple[int, int]]:
        told = (
            (int(shard.get("updated_at_ms", 0)), int(shard.get("event_time_ms", 0))) for shard in self._shards
        )
        return [(at_ms, event_ms) for at_ms, event_ms in told if at_ms and event_ms]


class Readings:
    """Reads Redis, the meter, and Flink's or the folder's word on checkpoints, at most once a second."""

    def __init__(self, own: Services, facts: Callable[[], Facts]) -> None:
        self._own = own
        self._facts = facts
        self._lock = threading.Lock()
        self._look: Look | None = None
        self._looked_at = 0.0
        self._totals: deque[tuple[float, int, int]] = deque()
        self._flink = FlinkWatch(own.flink_url)

    def look(self) -> Look:
        """The newest look; ConnectionError while Redis is away."""
        with self._lock:
            if self._look is None or time.monotonic() - self._looked_at > _FRESH_S:
                self._look = self._read()
                self._looked_at = time.monotonic()
            return self._look

    def _read(self) -> Look:
        own, now = self._own, time.time()
        facts, checkpoint = self._facts(), self._flink.look()
        feed = own.store.feed()
        progress = own.store.progress()
        late, rejected = own.store.late(_RECORDS), own.store.rejected(_RECORDS)
        client: Any = own.client  # redis-py's own types say Awaitable | Any
        info: dict[str, Any] = client.info()
        job = _Job(list(progress.values()))
        feed_trades, folded = int(feed.get("trades", 0)), job.total("trades")
        trades_per_s, folded_per_s = self._rates(feed_trades, folded)
        seconds = own.meter.seconds()[-_RATE_OVER_S:]
        reading = Reading(
            feed="simulator" if feed.get("simulated") == "1" else str(feed.get("source", "")),
            feed_age_s=_age(now, int(feed.get("updated_at_ms", 0))),
            clock_offset_ms=facts.clock_offset_ms,
            gaps=len(facts.gaps),
            feed_trades=feed_trades,
            trades_per_s=trades_per_s,
            folded_trades=folded,
            folded_per_s=folded_per_s,
            watermark_lag_s=_age(now, job.oldest("watermark_ms")),
            job_age_s=_age(now, job.oldest("updated_at_ms")),
            late=job.total("late"),
            lost=job.total("lost"),
            rewound=job.total("rewound"),
            rejected=own.store.rejected_count(),
            closed_candles=job.total("closed"),
            checkpoint_age_s=self._checkpoint_age_s(now, checkpoint),
            checkpoint=checkpoint,
            checkpoint_every_s=own.settings.checkpoint_ms / 1000,
            redis_connected=own.hub.connected,
            redis_writes=writes_state(info),
            redis_memory_bytes=info.get("used_memory"),
            redis_commands_per_s=info.get("instantaneous_ops_per_sec"),
            revisions_per_s=sum(second.revisions for second in seconds) / max(1, len(seconds)),
            latency=tuple(map(sum, zip(*(second.latency for second in seconds), strict=True))) or (0,),
            redis_clients=info.get("connected_clients"),
            symbols=len(own.hub.symbols()),
            reconnects=own.hub.reconnects,
            malformed=own.hub.malformed,
            websocket_clients=own.gateway.connections,
        )
        return Look(reading, late, rejected, facts, job.writes())

    def _rates(self, feed_trades: int, folded: int) -> tuple[float, float]:
        now = time.monotonic()
        self._totals.append((now, feed_trades, folded))
        while now - self._totals[0][0] > _RATE_OVER_S:
            self._totals.popleft()
        began, feed_before, folded_before = self._totals[0]
        over = max(0.5, now - began)
        return max(0, feed_trades - feed_before) / over, max(0, folded - folded_before) / over

    def _checkpoint_age_s(self, now: float, known: Checkpoints | None) -> float | None:
        if known:
            return now - known.completed_at_ms / 1000
        newest = newest_checkpoint(self._own.settings.state_dir / "checkpoints")
        return now - (newest / "_metadata").stat().st_mtime if newest else None


def _age(now: float, at_ms: int) -> float | None:
    return now - at_ms / 1000 if at_ms else None
