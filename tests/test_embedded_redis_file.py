"""A Redis that is killed in the middle of writing a transaction to its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.feeding import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def push(client: redis.Redis, value: str) -> None:
    """One transaction of two commands."""
    with client.pipeline(transaction=True) as transaction:
        transaction.rpush("first", value)
        transaction.rpush("second", value * 100)
        transaction.execute()


def tear(file: Path) -> None:
    """Leave the last transaction as a kill in mid-write leaves it: its second command torn."""
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex(b"second") + 50])


def test_a_torn_transaction_is_gone_whole_and_does_not_come_back_at_a_later_start(
    server: RedisServer, tmp_path: Path
) -> None:
    with server.client() as client:
        push(client, "a")
        push(client, "b")
        server.kill()
        tear(tmp_path / "appendonly.aof")
        server.start()
        assert client.lrange("first", 0, -1) == [b"a"]
        push(client, "c")
        server.kill()
        server.start()
        assert client.lrange("first", 0, -1) == [b"a", b"c"]
        assert client.llen("second") == 2
