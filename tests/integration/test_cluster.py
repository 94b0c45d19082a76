"""The job on a real cluster from the wheel: a JobManager and two TaskManagers, each its own process."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import redis

from pipeline import keys, wall_clock
from pipeline.cluster import JobControl, LocalCluster
from pipeline.cluster.keeper import Keeper
from pipeline.cluster.nodes import HEARTBEAT_TIMEOUT_S
from pipeline.cluster.rest import FlinkRefused, FlinkUnreachable
from pipeline.errors import SettingsError
from pipeline.settings import Settings
from tests.integration.clustered import Market, closed
from tests.integration.processes import wait_until
from tests.redis_server import RedisServer

SECRET = "a-password-that-nobody-may-read"


@pytest.fixture(scope="module")
def secured_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis that asks for a password."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    server.client().config_set("requirepass", SECRET)
    yield server.url.replace("unix://", f"unix://:{SECRET}@")
    server.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, secured_redis: str) -> Iterator[LocalCluster]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("cluster"), redis_url=secured_redis, shards=4)
    cluster = LocalCluster(settings, taskmanagers=2, slots=2)
    cluster.start()
    yield cluster
    pids = [step.pid for step in cluster.steps()]
    cluster.stop()
    assert not [pid for pid in pids if pid and psutil.pid_exists(pid)]


@pytest.fixture
def client(secured_redis: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(secured_redis) as client:
        client.flushall()
        yield client


@pytest.fixture
def control(cluster: LocalCluster, tmp_path: Path) -> Iterator[JobControl]:
    """The job on the cluster, with checkpoints of its own; ended after the test."""
    wait_until(lambda: is_whole(cluster), 180, "what another test has killed did not come again")
    settings = replace(cluster.settings, state_dir=tmp_path, parallelism=2, checkpoint_ms=500)
    control = JobControl(settings)
    yield control
    if control.living() is not None:
        control.cancel()


def is_whole(cluster: LocalCluster) -> bool:
    return all(step.state == "ready" for step in cluster.steps())


def living_id(control: JobControl) -> str | None:
    """None also while no JobManager answers."""
    try:
        job = control.living()
    except (FlinkUnreachable, FlinkRefused):
        return None
    return job.id if job else None


@contextmanager
def kept(control: JobControl, client: redis.Redis) -> Iterator[Market]:
    """A job with a keeper; it has a checkpoint, and has folded half of the market's trades after it."""
    trades = market(client, control, parts=2)
    control.submit()
    stop = threading.Event()
    keeper = threading.Thread(target=Keeper(control._settings, stop).run)
    keeper.start()
    try:
        wait_for_checkpoint(control)
        trades.write()
        trades.wait_until_folded()
        yield trades
    finally:
        stop.set()
        keeper.join()


def market(client: redis.Redis, control: JobControl, parts: int = 1) -> Market:
    return Market(client, control._settings, parts)


def wait_for_checkpoint(control: JobControl) -> None:
    job = control.wait_until_running()
    before = completed(control, job.id)
    wait_until(lambda: completed(control, job.id) > before, 120, "no checkpoint")


def completed(control: JobControl, job_id: str) -> int:
    return int(control.rest.checkpoints(job_id)["counts"]["completed"])


def test_four_shards_on_two_taskmanagers_come_to_the_golden_candles(
    cluster: LocalCluster, control: JobControl, client: redis.Redis
) -> None:
    trades = market(client, control)
    trades.end()
    job_id = control.submit()
    control.wait_until_running()
    trades.wait_until_folded()
    assert closed(client) == trades.golden()
    source = control.rest.vertices(job_id)[1]
    where = control.rest.subtasks(job_id, source["id"])
    assert sorted(where) == ["taskmanager-0", "taskmanager-1"], "one subtask on each"


def test_a_killed_taskmanager_costs_no_candle_and_comes_again_by_itself(
    cluster: LocalCluster, control: JobControl, client: redis.Redis
) -> None:
    trades = market(client, control, parts=6)
    control.submit()
    trades.write()
    wait_for_checkpoint(control)
    for number in (0, 1):
        trades.write()
        trades.wait_until_folded()
        killed = cluster.taskmanager_pids()[number]
        os.kill(killed, signal.SIGKILL)
        trades.write()
        trades.wait_until_folded()
        wait_until(lambda: is_whole(cluster), 180, "it did not come again")
        assert killed not in cluster.taskmanager_pids()
    trades.end()
    trades.wait_until_folded()
    assert closed(client) == trades.golden()


