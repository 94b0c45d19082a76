"""The gateway as it is served: mounted in Streamlit, and alone by uvicorn, each in its own process."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.candles import candle, publish, wait_until
from tests.gateway_server import closed_with, read

ROOT = Path(__file__).resolve().parents[2]

MOUNTED = """
import os
from contextlib import asynccontextmanager
import streamlit as st
from pipeline.gateway import Gateway
from pipeline.settings import Settings
from pipeline.subscriber import Hub, Subscriber

hub, url = Hub(), os.environ["REDIS_URL"]
subscriber, gateway = Subscriber(url, hub), Gateway(hub, url, Settings.from_env(os.environ))

@asynccontextmanager
async def lifespan(_):
    subscriber.start()
    await gateway.start()
    yield
    await gateway.stop()
    subscriber.stop()

app = st.App("page.py", routes=gateway.routes, lifespan=lifespan)
"""


class Served:
    """A server process; ``port`` on 127.0.0.1."""

    def __init__(self, command: list[str], folder: Path, port: int, url: str) -> None:
        self.port = port
        self._log = folder / "server.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": url},
            )  # fmt: skip
        wait_until(self.is_ready, 60)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            time.sleep(0.1)
            return False

    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def client(self, symbol: str = "BTC", **options: Any) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/ws/prices/{symbol}", **options)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture(params=["streamlit", "uvicorn"])
def served(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> Iterator[Served]:
    publish(redis_client, candle(seq=1, is_closed=True), candle(seq=2, minute=1))
    port = free_port()
    if request.param == "streamlit":
        (tmp_path / "mounted.py").write_text(MOUNTED)
        (tmp_path / "page.py").write_text("import streamlit as st\nst.write('here')\n")
        command = ["streamlit", "run", "mounted.py", "--server.headless=true", f"--server.port={port}",
                   "--server.address=127.0.0.1", "--browser.gatherUsageStats=false"]  # fmt: skip
    else:
        command = ["uvicorn", "pipeline.gateway:app", f"--port={port}"]
    served = Served([sys.executable, "-m", *command], tmp_path, port, redis_url)
    yield served
    served.process.terminate()
    assert served.process.wait(15) in {0, -15}
    assert "Traceback" not in served.log()


def test_it_keeps_its_contract_and_its_limits_wherever_it_is_served(
    served: Served, redis_client: redis.Redis
) -> None:
    with served.client() as client:
        assert [read(client)["type"] for _ in range(2)] == ["connection", "initial_data"]
        publish(redis_client, candle(seq=3, minute=1))
        assert read(client)["data"]["seq"] == 3
        client.send('{"type":"ping"}')
        assert read(client)["type"] == "pong"
        metrics = served.get("/metrics")[1]
        assert 'candlecast_clients{symbol="BTC"} 1' in metrics
        assert "candlecast_clients_plain 0" in metrics, "the server's transport is reached"
        client.send("x" * 5_000)
        assert closed_with(client)[0] == 1009
    with served.client() as client:
        read(client)
        client.socket.sendall(b"\x81\xff" + struct.pack("!Q", 1_000_000) + b"\0\0\0\0")
        assert closed_with(client)[0] == 1009, "the parser's own limit was lowered for this connection"
    with served.client("NOPE") as client:
        assert closed_with(client) == (1008, "unknown symbol NOPE")
    with pytest.raises(InvalidStatus) as refused:
        served.client(origin="http://evil.example")
    assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as refused:
        served.client("BTC?interval=9m")
    assert refused.value.response.status_code == 422
    assert served.get("/api/candles/BTC?limit=0")[0] == 422
    assert '"seq":1,' in served.get("/api/candles/BTC")[1]
    assert "Candlecast WebSocket test" in served.get("/ws/test")[1]
    wait_until(lambda: '"total_connections":0' in served.get("/ws/stats")[1])


def test_alone_without_redis_url_it_says_so_in_one_line_and_ends(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    ended = subprocess.run(
        [sys.executable, "-m", "uvicorn", "pipeline.gateway:app", f"--port={free_port()}"],
        cwd=tmp_path, env=env | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert "REDIS_URL is not set" in ended.stderr
    assert "Traceback" not in ended.stderr
