"""``python -m pipeline health``: exit code 0 while a part is well. For containers' health checks."""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from pipeline import keys
from pipeline.cli.connection import connected
from pipeline.cluster.control import JobControl
from pipeline.cluster.rest import FlinkUnreachable
from pipeline.errors import CandlecastError
from pipeline.settings import Settings

SILENT_S: Final = 30.0
"""Who has not been heard of for so long is ill. All of them speak every few seconds."""


class Unwell(CandlecastError):
    """The part is not as it should be."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which part."""
    parser.add_argument("part", choices=sorted(_CHECKS))


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Print how the part is. Exit code 1, with the reason, if it is not well."""
    print(f"{options.part}: {_CHECKS[options.part](settings)}")
    return 0


def _feed(settings: Settings) -> str:
    return _told(settings, keys.FEED)


def _webhook(settings: Settings) -> str:
    return _told(settings, keys.WEBHOOK)


def _told(settings: Settings, *places: str) -> str:
    """What a process says of itself in Redis; of several places the one that is oldest."""
    with connected(settings) as client:
        told: dict[str, Any] = {place: client.hget(place, "updated_at_ms") for place in places}
    for place, updated_at_ms in told.items():
        if updated_at_ms is None:
            raise Unwell(f"nothing has ever been written to {place}")
    return _heard(time.time() - min(map(int, told.values())) / 1000)


def _jobmanager(settings: Settings) -> str:
    overview = JobControl(settings).rest.overview()
    return f"{overview['taskmanagers']} TaskManagers, {overview['slots-total']} slots"


def _taskmanager(settings: Settings) -> str:
    """The one on this machine, which registers under the machine's name."""
    last_ms = JobControl(settings).rest.taskmanagers().get(socket.gethostname())
    if last_ms is None:
        raise Unwell(f"no TaskManager {socket.gethostname()} is registered")
    return _heard(time.time() - last_ms / 1000)


def _job(settings: Settings) -> str:
    control = JobControl(settings)
    try:
        job = control.living()
    except FlinkUnreachable:
        if settings.redis_url is not None:
            raise
        # The job of an embedded run has no JobManager that anybody else could ask.
        return _told(settings, *map(keys.progress, range(settings.shards)))
    if job is None or job.state != "RUNNING":
        raise Unwell(f"the job is {job.state if job else 'not there'}")
    # Flink calls a job RUNNING that waits for slots.
    if not control.is_whole(job):
        raise Unwell(f"{job.id} waits for TaskManagers")
    return f"{job.id} RUNNING"


def _heard(silent_s: float) -> str:
    if silent_s > SILENT_S:
        raise Unwell(f"not heard of for {silent_s:.0f} s")
    return f"heard of {max(0.0, silent_s):.1f} s ago"


_CHECKS: Final[dict[str, Callable[[Settings], str]]] = {
    "feed": _feed,
    "job": _job,
    "jobmanager": _jobmanager,
    "taskmanager": _taskmanager,
    "webhook": _webhook,
}
