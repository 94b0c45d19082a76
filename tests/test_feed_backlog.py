"""What a feed remembers of the entries that the job has not yet read."""

from __future__ import annotations

import tracemalloc

import redis

from pipeline import keys
from pipeline.feed.backlog import Backlog
from pipeline.settings import Settings

MAX_TRADES = 10**9
SETTINGS = Settings(stream_max_entries=1_000)


def test_a_feed_that_never_asks_remembers_no_more_than_it_needs(redis_client: redis.Redis) -> None:
    backlog = Backlog(redis_client, SETTINGS, MAX_TRADES)
    write(backlog, 1, 2_000)
    tracemalloc.start()
    write(backlog, 2_001, 30_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 500_000, "30,000 entries take some 5 MB"


def test_what_was_joined_still_counts_until_it_is_read(redis_client: redis.Redis) -> None:
    backlog = Backlog(redis_client, SETTINGS, 20_000)
    write(backlog, 1, 30_000)
    for position, too_long in ((9_999, True), (29_600, False)):
        redis_client.hset(keys.progress(0), "position", f"{position}-0")
        assert backlog.too_long() is too_long, position
    write(backlog, 30_001, 30_050)
    assert not backlog.too_long()


def write(backlog: Backlog, first: int, last: int) -> None:
    """Entries ``first`` to ``last``, a trade each."""
    for number in range(first, last + 1):
        backlog.wrote(0, f"{number}-0".encode(), 1)
