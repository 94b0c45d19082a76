"""``python -m pipeline status``: what runs, and how far it is."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import redis

from pipeline import keys, wall_clock
from pipeline.checkpoints import newest_checkpoint
from pipeline.cli.connection import connected
from pipeline.embedded import url_of
from pipeline.entry import END_OF_STREAM
from pipeline.settings import Settings, without_secret
from pipeline.store import Record, Store, writes_state


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the settings say where to look."""


def run(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    """Print one line a part. Exit code 1 where Redis cannot be reached."""
    with connected(settings) as client:
        for name, text in _lines(client, settings):
            print(f"{name:<11}{text}")
    return 0


def _lines(client: redis.Redis, settings: Settings) -> Iterator[tuple[str, str]]:
    store = Store(client)
    now_ms = wall_clock.now_ms()
    yield "Redis", _redis(client, settings)
    yield "feed", _feed(store.feed(), now_ms)
    progress = store.progress()
    for shard in range(settings.shards):
        yield f"job {shard}", _job(client, shard, progress.get(shard), now_ms)
    yield "symbols", f"{len(store.symbols()):,}"
    counts = store.rejected_counts()
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
    yield "rejected", f"{sum(counts.values()):,}{f' ({reasons})' if reasons else ''}"
    yield "checkpoint", _checkpoint(settings)


def _redis(client: redis.Redis, settings: Settings) -> str:
    info: Any = client.info()
    return (
        f"{info['redis_version']} at {without_secret(url_of(settings))}, "
        f"{info['used_memory'] / 1e6:,.0f} MB, {info['connected_clients']} clients, "
        f"up {info['uptime_in_seconds']:,} s, writes {writes_state(info)}"
    )


def _feed(feed: Record, now_ms: int) -> str:
    if not feed:
        return "has not started yet"
    kind = f"{feed['source']} (simulated)" if feed["simulated"] == "1" else feed["source"]
    return f"{kind}, {int(feed['trades']):,} trades written, {_ago(feed, now_ms)}"


def _job(client: redis.Redis, shard: int, progress: Record | None, now_ms: int) -> str:
    if not progress:
        return "has not folded anything yet"
    event_time_ms = int(progress["event_time_ms"])
    event_time = "the end of the stream"
    if event_time_ms < END_OF_STREAM:
        event_time = f"{datetime.fromtimestamp(event_time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"{int(progress['trades']):,} trades folded, {int(progress['late']):,} late, "
        f"{int(progress['lost']):,} entries lost, {int(progress['closed']):,} candles closed, "
        f"event time {event_time}, {_behind(client, shard, progress)}, {_ago(progress, now_ms)}"
    )


def _behind(client: redis.Redis, shard: int, progress: Record) -> str:
    """How much older the last entry it folded is than the last one written."""
    newest: Any = client.xrevrange(keys.trades_stream(shard), count=1)
    if not newest:
        return "stream empty"
    written_ms, folded_ms = (int(text.split("-")[0]) for text in (newest[0][0].decode(), progress["position"]))
    return f"{max(0, written_ms - folded_ms) / 1000:.1f} s behind the stream"


def _ago(record: Record, now_ms: int) -> str:
    return f"heard of {max(0, now_ms - int(record['updated_at_ms'])) / 1000:.1f} s ago"


def _checkpoint(settings: Settings) -> str:
    newest = newest_checkpoint((settings.state_dir / "checkpoints").absolute())
    if newest is None:
        return f"none in {settings.state_dir / 'checkpoints'}"
    age_s = time.time() - (newest / "_metadata").stat().st_mtime
    return f"{newest}, {age_s:.0f} s old"
