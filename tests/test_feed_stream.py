"""TradeWriter against a real Redis: what is written, once, and in one transaction."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis
from feeding import RedisServer, counts, entries, plain, rejected, some_trades, written
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import keys
from pipeline.entry import END_OF_STREAM, RECORD
from pipeline.feed.patience import FeedStopped
from pipeline.feed.stream import MAX_ENTRY_TRADES, REJECTED_KEPT, Rejected, TradeWriter, shard_of
from pipeline.feed.transaction import PositionMoved
from pipeline.settings import Settings

SYMBOLS = ("BTC", "ETH", "SOL", "DOGE", "ADA")


def opened(client: redis.Redis, settings: Settings | None = None, **options: object) -> TradeWriter:
    writer = TradeWriter(client, settings or Settings(), "test", source="a test", **options)  # type: ignore[arg-type]
    writer.resume()
    return writer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


words = st.integers(-(2**63), 2**63 - 1)
records = st.lists(
    st.tuples(words, words, words, words, st.integers(0, len(SYMBOLS) - 1), st.integers(0, 1)), max_size=60
)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(rows=records, repeats=st.integers(1, 30), shards=st.integers(1, 7))
def test_every_trade_is_read_back_as_it_was_in_the_shard_of_its_symbol(
    redis_client: redis.Redis, rows: list[tuple[int, ...]], repeats: int, shards: int
) -> None:
    redis_client.flushall()
    trades = np.array(rows * repeats, RECORD)
    opened(redis_client, Settings(shards=shards)).write(SYMBOLS, trades, "1")
    given_trades = plain(SYMBOLS, trades)
    for shard in range(shards):
        here = [trade for trade in given_trades if shard_of(trade.symbol, shards) == shard]
        assert written(redis_client, shard) == here


def test_an_entry_holds_at_most_its_number_of_trades_and_only_the_symbols_it_needs(redis_client) -> None:
    trades = some_trades(2 * MAX_ENTRY_TRADES + 1)
    trades["symbol"][:MAX_ENTRY_TRADES] = 3
    opened(redis_client).write(SYMBOLS, trades, "1")
    found = entries(redis_client)
    assert [len(entry.trades) for entry in found] == [MAX_ENTRY_TRADES, MAX_ENTRY_TRADES, 1]
    assert [list(entry.symbols) for entry in found] == [["DOGE"], ["BTC"], ["BTC"]]


def test_a_symbol_lives_in_the_same_shard_in_every_process() -> None:
    assert [shard_of(symbol, 8) for symbol in SYMBOLS] == [6, 3, 2, 6, 2]  # literal: hash() would differ


def test_a_heartbeat_reaches_every_shard_and_stands_behind_the_trades(redis_client) -> None:
    writer = opened(redis_client, Settings(shards=4))
    writer.write(SYMBOLS, some_trades(1_200, symbols=2), "1", heartbeat_ms=1_800_000_000_000)
    for shard in range(4):
        beats = [entry.heartbeat_ms for entry in entries(redis_client, shard)]
        assert beats == [0] * (len(beats) - 1) + [1_800_000_000_000]
    writer.end_of_stream()
    assert [entries(redis_client, shard)[-1].heartbeat_ms for shard in range(4)] == [END_OF_STREAM] * 4


def test_a_write_leaves_its_position_its_state_its_sums_and_what_the_feed_says_of_itself(redis_client) -> None:
    writer = opened(redis_client, detail="made up", simulated=True)
    writer.write(("BTC",), some_trades(3), "one", state="s1")
    writer.write(("BTC",), some_trades(4), "two")
    assert opened(redis_client).resume() == ("two", "s1")
    feed = redis_client.hgetall(keys.FEED)
    assert int(feed.pop(b"updated_at_ms")) > 1_700_000_000_000
    assert feed == {b"source": b"a test", b"simulated": b"1", b"detail": b"made up", b"trades": b"7"}
    assert len(redis_client.get(keys.INSTANCE)) == 16


def test_the_instance_word_is_made_once(redis_client) -> None:
    opened(redis_client).write(("BTC",), some_trades(1), "one")
    word = redis_client.get(keys.INSTANCE)
    opened(redis_client).write(("BTC",), some_trades(1), "two")
    assert redis_client.get(keys.INSTANCE) == word


def test_rejected_records_are_counted_all_and_the_newest_are_kept(redis_client) -> None:
    many = [Rejected("too bad", f"f:{n}", "x" * 5_000) for n in range(REJECTED_KEPT + 5_000)]
    opened(redis_client).write((), some_trades(0), "1", rejected=[Rejected("worse", "\udc80", ""), *many])
    assert counts(redis_client) == {"too bad": REJECTED_KEPT + 5_000, "worse": 1}
    kept = rejected(redis_client)
    assert REJECTED_KEPT <= len(kept) <= REJECTED_KEPT + 100  # trimmed by whole nodes
    assert kept[-1] == {"reason": "too bad", "origin": f"f:{len(many) - 1}", "record": "x" * 1_000}


def test_a_rejected_record_may_hold_any_text_that_a_file_can(redis_client) -> None:
    opened(redis_client).write(
        (), some_trades(0), "1", rejected=[Rejected("bad", "\udcff.csv:2", "\x00\udc80é")]
    )
    assert rejected(redis_client) == [{"reason": "bad", "origin": "\\udcff.csv:2", "record": "\x00\\udc80é"}]


def test_two_writes_with_the_same_position_are_refused(redis_client) -> None:
    writer = opened(redis_client)
    writer.write(("BTC",), some_trades(1), "1")
    with pytest.raises(ValueError, match="same position '1'"):
        writer.write(("BTC",), some_trades(1), "1")


def test_of_two_feeds_of_the_same_name_only_one_can_write(redis_client) -> None:
    first, second = opened(redis_client), opened(redis_client)
    first.write(("BTC",), some_trades(1), "1")
    with pytest.raises(PositionMoved, match=r"crypto:feed:test:position is b'1', we left None"):
        second.write(("BTC",), some_trades(1), "other")
    with pytest.raises(PositionMoved):
        second.heartbeat(1_800_000_000_000)
    first.write(("BTC",), some_trades(1), "2")
    assert len(written(redis_client)) == 2


def test_a_wiped_redis_is_noticed_before_anything_is_written_to_it(redis_client) -> None:
    writer = opened(redis_client)
    writer.write(("BTC",), some_trades(1), "1")
    word = redis_client.get(keys.INSTANCE)
    redis_client.flushall()
    with pytest.raises(PositionMoved, match="is None"):
        writer.write(("BTC",), some_trades(1), "2")
    assert redis_client.keys() == []
    assert writer.resume() == (None, None)
    writer.write(("BTC",), some_trades(1), "2")
    assert redis_client.get(keys.INSTANCE) != word


def test_writes_go_on_over_kills_of_redis_and_each_trade_is_there_once(server: RedisServer) -> None:
    """Kills at moments that the writer does not choose: between writes, and in the middle of them.

    A killed Redis with appendfsync everysec may have lost its newest writes, though it had
    answered them. Then the position has moved back, and the feed goes on from there.
    """
    done = threading.Event()
    with server.client() as client:
        writer = opened(client, Settings(shards=2))

        def write() -> None:
            number = 0
            while not done.is_set() or number < 300:
                position = f"{number}"
                bad = [Rejected("bad", position, "")] if number % 7 == 0 else []
                trades = some_trades(700, symbols=5, first_id=700 * number)
                try:
                    writer.write(SYMBOLS, trades, position, rejected=bad)
                    number += 1
                except PositionMoved:
                    found = writer.resume().position
                    number = 0 if found is None else int(found) + 1
            sums.append(number)

        sums: list[int] = []
        thread = threading.Thread(target=write)
        thread.start()
        for kill in range(12):
            time.sleep(0.03 + 0.017 * (kill % 5))
            server.kill()
            server.start()
        done.set()
        thread.join(60)
        assert sums, "the writer did not come back"
        total = 700 * sums[0]
        ids = sorted(trade.trade_id for shard in range(2) for trade in written(client, shard))
        assert ids == list(range(total))
        assert counts(client) == {"bad": len(range(0, sums[0], 7))}
        assert int(client.hget(keys.FEED, "trades")) == total


def test_a_transaction_that_redis_runs_late_is_not_run_a_second_time(server: RedisServer) -> None:
    """Redis stands still with the transaction in its socket; the writer gives up on it and tries again."""
    with server.client(socket_timeout=0.1) as client:
        writer = opened(client)
        for number in range(5):
            server.signal(signal.SIGSTOP)
            wake = threading.Timer(0.5, server.signal, [signal.SIGCONT])
            wake.start()
            writer.write(("BTC",), some_trades(10, first_id=10 * number), str(number))
            wake.join()
        assert [trade.trade_id for trade in written(client)] == list(range(50))


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["full", "read-only"],
)
def test_a_redis_that_takes_no_writes_is_waited_for_with_one_line_at_each_end(
    server: RedisServer, caplog: pytest.LogCaptureFixture, break_it: tuple[str, ...], mend_it: tuple[str, ...]
) -> None:
    caplog.set_level(logging.INFO)
    with server.client() as client:
        writer = opened(client)
        client.execute_command(*break_it)
        mend = threading.Timer(0.7, client.execute_command, mend_it)
        mend.start()
        writer.write(("BTC",), some_trades(10), "1")
        mend.join()
        assert len(written(client)) == 10
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith("writing trades: Redis is away or refuses, trying until it answers (")
    assert last.startswith("writing trades: Redis answers again after ")


def test_a_wrong_password_is_not_waited_out(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("requirepass", "right")
    with server.client(password="wrong") as client, pytest.raises(redis.AuthenticationError):
        opened(client)


def test_a_feed_that_waits_for_redis_can_be_stopped(server: RedisServer) -> None:
    stop = threading.Event()
    with server.client() as client:
        writer = opened(client, stop=stop)
        server.kill()
        threading.Timer(0.2, stop.set).start()
        with pytest.raises(FeedStopped):
            writer.write(("BTC",), some_trades(1), "1")


class TestBackpressure:
    """Bulk feeds wait for the job; here the test plays the job."""

    def test_a_bulk_feed_waits_until_the_job_has_folded_enough(self, redis_client) -> None:
        writer = opened(redis_client, max_lag_trades=1_000)
        writer.write(("BTC",), some_trades(1_000), "1")
        writer.wait_until_read()  # not too much yet
        writer.write(("BTC",), some_trades(1), "2")
        waiting = threading.Thread(target=writer.wait_until_read, daemon=True)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        first_entry = redis_client.xrange(keys.trades_stream(0), count=1)[0][0]
        redis_client.hset(keys.progress(0), "position", first_entry)
        waiting.join(10)
        assert not waiting.is_alive()

    def test_the_slowest_shard_is_waited_for(self, redis_client) -> None:
        writer = opened(redis_client, Settings(shards=2), max_lag_trades=10)
        writer.write(SYMBOLS, some_trades(100, symbols=5), "1")
        redis_client.hset(
            keys.progress(0), "position", redis_client.xrevrange(keys.trades_stream(0), count=1)[0][0]
        )
        assert writer._backlog.too_long()
        redis_client.hset(
            keys.progress(1), "position", redis_client.xrevrange(keys.trades_stream(1), count=1)[0][0]
        )
        assert not writer._backlog.too_long()

    def test_what_a_feed_finds_unread_at_its_start_is_waited_for_once(self, redis_client) -> None:
        opened(redis_client).write(("BTC",), some_trades(10), "1")
        writer = opened(redis_client)
        assert writer._backlog.too_long()
        redis_client.hset(
            keys.progress(0), "position", redis_client.xrevrange(keys.trades_stream(0), count=1)[0][0]
        )
        writer.wait_until_read()

    def test_many_small_entries_are_too_much_before_the_stream_is_trimmed(self, redis_client) -> None:
        settings = replace(Settings(), stream_max_entries=100)
        writer = opened(redis_client, settings)
        for number in range(51):
            assert not writer._backlog.too_long()
            writer.write(("BTC",), some_trades(1), str(number))
        assert writer._backlog.too_long()
        assert writer.bulk_trades == 25 * MAX_ENTRY_TRADES

    def test_a_bulk_feed_that_waits_for_the_job_can_be_stopped(self, redis_client) -> None:
        stop = threading.Event()
        writer = opened(redis_client, max_lag_trades=1, stop=stop)
        writer.write(("BTC",), some_trades(2), "1")
        stop.set()
        with pytest.raises(FeedStopped):
            writer.wait_until_read()
