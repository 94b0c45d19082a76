"""Short forms of ``python -m chaos``: real processes are killed, Redis is taken away, memory is looked at."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
import redis

from chaos import golden, matrix, outages, soak, tape
from pipeline import keys
from pipeline.candle import candle_json
from pipeline.market import INTERVALS
from tests.candles import publish


def test_after_a_kill_of_jvm_client_feed_and_redis_each_all_candles_equal_the_golden_ones(
    tmp_path: Path,
) -> None:
    row = matrix.run("any", 11, 4, tmp_path)
    assert row.recovered == row.kills == 4
    assert row.is_whole, row.summary()
    assert row.trades > 1_000


def test_with_redis_stopped_hanging_full_and_read_only_nobody_ends_and_no_candle_is_lost() -> None:
    heard: list[outages.Outage] = []
    row = outages.run(outages.KINDS, (2.0,), 11, heard.append)
    assert [outage.kind for outage in heard] == list(outages.KINDS)
    for outage in heard:
        assert outage.ended == (), outage
        assert outage.fresh_s is not None, outage
        for process, (starts, ends) in outage.lines.items():
            assert starts == ends <= 1, (process, outage)
    stopped = heard[0]
    assert all(lines == (1, 1) for lines in stopped.lines.values()), "each process says so, once at each end"
    assert row.is_whole, row.summary()


def test_a_short_soak_sees_every_process_and_its_visitors() -> None:
    soaked = soak.run(0.5, clients=8, sessions=1, every_s=5)
    assert {name for look in soaked.looks for name in look.processes} == {
        "server", "redis", "feed", "client", "jvm",
    }  # fmt: skip
    assert soaked.restarts == soaked.lost == soaked.failed == 0
    assert soaked.opened >= 1 and soaked.frames > 1_000 and soaked.connects == 8
    assert len(soak.table(soaked)) > 10


TRADES = pd.DataFrame(
    {
        "symbol": ["BTC", "BTC", "BTC", "ETH"],
        "trade_id": [2, 1, 3, 4],
        "event_time_ms": [tape.START_MS + 5, tape.START_MS + 5, tape.START_MS + 61_000, tape.START_MS],
        "price": [7 * 10**10, 5 * 10**10, 6 * 10**10 + 1, 10**10],
        "quantity": [10**8, 2 * 10**8, 3, 4],
        "is_buy": [True, False, True, True],
    }
)


def closed(key: tuple[str, str, int], values: golden.Values) -> str:
    interval = next(interval for interval in INTERVALS if interval.value == key[1])
    return candle_json(
        key[0], interval, key[2], *(f"{value:f}" for value in values[:7]),
        trade_count=values[7], is_closed=True, epoch=1, seq=1, published_at_ms=1,
    )  # fmt: skip


def test_the_golden_candles_are_what_one_works_out_by_hand() -> None:
    candles = golden.golden(TRADES)
    minute = tape.START_MS // 60_000 * 60_000
    assert candles["BTC", "1m", minute] == (
        Decimal(5), Decimal(7), Decimal(5), Decimal(7), Decimal(3), Decimal(17), Decimal(1), 2,
    )  # fmt: skip
    assert candles["BTC", "1h", minute // 3_600_000 * 3_600_000][6:] == (Decimal("1.00000003"), 3)
    assert len([key for key in candles if key[:2] == ("BTC", "1s")]) == 2


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("none", (0, 0, 0)),
        ("missing", (1, 0, 0)),
        ("doubled", (0, 1, 0)),
        ("different", (0, 0, 1)),
        ("nobody's", (0, 0, 1)),
    ],
)
def test_a_candle_that_is_missing_doubled_or_different_is_found(
    redis_client: redis.Redis, harm: str, found: tuple[int, int, int]
) -> None:
    wanted = golden.golden(TRADES)
    publish(redis_client, *(closed(key, values) for key, values in wanted.items()))
    key, values = next((key, values) for key, values in wanted.items() if key[:2] == ("BTC", "1m"))
    history = keys.history(key[0], key[1])
    if harm in {"missing", "different"}:
        redis_client.zremrangebyscore(history, key[2], key[2])
    if harm == "doubled":
        redis_client.zadd(history, {closed(key, values).replace('"seq":1', '"seq":2'): key[2]})
    if harm == "different":
        redis_client.zadd(
            history, {closed(key, (*values[:5], values[5] + Decimal("1e-18"), *values[6:])): key[2]}
        )
    if harm == "nobody's":
        redis_client.zadd(history, {closed((key[0], key[1], 0), values): 0})
    differences = golden.compare(redis_client, wanted)
    assert (differences.missing, differences.doubled, differences.different) == found
