"""Starting the real thing, and finding every process that belongs to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(state_dir: Path, **variables: str) -> dict[str, str]:
    """Ours, without settings that somebody may have exported; STATE_DIR marks all that is started."""
    kept = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "FEED", "SHARDS"}}
    return {**kept, "STATE_DIR": str(state_dir), "PYTHONPATH": str(ROOT), **variables}


def start_app(state_dir: Path, port: int, log: Path, **variables: str) -> subprocess.Popen[bytes]:
    """``streamlit run app.py``, as a user would, but without a terminal."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [Path(sys.executable).with_name("streamlit"), "run", "app.py", "--server.port", str(port)],
            cwd=ROOT,
            env=environment(state_dir, **variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def of(state_dir: Path) -> list[psutil.Process]:
    """Every living process that was started with this STATE_DIR, however it came to be."""
    found = []
    for process in psutil.process_iter():
        try:
            # redis-server writes its title over its environment; the title names its socket.
            marked = process.environ().get("STATE_DIR") == str(state_dir) or any(
                f"{state_dir}/" in word for word in process.cmdline()
            )
            if marked and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def named(state_dir: Path, *words: str) -> list[psutil.Process]:
    """Those of :func:`of` whose command line begins with a program and holds all of ``words``."""
    found = []
    for process in of(state_dir):
        try:
            line = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        if all(word in line for word in words) and not line.startswith("/bin/sh -c"):
            found.append(process)
    return found


def wait_until(what: Callable[[], object], within_s: float, reason: str) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, reason
        time.sleep(0.05)


def freeze(process: psutil.Process) -> None:
    """Stop it, and wait until its last thread stands still: the signal alone returns before that."""
    process.send_signal(signal.SIGSTOP)
    threads = Path(f"/proc/{process.pid}/task")
    wait_until(
        lambda: all(
            (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads.iterdir()
        ),
        10, f"process {process.pid} does not stand still",
    )  # fmt: skip


def end(state_dir: Path) -> None:
    """Kill what a failed test has left behind."""
    for process in of(state_dir):
        process.kill()
