"""The feed as its own process: killed, stopped, and left alone by Redis."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from feeding import RedisServer, counts, plain, rejected, written

from pipeline import keys
from pipeline.feed.market_model import Market
from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_SPIKES = {"SIMULATOR_HISTORY_MINUTES": "1", "SIMULATOR_SPIKE_MINUTES": "0"}


@contextmanager
def feed(url: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m pipeline feed`` with these settings; killed at the end, if it still runs."""
    env = {name: value for name, value in os.environ.items() if name not in Settings().to_env()}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "feed"],
        env=env | {"REDIS_URL": url, **variables},
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def wait_for_more(client: redis.Redis, process: subprocess.Popen[bytes], than: int) -> int:
    """How many trades the feed has written, once it is more than ``than``."""
    deadline = time.monotonic() + 20
    while (count := int(client.hget(keys.FEED, "trades") or 0)) <= than:
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        assert time.monotonic() < deadline, "the feed writes nothing"
        time.sleep(0.01)
    return count


def assert_history_of(market: Market, trades) -> None:
    """``trades`` are the market's own from its first minute on, each once."""
    state = market.first_state(trades[0].event_time_ms // 60_000 * 60)
    expected = []
    while len(expected) < len(trades):
        second, state = market.advance(state)
        expected += plain(market.symbols, second)
    # Not the lists themselves: pytest would look for their differences for hours.
    assert [n for n, trade in enumerate(trades) if trade != expected[n]][:5] == []


def test_a_simulator_killed_at_random_moments_tells_one_history(redis_url, redis_client) -> None:
    dice, count = random.Random(5), 0
    variables = WITHOUT_SPIKES | {"SIMULATOR_RATE": "2000", "SYMBOLS": "BTC,ETH,SOL"}
    for _ in range(10):
        with feed(redis_url, **variables) as process:
            count = wait_for_more(redis_client, process, count)
            time.sleep(dice.random() * 0.4)  # the moment must not depend on what the feed does
            process.send_signal(signal.SIGKILL)
            process.wait()
    trades = written(redis_client)
    assert_history_of(Market(7, 2_000, ("BTC", "ETH", "SOL")), trades)
    assert len(trades) == int(redis_client.hget(keys.FEED, "trades"))


def test_a_replay_killed_at_random_moments_writes_each_trade_and_each_bad_line_once(
    redis_url, redis_client, tmp_path
) -> None:
    path = tmp_path / "trades.csv"
    total = 1_500_000
    with path.open("w") as file:
        file.write("exchange,symbol,trade_id,event_time_ms,price,quantity,side\n")
        for number in range(1, total + 1):
            bad = number % 100_000 == 0
            file.write(f"x,BTC,{number},{1_700_000_000_000 + number},{'bad' if bad else number},1,buy\n")
    dice, count = random.Random(5), 0
    for kills in range(6):
        with feed(redis_url, FEED=f"replay:{path}", STREAM_MAX_ENTRIES="100000") as process:
            job_reads_everything(redis_client)
            if kills < 5:
                count = wait_for_more(redis_client, process, count)
                time.sleep(dice.random() * 0.1)
                process.send_signal(signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"
            else:
                assert process.wait(60) == 0
    ids = [trade.trade_id for trade in written(redis_client)]
    assert ids == [number for number in range(1, total + 1) if number % 100_000]
    assert counts(redis_client) == {"price: not a number": 15}
    assert [record["origin"] for record in rejected(redis_client)] == [
        f"{path}:{number + 1}" for number in range(100_000, total + 1, 100_000)
    ]


def job_reads_everything(client: redis.Redis) -> None:
    """Play a job that has folded all there is, which a bulk feed waits for at its start."""
    newest = client.xrevrange(keys.trades_stream(0), count=1)
    if newest:
        client.hset(keys.progress(0), "position", newest[0][0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_finishes_its_write_and_ends_well(
    redis_url, redis_client, number: signal.Signals
) -> None:
    with feed(redis_url, SIMULATOR_HISTORY_MINUTES="1") as process:
        wait_for_more(redis_client, process, 5_000)
        process.send_signal(number)
        assert process.wait(5) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_it_can_be_stopped_while_redis_is_away_and_says_so_once(tmp_path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        with feed(server.url, SIMULATOR_HISTORY_MINUTES="1") as process:
            with server.client() as client:
                wait_for_more(client, process, 5_000)
            server.kill()
            time.sleep(1.5)  # several attempts
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
            assert process.stderr is not None
            assert process.stderr.read().count(b"Redis is away or refuses") == 1
    finally:
        server.stop()


def test_over_an_outage_the_simulated_market_has_no_hole(tmp_path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        with server.client() as client, feed(server.url, **WITHOUT_SPIKES) as process:
            count = wait_for_more(client, process, 5_000)
            for _ in range(3):
                server.kill()
                time.sleep(0.7)
                server.start()
                count = wait_for_more(client, process, count)
            assert_history_of(Market(7, 200, Settings().symbols), written(client))
    finally:
        server.stop()


def test_a_wiped_redis_gets_a_new_market_from_its_beginning(redis_url, redis_client) -> None:
    with feed(redis_url, SIMULATOR_HISTORY_MINUTES="1") as process:
        wait_for_more(redis_client, process, 5_000)
        word = redis_client.get(keys.INSTANCE)
        redis_client.flushall()
        wait_for_more(redis_client, process, 5_000)
        assert redis_client.get(keys.INSTANCE) not in {None, word}
        assert written(redis_client)[0].trade_id == 1


def test_without_a_redis_it_says_what_to_set() -> None:
    env = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    found = subprocess.run(
        [sys.executable, "-m", "pipeline", "feed"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert found.stderr.startswith("candlecast: REDIS_URL is not set")
    assert found.stderr.count("\n") == 1
