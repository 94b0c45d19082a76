"""What is waited for, with the words of a real Redis, and how long."""

from __future__ import annotations

import logging
import re

import pytest
import redis

from pipeline.retry import AFTERMATH_S, FIRST_WAIT_S, LONGEST_WAIT_S, Backoff, is_outage, one_line, until_done

log = logging.getLogger("candlecast.test")


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Connection refused"),
        redis.BusyLoadingError("Redis is loading the dataset in memory"),
        redis.TimeoutError("Timeout reading from socket"),
        redis.ReadOnlyError("You can't write against a read only replica."),
        redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.exceptions.ExecAbortError("Transaction discarded because of previous errors."),
        redis.ResponseError(
            "MISCONF Redis is configured to save RDB snapshots, but it cannot persist on disk."
        ),
        redis.ResponseError("MASTERDOWN Link with MASTER is down"),
        redis.ResponseError(
            "Command # 2 (SET a b) of pipeline caused error: NOREPLICAS Not enough good replicas."
        ),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error)[:12]}",
)
def test_an_outage_is_waited_for(error: redis.RedisError) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        redis.AuthenticationError("WRONGPASS invalid username-password pair or user is disabled."),
        redis.exceptions.AuthorizationError("not allowed"),
        redis.exceptions.NoPermissionError("this user has no permissions to run the 'set' command"),
        redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        redis.ResponseError("ERR MISCONF stands in the middle"),
        redis.DataError("Invalid input of type: 'NoneType'"),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error)[:12]}",
)
def test_what_waiting_cannot_mend_is_no_outage(error: redis.RedisError) -> None:
    assert not is_outage(error)


def test_a_full_redis_is_an_outage_also_inside_a_transaction(redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.RedisError) as caught:
            redis_client.pipeline(transaction=True).set("a", "b").execute()
    finally:
        redis_client.config_set("maxmemory", 0)
    assert is_outage(caught.value)


def test_a_wrong_type_in_a_transaction_is_none_and_its_line_leaves_out_the_command(
    redis_client: redis.Redis,
) -> None:
    redis_client.set("a", "b")
    with pytest.raises(redis.RedisError) as caught:
        redis_client.pipeline(transaction=True).hset("a", "field", b"\x00\xff secret trades").execute()
    assert not is_outage(caught.value)
    assert one_line(caught.value).startswith("WRONGTYPE")


def test_an_error_is_shown_as_one_short_line() -> None:
    assert one_line(redis.ConnectionError("first\nsecond")) == "first"
    assert len(one_line(redis.ConnectionError("x" * 5_000))) == 200


def test_waits_double_up_to_a_cap_with_jitter_and_begin_anew_after_a_success() -> None:
    backoff, error = Backoff(log, "writing"), redis.ConnectionError("refused")
    longest = [min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n) for n in range(12)] + [LONGEST_WAIT_S] * 2_000
    waits = [backoff.failed(error) for _ in longest]
    assert all(cap / 2 <= wait <= cap for wait, cap in zip(waits, longest, strict=True))
    assert len(set(waits[12:])) > 1_000
    backoff.succeeded()
    assert backoff.failed(error) <= FIRST_WAIT_S


def test_trouble_is_logged_once_when_it_starts_and_once_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    backoff = Backoff(log, "shard 3: reading")
    backoff.succeeded()
    assert caplog.messages == []
    for _ in range(3):
        backoff.failed(redis.ConnectionError("refused"))
    backoff.succeeded()
    backoff.succeeded()
    start, end = caplog.messages
    assert start == "shard 3: reading: Redis is away or refuses, trying until it answers (refused)"
    assert re.fullmatch(r"shard 3: reading: Redis answers again after \d+\.\d s, 3 attempts", end)


def test_of_several_that_wait_in_one_process_only_the_first_and_the_last_say_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("pipeline.retry.time.monotonic", lambda: now[0])
    reading, writing = Backoff(log, "reading"), Backoff(log, "writing")
    given_up = Backoff(log, "given up")
    for backoff in (reading, writing, given_up):
        backoff.failed(redis.ConnectionError("refused"))
    reading.succeeded()
    del given_up, backoff
    writing.succeeded()
    assert [line.partition(":")[0] for line in caplog.messages] == ["reading", "writing"]
    reading.failed(redis.ConnectionError("a connection that had broken"))
    reading.succeeded()
    assert len(caplog.messages) == 2, "that was the same outage"
    now[0] += AFTERMATH_S
    reading.failed(redis.ConnectionError("refused"))
    assert len(caplog.messages) == 3, "the next one is told of again"
    reading.succeeded()
    assert len(caplog.messages) == 4


def test_an_attempt_is_repeated_until_it_succeeds_and_what_is_no_outage_is_raised() -> None:
    answers = [redis.ConnectionError("refused"), redis.TimeoutError("slow"), "done"]
    pauses: list[float] = []

    def attempt() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert until_done(attempt, Backoff(log, "trying"), pauses.append) == "done"
    assert len(pauses) == 2
    answers.append(redis.ResponseError("WRONGTYPE"))
    with pytest.raises(redis.ResponseError):
        until_done(attempt, Backoff(log, "trying"), pauses.append)
    assert len(pauses) == 2
