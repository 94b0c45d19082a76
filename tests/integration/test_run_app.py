"""The whole thing as a user starts it: ``streamlit run app.py``, with real feed, Flink and Redis."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from pipeline import keys
from pipeline.embedded import url_of
from pipeline.settings import Settings
from tests.integration import processes
from tests.integration.processes import wait_until

HISTORY = {"SIMULATOR_HISTORY_MINUTES": "3", "CHECKPOINT_MS": "1000"}


class App:
    """One state folder, whose app is started and ended."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.log = folder / "log"
        self.port = processes.free_port()
        self.client = redis.Redis.from_url(url_of(Settings(state_dir=self.state)))
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        self.process = processes.start_app(self.state, self.port, self.log, **HISTORY)

    def said(self) -> str:
        return self.log.read_text()

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.said()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def folded(self) -> int:
        try:
            return int(self.ask("hget", keys.progress(0), "trades") or 0)
        except redis.ConnectionError:
            return 0

    def ask(self, command: str, *arguments: str) -> Any:
        return getattr(self.client, command)(*arguments)

    def wait_for_candles(self) -> None:
        wait_until(self.is_up, 60, "the server to answer")
        before = self.folded()
        wait_until(lambda: self.folded() > before, 120, "the job to fold")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(10)

    def left(self) -> list[psutil.Process]:
        return processes.of(self.state)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path)
    yield app
    app.client.close()
    processes.end(app.state)


def test_ctrl_c_ends_everything_within_5_s_without_a_traceback_and_a_second_start_goes_on(app: App) -> None:
    app.start()
    app.wait_for_candles()
    assert len(processes.named(app.state, "redis-server")) == 1
    assert len(processes.named(app.state, "pipeline", "feed")) == 1
    assert len(processes.named(app.state, "java")) == 1
    wait_until(lambda: list(app.state.glob("checkpoints/*/chk-*/_metadata")), 30, "a checkpoint")
    first_minutes = app.ask("zrange", keys.history("BTC", "1m"), "0", "-1")
    assert len(first_minutes) >= 2, "the simulator's past is there"

    app.process.send_signal(signal.SIGINT)
    try:
        wait_until(lambda: not app.left(), 5, "everything to be gone")
    finally:
        assert "Traceback" not in app.said()
    assert app.process.wait(1) in {0, 1, 130}, "it was ended by a signal"

    app.start()
    wait_until(app.is_up, 60, "the server to answer")
    wait_until(lambda: processes.named(app.state, "redis-server"), 10, "Redis")
    wait_until(lambda: app.ask("ping"), 10, "Redis to answer")
    assert app.ask("zrange", keys.history("BTC", "1m"), "0", "-1")[: len(first_minutes)] == first_minutes
    app.wait_for_candles()
    flink_log = (app.state / "flink" / "log" / "flink-candlecast-python-").parent.glob("*.log")
    assert any("Restoring job" in log.read_text() for log in flink_log), "it did not go on from a checkpoint"
    assert app.ask("hget", keys.progress(0), "lost") == b"0"
    app.interrupt()
    wait_until(lambda: not app.left(), 5, "everything to be gone")


def test_feed_and_job_of_an_embedded_run_are_called_well_while_they_are(app: App) -> None:
    app.start()
    app.wait_for_candles()
    for part in ("feed", "job"):
        done = health(part, app.state)
        assert (done.returncode, done.stdout[: len(part) + 10]) == (0, f"{part}: heard of"), done.stderr
    for process in processes.named(app.state, "java"):
        process.suspend()
        wait_until(lambda process=process: process.status() == psutil.STATUS_STOPPED, 10, "it runs on")
    app.client.hset(keys.progress(0), "updated_at_ms", 1)
    done = health("job", app.state)
    assert done.returncode == 1 and "not heard of for" in done.stderr


def health(part: str, state: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "STATE_DIR": str(state), "FLINK_URL": "http://localhost:9"}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "health", part],
        check=False, capture_output=True, text=True, cwd=processes.ROOT, env=environ, timeout=60,
    )  # fmt: skip


def test_a_server_that_is_killed_leaves_nothing_behind(app: App) -> None:
    app.start()
    wait_until(lambda: processes.named(app.state, "java"), 60, "the JVM")
    assert len(app.left()) >= 5
    app.process.kill()
    app.process.wait(5)
    wait_until(lambda: not app.left(), 5, "everything to be gone")


def test_nothing_listens_beyond_the_loopback_interface(app: App) -> None:
    app.start()
    app.wait_for_candles()
    listening = {process.pid: _listening(process) for process in app.left()}
    flink, redis_server = (
        {port for process in processes.named(app.state, name) for _, port in listening[process.pid]}
        for name in ("java", "redis-server")
    )
    app.interrupt()
    addresses = [address for found in listening.values() for address in found]
    assert any(port == app.port for _, port in addresses), "the test has gone blind"
    assert len(flink) >= 2, "the test sees neither Flink's REST nor its RPC"
    assert redis_server == set(), "our own Redis is reached by its socket alone"
    assert {ip for ip, _ in addresses} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def _listening(process: psutil.Process) -> list[tuple[str, int]]:
    """TCP sockets that listen, and UDP sockets that are bound, by address and port."""
    return [
        (connection.laddr.ip, connection.laddr.port)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
        or (connection.type == socket.SOCK_DGRAM and connection.laddr)
    ]


def test_a_state_folder_that_another_run_has_taken_is_one_clear_line(app: App, tmp_path: Path) -> None:
    app.start()
    wait_until(lambda: processes.named(app.state, "redis-server"), 60, "Redis")
    second = subprocess.run(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(processes.free_port())],
        cwd=processes.ROOT,
        env=processes.environment(app.state),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    app.interrupt()
    assert second.returncode == 2
    taken = f"STATE_DIR={app.state}: taken by another run (process {app.process.pid})."
    assert second.stderr.startswith(f"candlecast: {taken}")
    assert second.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 8501))
            taken.listen()
        except OSError:
            pass  # somebody else has it: that will do as well
        done = subprocess.run(
            [sys.executable, "-m", "streamlit", "run", "app.py"],
            cwd=processes.ROOT,
            env=processes.environment(tmp_path),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "Port 8501 is not available" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not processes.of(tmp_path)


@pytest.mark.parametrize(("variable", "value"), [("SHARDS", "many"), ("STATE_DIR", "/proc/candlecast")])
def test_a_setting_that_cannot_be_is_one_clear_line(tmp_path: Path, variable: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(processes.free_port())],
        cwd=processes.ROOT,
        env=processes.environment(tmp_path) | {variable: value},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"candlecast: {variable}={value}") or f"{variable}='{value}'" in done.stderr
    assert done.stderr.count("\n") == 1