def test_a_job_stopped_with_a_savepoint_goes_on_from_exactly_there(
    control: JobControl, client: redis.Redis
) -> None:
    trades = market(client, control, parts=3)
    control.submit()
    control.wait_until_running()
    trades.write()
    assert (control.savepoint() / "_metadata").is_file(), "a savepoint of a job that runs on"
    trades.write()
    trades.wait_until_folded()
    control.stop()
    assert control.living() is None
    for shard in range(4):
        client.xtrim(keys.trades_stream(shard), maxlen=0)  # to begin anew would lose what was folded
    trades.end()
    control.submit()
    trades.wait_until_folded()
    assert closed(client) == trades.golden()


def test_two_subtasks_become_four_and_two_again_with_the_same_candles(
    cluster: LocalCluster, control: JobControl, client: redis.Redis
) -> None:
    trades = market(client, control, parts=3)
    control.submit()
    for parallelism in (4, 2):
        control.wait_until_running()
        trades.write()
        control.rescale(parallelism)
        job = control.wait_until_running()
        assert control.parallelism(job) == parallelism
    trades.end()
    trades.wait_until_folded()
    assert closed(client) == trades.golden()


def test_a_job_that_a_killed_jobmanager_forgot_is_submitted_again_and_goes_on(
    cluster: LocalCluster, control: JobControl, client: redis.Redis
) -> None:
    with kept(control, client) as trades:
        first = living_id(control)
        killed = cluster.jobmanager_pid()
        assert killed
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: living_id(control) not in {None, first}, 300, "no job was submitted again")
        trades.end()
        trades.wait_until_folded()
        assert closed(client) == trades.golden()
        assert control.rest.checkpoints(control.jobs()[0].id)["counts"]["restored"] >= 1
        control.stop()
        time.sleep(3)
        assert control.living() is None, "what a person has stopped stays stopped"


def test_no_second_job_begins_while_a_taskmanager_runs_what_the_jobmanager_forgot(
    cluster: LocalCluster, control: JobControl, client: redis.Redis
) -> None:
    with kept(control, client) as trades:
        first = living_id(control)
        killed_ms = wall_clock.now_ms()
        # The TaskManager that comes again has free slots long before the other one misses its JobManager.
        for pid in (cluster.jobmanager_pid(), cluster.taskmanager_pids()[0]):
            assert pid
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: living_id(control) not in {None, first}, 300, "no job was submitted again")
        assert control.jobs()[0].started_ms - killed_ms > 1_000 * (HEARTBEAT_TIMEOUT_S - 2)
        trades.end()
        trades.wait_until_folded()
        assert closed(client) == trades.golden()


def test_what_cannot_run_is_refused_while_the_job_runs_on(control: JobControl, client: redis.Redis) -> None:
    job_id = control.submit()
    control.wait_until_running()
    with pytest.raises(FlinkRefused, match=f"job {job_id} is RUNNING already"):
        control.submit()
    with pytest.raises(SettingsError, match="parallelism 5: must be from 1 to SHARDS=4"):
        control.rescale(5)
    wide = JobControl(replace(control._settings, shards=64))
    with pytest.raises(FlinkRefused, match="parallelism 5: the cluster has 4 slots"):
        wide.rescale(5)
    running = control.living()
    assert running is not None and running.id == job_id


def test_the_password_of_redis_is_in_no_log_and_in_no_answer_of_the_jobmanager(
    cluster: LocalCluster, control: JobControl, client: redis.Redis
) -> None:
    job_id = control.submit()
    control.wait_until_running()
    paths = [f"/jobs/{job_id}{path}" for path in ("", "/config", "/plan", "/exceptions", "/jobmanager/config")]
    paths += [
        "/jobmanager/config",
        "/jobmanager/environment",
        "/jobmanager/log",
        "/jobs/overview",
        "/taskmanagers",
    ]
    paths += [f"/taskmanagers/taskmanager-{number}{path}" for number in (0, 1) for path in ("", "/log")]
    for path in paths:
        with urllib.request.urlopen(cluster.rest_url + path, timeout=10) as answer:
            assert SECRET.encode() not in answer.read(), path
    logs = [path for path in (cluster.settings.state_dir / "cluster").rglob("*.log*") if path.is_file()]
    assert len(logs) >= 6
    for log in logs:
        assert SECRET not in log.read_text(errors="replace"), log


def test_every_port_of_the_cluster_is_on_the_loopback_interface(cluster: LocalCluster) -> None:
    listening = [
        connection.laddr.ip
        for step in cluster.steps()
        if step.pid is not None
        for connection in psutil.Process(step.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 6
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
