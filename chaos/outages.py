"""Redis away, hanging, full or read-only, for a while: what every process does then, and what comes of it.

Feed, job and app run as they would on machines of their own, with one ``REDIS_URL``, so that Redis
stays away for as long as we say. In each outage counted: CPU seconds, log lines, whether a process
ended; after it: the time to the first fresh candle. At the end: candles against golden ones.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil
import redis

from chaos import matrix, rigs, tape
from chaos.ears import RedisEars
from pipeline.embedded import flink_folder, redis_server
from pipeline.embedded.state_folder import StateFolder
from pipeline.settings import Settings

KINDS: Final = ("stopped", "hanging", "full", "read-only")
SECONDS: Final = (1.0, 10.0, 60.0)
STARTS: Final = "Redis is away or refuses"
ENDS: Final = "Redis answers again"
_STEADY_S: Final = 3.0


@dataclass(frozen=True)
class Outage:
    """What one outage came to; by process: CPU seconds, and log lines at its start and its end."""

    kind: str
    seconds: float
    cpu_s: Mapping[str, float]
    lines: Mapping[str, tuple[int, int]]
    fresh_s: float | None
    ended: tuple[str, ...]


class Server:
    """The redis-server of the run."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self.url = redis_server.url(folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        redis_server.mend_file(self._folder.redis)
        self._process = subprocess.Popen(redis_server.command(self._folder), stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            while not redis_server.answers(client):
                time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None  # noqa: S101
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self.send(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    @contextmanager
    def away(self, kind: str) -> Iterator[None]:
        """Out of order, in the way of ``kind``, while inside."""
        with redis.Redis.from_url(self.url) as client:
            if kind == "stopped":
                self.kill()
                yield
                self.start()
            elif kind == "hanging":
                self.send(signal.SIGSTOP)
                yield
                self.send(signal.SIGCONT)
            elif kind == "full":
                client.config_set("maxmemory", 1)
                yield
                client.config_set("maxmemory", 0)
            else:
                client.execute_command("REPLICAOF", "127.0.0.1", "1")
                yield
                client.execute_command("REPLICAOF", "NO", "ONE")


class Separate(rigs.Rig):
    """Redis, feed, job and app, each by itself. Nobody starts them again: one that ends has failed."""

    def __init__(self, settings: Settings) -> None:
        self._folder = StateFolder(settings.state_dir)
        self._folder.take()
        self.redis = Server(self._folder)
        self.url = self.redis.url
        self.settings = replace(settings, redis_url=self.url)
        self.process = "redis"
        self._app = rigs.App(self.settings.to_env(), settings.state_dir)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self.redis.start()
        env = {**os.environ, **self.settings.to_env(), "PYTHONUNBUFFERED": "1"}
        flink = flink_folder.prepare(self._folder.flink, os.environ)
        for name, extra in (("feed", {}), ("job", flink)):
            with self.log_of(name).open("wb") as log:
                self._running[name] = subprocess.Popen(
                    [sys.executable, "-m", "pipeline", name],
                    cwd=rigs.ROOT, env=env | extra, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
        self._app.start()

    def stop(self) -> None:
        self._app.stop()
        for process in self._running.values():
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()  # the JVM: it would go by itself, but later
            process.kill()
            process.wait()
        self.redis.kill()
        self._folder.release()

    def victim(self) -> int | None:
        return self._app.pid

    def feed(self) -> int | None:
        return self._running["feed"].pid

    def describe(self) -> str:
        return f"ended: {', '.join(self.ended()) or 'none'}"

    def ended(self) -> tuple[str, ...]:
        """Processes that do not run any more."""
        gone = [name for name, process in self._running.items() if process.poll() is not None]
        return (*gone, *(() if self._app.pid else ("app",)))

    def log_of(self, name: str) -> Path:
        return self._app.log if name == "app" else self._folder.logs / f"{name}.log"

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, each with all it has started."""
        pids = {name: process.pid for name, process in self._running.items()} | {"app": self._app.pid or 0}
        return {name: _cpu_s(pid) for name, pid in pids.items()}

    def lines(self, words: str) -> dict[str, int]:
        """Log lines so far that hold ``words``."""
        return {
            name: self.log_of(name).read_text(errors="replace").count(words) for name in ("feed", "job", "app")
        }


def _cpu_s(pid: int) -> float:
    total = 0.0
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):
                total += sum(process.cpu_times()[:2])
    return total


def run(
    kinds: Sequence[str], seconds: Sequence[float], seed: int, told: Callable[[Outage], None]
) -> matrix.Row:
    """Go through every kind for every length; ``told`` hears of each at once. The row has the differences."""
    with tempfile.TemporaryDirectory(prefix="candlecast-outages-", ignore_cleanup_errors=True) as made:
        place = Path(made)
        length_s = 400 + len(kinds) * sum(second + 90 for second in seconds)
        trades = tape.record(place / "trades.csv", seed, int(matrix.SPEED * length_s), matrix.RATE)
        settings = Settings(
            state_dir=place / "state", feed=f"replay:{trades.path}", replay_speed=matrix.SPEED,
            history_limit=0, symbols=tape.SYMBOLS, checkpoint_ms=1_000,
        )  # fmt: skip
        rig, row = Separate(settings), matrix.Row("outages")
        with ExitStack() as stack:
            stack.callback(rig.stop)
            rig.start()
            rigs.wait_for_first_candle(rig)
            for kind in kinds:
                for length in seconds:
                    told(_one(rig, kind, length))
                    row.kills += 1
            matrix.finish(rig, trades, row)
        return row


def _one(rig: Separate, kind: str, seconds: float) -> Outage:
    ears = RedisEars(rig.url)
    try:
        time.sleep(_STEADY_S)
        cpu, starts, ends = rig.cpu_s(), rig.lines(STARTS), rig.lines(ENDS)
        newest = matrix.newest_fed(rig)
        with rig.redis.away(kind):
            time.sleep(seconds)
            used = {name: after - cpu[name] for name, after in rig.cpu_s().items()}
        back_at = time.monotonic()
        ears.listen_for(newest, time.time_ns() // 1_000_000)
        heard_at = ears.first_fresh(matrix.RECOVERY_WITHIN_S)
        time.sleep(_STEADY_S)
        lines = {
            name: (after - starts[name], rig.lines(ENDS)[name] - ends[name])
            for name, after in rig.lines(STARTS).items()
        }
        fresh_s = None if heard_at is None else heard_at - back_at
        return Outage(kind, seconds, used, lines, fresh_s, rig.ended())
    finally:
        ears.stop()


HEAD: Final = ("Redis", "for", "fresh after", "CPU feed", "job", "app", "lines feed", "job", "app", "ended")


def cells(outage: Outage) -> list[str]:
    """One line of the table; CPU in seconds, log lines as start/end."""
    names = ("feed", "job", "app")
    return [
        outage.kind, f"{outage.seconds:g} s",
        "never" if outage.fresh_s is None else f"{outage.fresh_s:.1f} s",
        *(f"{outage.cpu_s[name]:.2f} s" for name in names),
        *("{}/{}".format(*outage.lines[name]) for name in names),
        ", ".join(outage.ended) or "none",
    ]  # fmt: skip
