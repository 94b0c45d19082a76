"""The real runs that are killed: the embedded one, the app beside it, and the whole server.

A rig owns all it starts. ``victim`` says which process a kill would hit now, or None while there is
none: it is being started again.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil
import redis

from chaos.ears import Ears, RedisEars, SocketEars
from pipeline import keys
from pipeline.cluster.local import LocalCluster
from pipeline.embedded import COMMANDS, Embedded, url_of
from pipeline.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[1]
_STOP_WITHIN_S: Final = 20.0


class Rig:
    """An embedded run in this process: Redis, feed and job, kept alive by their supervisor."""

    def __init__(self, settings: Settings, process: str) -> None:
        self.settings = settings
        self.url = url_of(settings)
        self.process = process
        self._embedded = Embedded(settings)

    def start(self) -> None:
        self._embedded.start()

    def stop(self) -> None:
        self._embedded.stop()

    def ears(self) -> Ears:
        return RedisEars(self.url)

    def victim(self) -> int | None:
        if self.process == "jvm":
            return _java_below(self._pid("job"))
        return self._pid({"client": "job", "redis": "Redis"}.get(self.process, self.process))

    def aim(self, dice: random.Random) -> None:
        """Choose whom the next kills hit, where there is a choice."""

    def killed(self) -> None:
        """Called after each kill: whoever has no supervisor is started again here."""

    def feed(self) -> int | None:
        return self._pid("feed")

    def describe(self) -> str:
        """For the message of a run that has failed."""
        return "; ".join(f"{step.name} {step.state} {step.detail}" for step in self._embedded.steps())

    def _pid(self, name: str) -> int | None:
        return next(step.pid for step in self._embedded.steps() if step.name == name)


class AnyRig(Rig):
    """Each of the four in turn, in an order that is thrown anew for each round."""

    _FOUR: Final = ("jvm", "client", "feed", "redis")

    def __init__(self, settings: Settings, process: str) -> None:
        super().__init__(settings, process)
        self._round: list[str] = []
        self.process = self._FOUR[0]

    def aim(self, dice: random.Random) -> None:
        self._round = self._round or dice.sample(self._FOUR, len(self._FOUR))
        self.process = self._round.pop()


class AppRig(Rig):
    """The app alone is killed; Redis, feed and job stand beside it, as on machines of their own."""

    def __init__(self, settings: Settings, process: str) -> None:
        super().__init__(settings, process)
        self._app = App({"REDIS_URL": self.url, "STATE_DIR": str(settings.state_dir)}, settings.state_dir)

    def start(self) -> None:
        super().start()
        self._app.start()

    def stop(self) -> None:
        self._app.stop()
        super().stop()

    def ears(self) -> Ears:
        return SocketEars(self._app.socket_url)

    def victim(self) -> int | None:
        return self._app.pid

    def killed(self) -> None:
        self._app.start()


class ServerRig(Rig):
    """``streamlit run app.py``, which supervises the others: killed, it takes them all with it."""

    def __init__(self, settings: Settings, process: str, variables: Mapping[str, str] | None = None) -> None:
        super().__init__(settings, process)
        self._app = App(settings.to_env() | dict(variables or {}), settings.state_dir)

    @property
    def port(self) -> int:
        return self._app.port

    def log(self) -> str:
        """What the server has printed so far."""
        return self._app.log.read_text(errors="replace")

    def start(self) -> None:
        self._app.start()

    def stop(self) -> None:
        self._app.stop()

    def victim(self) -> int | None:
        return self._app.pid

    def killed(self) -> None:
        self._app.start()

    def feed(self) -> int | None:
        for process in _below(self._app.pid):
            with suppress(psutil.Error):
                if process.cmdline()[-3:] == ["-m", "pipeline", "feed"] and process.cmdline()[0] != "/bin/sh":
                    return process.pid
        return None


class ClusterRig(Rig):
    """A standalone cluster beside Redis and feed; its TaskManager, where the job runs, is killed."""

    def __init__(self, settings: Settings, process: str) -> None:
        super().__init__(settings, process)
        self._embedded = Embedded(settings, {"feed": COMMANDS["feed"]})
        self._cluster = LocalCluster(replace(settings, redis_url=self.url), taskmanagers=1, slots=1)

    def start(self) -> None:
        super().start()
        try:
            self._cluster.start()
            self._cluster.submit()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._cluster.stop()
        super().stop()

    def victim(self) -> int | None:
        return next(iter(self._cluster.taskmanager_pids()), None)


class App:
    """``streamlit run app.py`` on a port of its own."""

    def __init__(self, variables: dict[str, str], folder: Path) -> None:
        self.port = _free_port()
        self.socket_url = f"ws://127.0.0.1:{self.port}/ws/prices/ALL?interval=1s"
        kept = {name: value for name, value in os.environ.items() if name not in Settings().to_env()}
        kept.pop("REDIS_URL", None)
        self._environ = {**kept, **variables}
        self.log = folder.parent / f"{folder.name}-app.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:  # its guards end what it had started
            self._process.kill()
            self._process.wait()


RIGS: Final[dict[str, Callable[[Settings, str], Rig]]] = {
    "jvm": Rig,
    "client": Rig,
    "feed": Rig,
    "redis": Rig,
    "any": AnyRig,
    "app": AppRig,
    "server": ServerRig,
    "taskmanager": ClusterRig,
}
"""Who may be killed, and in which run."""


def kill(rig: Rig) -> int | None:
    """SIGKILL the rig's victim and wait until it is gone; None if there is none just now."""
    pid = rig.victim()
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        process.kill()
    except psutil.NoSuchProcess:
        return None
    # Not process.wait(): it may be a child of ours, and its exit code belongs to the one who started it.
    while is_alive(process):
        time.sleep(0.002)
    rig.killed()
    return pid


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that is dead and not yet fetched does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_first_candle(rig: Rig, within_s: float = 600) -> None:
    """Return when the job has written. TimeoutError."""
    deadline = time.monotonic() + within_s
    while True:
        with suppress(redis.RedisError), redis.Redis.from_url(rig.url) as client:
            if client.hget(keys.progress(0), "trades") and rig.victim():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"no candle within {within_s:.0f} s: see {rig.settings.state_dir}/logs")
        time.sleep(0.1)


def _below(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        return []
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _java_below(pid: int | None) -> int | None:
    for process in _below(pid):
        with suppress(psutil.Error):
            if process.name() == "java":
                return process.pid
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
