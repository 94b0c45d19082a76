"""The candle writer on a real Redis: one transaction a list, and writing twice is writing once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline import keys
from pipeline.candle import Candle
from pipeline.candle_writer import CANDLES_A_TRANSACTION, LATEST_TTL_S, CandleWriter
from pipeline.entry import END_OF_STREAM
from pipeline.market import INTERVALS
from tests.golden import Deal, golden, golden_candle
from tests.redis_server import RedisServer
from tests.test_intake import NAMES, T0, fields
from tests.writing import Shard, deal, dump, heartbeat, noisy, unpublished

MINUTE = 60_000


def history(client: redis.Redis, interval: str, symbol: str = "BTC") -> list[Candle]:
    return [Candle.from_json(text) for text in client.zrange(keys.history(symbol, interval), 0, -1)]


@pytest.fixture
def heard(redis_client: redis.Redis) -> Iterator[Any]:
    """Answers with the messages published since it was asked last."""
    with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(keys.UPDATES_CHANNEL)
        assert pubsub.get_message(timeout=5) is None

        def read() -> list[str]:
            redis_client.publish(keys.UPDATES_CHANNEL, "end")
            messages = iter(lambda: pubsub.get_message(timeout=5), None)
            texts: list[str] = []
            for message in messages:
                if message["data"] == b"end":
                    return texts
                texts.append(message["data"].decode())
            raise AssertionError("the subscription ended")

        yield read


def test_a_list_goes_out_in_one_transaction(redis_client: redis.Redis) -> None:
    with redis_client.monitor() as monitor:
        CandleWriter(redis_client, 100).write(noisy(Shard()))
        redis_client.echo("end")
        heard = iter(lambda: monitor.next_command()["command"].split()[0], "ECHO")
        commands = [name for name in heard if name not in {"CLIENT", "FLUSHALL"}]
    assert commands[:3] == ["HMGET", "MGET", "MULTI"] and commands[-2:] == ["HSET", "EXEC"]
    assert commands.count("MULTI") == commands.count("EXEC") == 1
    assert {"ZADD", "SETEX", "PUBLISH", "XADD", "HINCRBY", "SADD"} <= set(commands)


def test_a_list_longer_than_a_transaction_may_be_moves_the_progress_with_its_last_part(
    redis_client: redis.Redis,
) -> None:
    seconds = CANDLES_A_TRANSACTION + 500
    shard = Shard()
    revisions = shard.poll(fields([deal(T0 + 1_000 * n, n) for n in range(seconds)]), heartbeat(END_OF_STREAM))
    redis_client.config_resetstat()
    CandleWriter(redis_client, 0).write(revisions)
    assert redis_client.info("commandstats")["cmdstat_exec"]["calls"] == 2
    assert redis_client.zcard(keys.history("BTC", "1s")) == seconds
    assert redis_client.hget(keys.progress(0), "closed") == b"%d" % shard.closed


@pytest.mark.parametrize("is_new_life", [False, True], ids=["by the same writer", "by a new one"])
def test_a_list_written_twice_leaves_what_one_writing_leaves(
    redis_client: redis.Redis, is_new_life: bool
) -> None:
    revisions = noisy(Shard())
    writer = CandleWriter(redis_client, 100)
    writer.write(revisions)
    once = dump(redis_client)
    assert len(once["crypto:BTC:1s"]) == 1 and len(once["late"]) == 1
    assert once["counts"] == {b"torn entry: trades are cut off": b"1", b"price: not above zero": b"1"}
    (CandleWriter(redis_client, 100) if is_new_life else writer).write(revisions)
    assert dump(redis_client) == once


def test_late_and_rejected_records_stay_written_once_over_two_crashes_in_a_row(
    redis_client: redis.Redis,
) -> None:
    shard = Shard()
    CandleWriter(redis_client, 100).write(shard.deals(deal(T0 + 90_000)))
    saved = shard.crash()
    late = [fields([deal(T0 + n, n)]) for n in range(4)]
    torn = {b"trades": b"torn"}
    first_life, second_life, third_life = saved.crash(), saved.crash(), saved.crash()
    CandleWriter(redis_client, 100).write(first_life.poll(*late, torn, torn))
    whole = dump(redis_client)
    # The second life goes down before it has caught up with the first.
    CandleWriter(redis_client, 100).write(second_life.poll(*late[:2]))
    CandleWriter(redis_client, 100).write(third_life.poll(*late, torn, torn))
    assert len(whole["late"]) == 4 and len(whole["rejected"]) == 2
    assert dump(redis_client) == whole


def test_seq_grows_by_one_for_each_symbol_and_interval_within_an_epoch(
    redis_client: redis.Redis, heard: Any
) -> None:
    shard, writer = Shard(), CandleWriter(redis_client, 100)
    for n in range(1, 8):
        writer.write(shard.deals(deal(T0 + n * 700, n), deal(T0 + n * 700, n, symbol=n % 3)))
    writer.write(shard.poll(heartbeat(END_OF_STREAM)))
    candles = [Candle.from_json(text) for text in heard()]
    assert len({candle.epoch for candle in candles}) == 1
    pairs = {(candle.symbol, candle.interval) for candle in candles}
    assert len(pairs) == len(NAMES) * len(INTERVALS)
    for pair in pairs:
        seqs = [candle.seq for candle in candles if (candle.symbol, candle.interval) == pair]
        assert seqs == list(range(1, len(seqs) + 1))


def test_latest_is_the_newest_minute_and_does_not_live_for_ever(redis_client: redis.Redis, heard: Any) -> None:
    shard, writer = Shard(), CandleWriter(redis_client, 100)
    writer.write(shard.deals(deal(T0, 1), deal(T0 + MINUTE, 2)))
    text = redis_client.get(keys.latest("BTC")).decode()
    newest = Candle.from_json(text)
    assert (newest.open_time_ms, newest.interval.value, newest.is_closed) == (T0 + MINUTE, "1m", False)
    assert text in heard()
    assert LATEST_TTL_S - 60 < redis_client.ttl(keys.latest("BTC")) <= LATEST_TTL_S


def test_a_minute_that_closes_later_leaves_the_newer_forming_one_in_latest(redis_client: redis.Redis) -> None:
    shard, writer = Shard(), CandleWriter(redis_client, 100)
    writer.write(shard.deals(deal(T0, 1), deal(T0 + MINUTE + 200, 2)))
    writer.write(shard.deals(deal(T0 + MINUTE + 1_500, 3, symbol=1)))  # closes the first minute of BTC
    assert [candle.open_time_ms for candle in history(redis_client, "1m")] == [T0]
    assert Candle.from_json(redis_client.get(keys.latest("BTC"))).open_time_ms == T0 + MINUTE


def test_an_epoch_is_above_the_last_one_also_where_the_clock_went_back(
    redis_client: redis.Redis, heard: Any
) -> None:
    ahead = time.time_ns() // 1_000_000 + 3_600_000
    redis_client.hset(keys.progress(0), "epoch", ahead)
    shard = Shard()
    CandleWriter(redis_client, 100).write(shard.deals(deal(T0, 1)))
    CandleWriter(redis_client, 100).write(shard.deals(deal(T0 + 1, 2)))
    assert {Candle.from_json(text).epoch for text in heard()} == {ahead + 1, ahead + 2}


def test_a_new_life_that_repeats_an_older_one_publishes_no_forming_candle_until_it_has_caught_up(
    redis_client: redis.Redis, heard: Any
) -> None:
    shard, writer = Shard(), CandleWriter(redis_client, 100)
    writer.write(shard.deals(deal(T0, 1)))
    saved = shard.crash()
    polls = [[deal(T0 + MINUTE, 2)], [deal(T0 + 2 * MINUTE, 3)], [deal(T0 + 2 * MINUTE + 1, 4)]]
    for deals in polls:
        writer.write(shard.deals(*deals))
    newest = redis_client.get(keys.latest("BTC"))
    heard()
    second = CandleWriter(redis_client, 100)
    for deals in polls[:2]:
        second.write(saved.deals(*deals))
    assert redis_client.get(keys.latest("BTC")) == newest
    assert all(Candle.from_json(text).is_closed for text in heard())
    second.write(saved.deals(*polls[2]))
    second.write(saved.deals(deal(T0 + 2 * MINUTE + 2, 5)))
    minutes = [candle for candle in map(Candle.from_json, heard()) if candle.interval.value == "1m"]
    assert [candle.trade_count for candle in minutes] == [3]


def test_an_older_minute_that_a_new_life_closes_does_not_replace_the_newer_one_in_latest(
    redis_client: redis.Redis,
) -> None:
    shard = Shard()
    CandleWriter(redis_client, 100).write(shard.deals(deal(T0, 1), deal(T0 + MINUTE + 200, 2)))
    CandleWriter(redis_client, 100).write(shard.deals(deal(T0 + MINUTE + 1_500, 3, symbol=1)))
    assert [candle.open_time_ms for candle in history(redis_client, "1m")] == [T0]
    assert Candle.from_json(redis_client.get(keys.latest("BTC"))).open_time_ms == T0 + MINUTE


def test_without_its_checkpoints_a_job_notes_no_record_twice_and_leaves_none_out(
    redis_client: redis.Redis,
) -> None:
    shard, writer = Shard(), CandleWriter(redis_client, 100)
    late = [fields([deal(T0 + n, n)]) for n in range(4)]
    entries = [fields([deal(T0 + 90_000)]), *late[:3]]
    for one in entries:
        writer.write(shard.poll(one))
    # A new life that knows nothing, on a stream whose beginning was trimmed: it counts from 1 again.
    anew, again = Shard(), CandleWriter(redis_client, 100)
    anew.entries = 1
    again.write(anew.poll(*entries[1:], fields([deal(T0 + 90_000)])))
    again.write(anew.poll(late[3]))
    ids = [json.loads(one[b"trade"])["trade_id"] for _, one in redis_client.xrange(keys.LATE)]
    assert ids == [0, 1, 2, 3]
    assert redis_client.hget(keys.progress(0), "late") == b"4"


@pytest.mark.parametrize(("limit", "kept"), [(3, 3), (1, 1), (0, 20)])
def test_history_keeps_the_newest_up_to_the_limit_and_all_at_zero(
    redis_client: redis.Redis, limit: int, kept: int
) -> None:
    revisions = Shard().poll(fields([deal(T0 + MINUTE * n, n) for n in range(20)]), heartbeat(END_OF_STREAM))
    for _ in range(2):
        CandleWriter(redis_client, limit).write(revisions)
        opens = [candle.open_time_ms for candle in history(redis_client, "1m")]
        assert opens == [T0 + MINUTE * n for n in range(20 - kept, 20)]


def test_stored_and_published_numbers_are_the_exact_digits(redis_client: redis.Redis, heard: Any) -> None:
    deals = [Deal(0, T0 + n, n, 618_376_300_000_001 + n, 2**50 + n, n % 3 == 0) for n in range(50)]
    CandleWriter(redis_client, 0).write(Shard().poll(fields(deals), heartbeat(END_OF_STREAM)))
    messages = heard()
    assert len(messages) == len(INTERVALS)
    for interval in INTERVALS:
        (text,) = redis_client.zrange(keys.history("BTC", interval.value), 0, -1)
        assert text.decode() in messages
        (sums,) = golden(deals, interval).values()
        assert sums.quote_volume > 2**104
        wanted = golden_candle("BTC", interval, T0, sums)
        assert unpublished(Candle.from_json(text)) == wanted
        assert json.loads(text)["close_time_ms"] == T0 + interval.ms


def test_a_wrong_password_is_raised_at_once(redis_client: redis.Redis) -> None:
    socket = redis_client.connection_pool.connection_kwargs["path"]
    stranger = redis.Redis(unix_socket_path=socket, username="nobody", password="wrong")
    with pytest.raises(redis.AuthenticationError), stranger:
        CandleWriter(stranger, 0).write(noisy(Shard()))
    assert redis_client.dbsize() == 0


def test_a_key_of_another_type_is_raised_not_waited_for(redis_client: redis.Redis) -> None:
    redis_client.set(keys.SYMBOLS, "taken")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        CandleWriter(redis_client, 0).write(noisy(Shard()))


def test_an_outage_is_waited_for_and_leaves_every_record_once(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        writer, shard = CandleWriter(server.client(), 100), Shard()
        writer.write(noisy(shard))
        server.kill()
        waiting = threading.Thread(
            target=writer.write, args=(shard.poll(fields([deal(T0 + 1, 9)]), heartbeat(END_OF_STREAM)),)
        )
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        server.start()
        waiting.join(20)
        assert not waiting.is_alive()
        shown = dump(server.client())
        assert len(shown["late"]) == 2 and len(shown["rejected"]) == 2
        assert shown["progress"][b"late"] == b"2"
        assert shown["symbols"] == {b"BTC", b"ETH"}
    finally:
        server.kill()
