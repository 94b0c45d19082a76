"""The embedded run with a real Redis; small commands stand in for feed and job where they are not the point."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest
import redis

from pipeline import keys
from pipeline.embedded import Embedded, Step
from pipeline.embedded.supervisor import STEADY_AFTER_S
from pipeline.settings import Settings
from tests.integration import processes

FEED = """
import os, redis, time
client = redis.Redis.from_url(os.environ["REDIS_URL"])
while True:
    try:
        client.hset("crypto:feed", "updated_at_ms", time.time_ns() // 1_000_000)
    except redis.RedisError:
        pass
    time.sleep(0.02)
"""
STAND_INS = {"feed": (sys.executable, "-c", FEED), "job": ("/bin/sh", "-c", "sleep 1000 & sleep 1000")}

Run = Callable[[Mapping[str, Sequence[str]]], Embedded]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts embedded runs of one state folder; stops them."""
    started: list[Embedded] = []

    def start(commands: Mapping[str, Sequence[str]]) -> Embedded:
        embedded = Embedded(Settings(state_dir=tmp_path / "state"), commands)
        embedded.start()
        started.append(embedded)
        return embedded

    yield start
    for embedded in started:
        embedded.stop()


def step(embedded: Embedded, name: str) -> Step:
    return next(step for step in embedded.steps() if step.name == name)


def wait_ready(embedded: Embedded, name: str, restarts: int = 0) -> Step:
    def is_ready() -> bool:
        return step(embedded, name).state == "ready" and step(embedded, name).restarts == restarts

    processes.wait_until(is_ready, 20, f"{name} to be ready after {restarts} restarts")
    return step(embedded, name)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_steps_tell_how_far_each_process_is(run: Run) -> None:
    embedded = run(STAND_INS)
    assert [step.name for step in embedded.steps()] == ["Redis", "feed", "job"]
    assert step(embedded, "job").state in {"waiting", "starting"}
    assert 0 < wait_ready(embedded, "Redis").elapsed_s < 20
    wait_ready(embedded, "feed")
    assert step(embedded, "job").state == "starting", "it has never said anything"
    embedded.stop()
    assert {step.state for step in embedded.steps()} == {"stopped"}


@pytest.mark.parametrize("name", ["Redis", "feed"])
def test_a_process_that_is_killed_is_started_again_and_counted(run: Run, name: str) -> None:
    embedded = run(STAND_INS)
    wait_ready(embedded, "feed")
    pid = wait_ready(embedded, name).pid
    assert pid
    psutil.Process(pid).kill()
    again = wait_ready(embedded, name, restarts=1)
    assert again.pid != pid
    assert step(embedded, "job").restarts == 0


def test_what_a_killed_process_had_started_is_gone_before_its_successor_starts(run: Run) -> None:
    embedded = run(STAND_INS)
    processes.wait_until(lambda: step(embedded, "job").pid, 20, "the job to start")
    pid = step(embedded, "job").pid
    assert pid
    processes.wait_until(lambda: len(psutil.Process(pid).children()) == 3, 5, "its children and its guard")
    family = [pid, *(child.pid for child in psutil.Process(pid).children())]
    psutil.Process(pid).kill()
    processes.wait_until(lambda: step(embedded, "job").restarts == 1, 5, "its end to be noticed")
    assert all(is_gone(member) for member in family)


def test_a_process_that_fails_at_once_is_tried_again_ever_more_slowly(run: Run) -> None:
    embedded = run({**STAND_INS, "job": ("/bin/sh", "-c", "echo no luck today; exit 3")})
    processes.wait_until(lambda: step(embedded, "job").restarts >= 4, 20, "four failures")
    failed = step(embedded, "job")
    assert "exit code 3" in failed.detail
    assert "no luck today" in failed.detail
    time.sleep(1.0)
    # 0.1, 0.2, 0.4, 0.8 s have passed after four failures; the next waits are 1.6 s and more.
    assert step(embedded, "job").restarts <= 6


def test_a_feed_that_has_come_to_its_end_is_left_alone(run: Run) -> None:
    embedded = run({**STAND_INS, "feed": ("/bin/sh", "-c", "exit 0")})
    processes.wait_until(lambda: step(embedded, "feed").detail == "finished", 20, "the feed to finish")
    time.sleep(0.5)
    assert step(embedded, "feed").state == "stopped"
    assert step(embedded, "feed").restarts == 0


def test_redis_keeps_what_it_was_told_over_a_kill_and_over_a_stop(run: Run) -> None:
    embedded = run(STAND_INS)
    wait_ready(embedded, "Redis")
    with redis.Redis.from_url(embedded.redis_url) as client:
        client.set("before", "the kill")
    pid = step(embedded, "Redis").pid
    assert pid
    psutil.Process(pid).kill()
    wait_ready(embedded, "Redis", restarts=1)
    with redis.Redis.from_url(embedded.redis_url) as client:
        assert client.get("before") == b"the kill"
        client.set("after", "the kill")
    embedded.stop()
    second = run(STAND_INS)
    wait_ready(second, "Redis")
    with redis.Redis.from_url(second.redis_url) as client:
        assert client.get("before") == client.get("after") == b"the kill"


def test_redis_ends_after_those_that_write_to_it(run: Run, tmp_path: Path) -> None:
    # This feed needs Redis for its last word, which it has only once it is asked to end.
    last_word = f"""
import os, redis, signal, time
client = redis.Redis.from_url(os.environ["REDIS_URL"])
client.hset("{keys.FEED}", "updated_at_ms", time.time_ns() // 1_000_000)
def end(*_):
    time.sleep(0.3)
    client.set("last", "word")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
while True:
    time.sleep(1)
"""
    embedded = run({**STAND_INS, "feed": (sys.executable, "-c", last_word)})
    wait_ready(embedded, "feed")
    embedded.stop()
    second = run({})
    wait_ready(second, "Redis")
    with redis.Redis.from_url(second.redis_url) as client:
        assert client.get("last") == b"word"


def test_stopping_takes_no_longer_than_5_s_even_if_nobody_listens(run: Run) -> None:
    stubborn = ("/bin/sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000; sleep 1000")
    embedded = run({"feed": stubborn, "job": stubborn})
    processes.wait_until(lambda: all(step.pid for step in embedded.steps()), 20, "all to be started")
    time.sleep(0.2)
    pids = [step.pid for step in embedded.steps()]
    began = time.monotonic()
    embedded.stop()
    assert time.monotonic() - began < 5
    assert all(is_gone(pid) for pid in pids if pid)


def test_redis_listens_on_no_port(run: Run) -> None:
    embedded = run(STAND_INS)
    pid = wait_ready(embedded, "Redis").pid
    assert pid
    assert psutil.Process(pid).net_connections(kind="inet") == []
    assert any(connection.laddr for connection in psutil.Process(pid).net_connections(kind="unix"))


def test_an_owner_that_is_killed_takes_everything_with_it_and_the_next_run_starts(
    run: Run, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    program = """
import os, pathlib, sys, time
from pipeline.embedded import Embedded
from pipeline.settings import Settings
embedded = Embedded(Settings(state_dir=pathlib.Path(sys.argv[1])),
    {"feed": ("/bin/sh", "-c", "trap '' TERM; sleep 1000; sleep 1000"),
     "job": ("/bin/sh", "-c", "sleep 1000 & wait")})
embedded.start()
while not all(step.pid for step in embedded.steps()):
    time.sleep(0.01)
time.sleep(0.3)
os.kill(os.getpid(), 9)
"""
    subprocess.run(
        [sys.executable, "-c", program, state],
        check=False,
        cwd=processes.ROOT,
        env=processes.environment(state),
    )
    leftovers = [process.pid for process in processes.of(state)]
    assert leftovers, "the guards have not even had the time to notice"
    embedded = run(STAND_INS)  # waits for the leftovers, instead of joining them on the same files
    wait_ready(embedded, "Redis")
    # The lock was free, so their files were closed: they are gone, or in their very last step.
    processes.wait_until(lambda: all(map(is_gone, leftovers)), 1, "the killed run's children to be gone")


def test_a_process_that_was_well_is_started_again_at_once_however_often_it_is_killed(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    embedded = run(STAND_INS)
    for kills in range(2):
        pid = wait_ready(embedded, "feed", restarts=kills).pid
        assert pid
        time.sleep(STEADY_AFTER_S + 0.2)
        psutil.Process(pid).kill()
    wait_ready(embedded, "feed", restarts=2)
    assert [line.rpartition("; ")[2] for line in caplog.messages if line.startswith("feed ended")] == [
        "starting again in 0.1 s"
    ] * 2


def test_a_process_that_is_killed_again_and_again_while_it_comes_up_never_waits_for_long(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    embedded = run({**STAND_INS, "job": ("/bin/sh", "-c", "kill -9 $$")})
    processes.wait_until(lambda: step(embedded, "job").restarts >= 7, 30, "seven kills")
    waits = [line.rpartition("in ")[2] for line in caplog.messages if line.startswith("job ended")]
    assert waits[:7] == ["0.1 s", "0.2 s", "0.4 s", "0.8 s", "1.0 s", "1.0 s", "1.0 s"]
