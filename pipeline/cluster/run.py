"""A whole pipeline on a local cluster: Redis, feed, JobManager, TaskManagers, the job kept submitted.

``python -m pipeline cluster up`` starts this in the background, and ``down`` ends it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pipeline.cluster.keeper import Keeper
from pipeline.cluster.local import LocalCluster
from pipeline.embedded import Embedded, commands_of
from pipeline.embedded.state_folder import StateFolder
from pipeline.errors import StartError
from pipeline.settings import Settings

log = logging.getLogger(__name__)

END_WITHIN_S: Final = 30.0
LAST_MOMENT_S: Final = 2.0


def run(settings: Settings, taskmanagers: int, slots: int) -> None:
    """Everything, until SIGTERM or SIGINT. Call from the main thread. StateFolderError, StartError.

    With a REDIS_URL it is Flink and the job alone; Redis and feed are then somebody else's.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as ending:
        pid_file = _pid_file(settings)
        if settings.redis_url is None:
            commands = {name: command for name, command in commands_of(settings).items() if name != "job"}
            embedded = Embedded(settings, commands)
            embedded.start()
            ending.callback(_forget, pid_file)  # last of all: it tells `end` that nothing is left
            ending.callback(embedded.stop)
            settings = replace(settings, redis_url=embedded.redis_url)
        else:
            folder = StateFolder(settings.state_dir)
            folder.take()
            ending.callback(_forget, pid_file)
            ending.callback(folder.release)
        pid_file.write_text(str(os.getpid()))
        cluster = LocalCluster(settings, taskmanagers, slots, urlsplit(settings.flink_url).port or 0)
        ending.callback(cluster.stop)
        cluster.start(stop=stop)
        Keeper(cluster.settings, stop).run()


def start_in_background(settings: Settings, taskmanagers: int, slots: int) -> Path:
    """Start :func:`run` as a process of its own; where its log is. StartError if it ends at once."""
    if owner(settings) is not None:
        raise StartError(f"STATE_DIR={settings.state_dir}: its cluster is up already")
    log_path = StateFolder(settings.state_dir).logs / "cluster.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "cluster", "run",
             "--taskmanagers", str(taskmanagers), "--slots", str(slots)],
            env=os.environ | settings.to_env(), stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + END_WITHIN_S
    while owner(settings) is None and time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(_last_line(log_path))
        time.sleep(0.05)
    return log_path


def require_owner(settings: Settings, log_path: Path) -> None:
    """StartError with the last line of its log where :func:`run` has ended."""
    if owner(settings) is None:
        raise StartError(_last_line(log_path))


def _last_line(log_path: Path) -> str:
    lines = log_path.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("candlecast: ") if lines else "it ended without a word"


def end(settings: Settings) -> None:
    """End what :func:`start_in_background` has started, and wait until all of it is gone. StartError."""
    process_id = owner(settings)
    if process_id is None:
        raise StartError(f"STATE_DIR={settings.state_dir}: no cluster is up")
    os.kill(process_id, signal.SIGTERM)
    deadline = time.monotonic() + END_WITHIN_S
    while owner(settings) is not None:
        if time.monotonic() > deadline:
            raise StartError(f"process {process_id} has not ended within {END_WITHIN_S:.0f} s")
        time.sleep(0.05)
    # Its interpreter takes a moment longer. One that is a zombie, because nobody buries it, is gone, too.
    deadline = time.monotonic() + LAST_MOMENT_S
    while _lives(process_id) and time.monotonic() < deadline:
        time.sleep(0.05)


def owner(settings: Settings) -> int | None:
    """Process id of the :func:`run` that has the state folder now, or None."""
    try:
        process_id = int(_pid_file(settings).read_text())
        os.kill(process_id, 0)
    except (OSError, ValueError):
        return None
    # After a kill the file is left, and the number may have become somebody else's.
    return process_id if process_id == StateFolder(settings.state_dir).owner() else None


def _lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except OSError:
        return False
    return True


def _forget(pid_file: Path) -> None:
    """Remove it if it is still ours: with the folder given back, another run may have begun."""
    with suppress(OSError):
        if pid_file.read_text() == str(os.getpid()):
            pid_file.unlink()


def _pid_file(settings: Settings) -> Path:
    return settings.state_dir / "cluster.pid"
