"""A Flink cluster on this machine: a JobManager and TaskManagers, each a process that is kept alive."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.cluster import nodes
from pipeline.cluster.control import JobControl
from pipeline.cluster.nodes import Launch, Place
from pipeline.cluster.rest import FlinkRefused, FlinkRest, FlinkUnreachable
from pipeline.embedded.log_file import LogFile
from pipeline.embedded.supervisor import Part, Step, Supervisor
from pipeline.errors import StartError
from pipeline.settings import Settings

START_WITHIN_S: Final = 300.0
_GIVE_UP_AFTER: Final = 5
"""Starts of a process that never came up."""


class LocalCluster:
    """JobManager and TaskManagers, all on loopback; the owner calls :meth:`stop`.

    A TaskManager or a JobManager that dies is started again, as a container would be. If the owner is
    killed, they end by themselves. ``rest_port`` 0 takes a free one. Checkpoints and savepoints lie
    in ``settings.state_dir``, the processes' own files in its folder ``cluster``.
    """

    def __init__(self, settings: Settings, taskmanagers: int = 2, slots: int = 2, rest_port: int = 0) -> None:
        rest_port, rpc_port = rest_port or _free_port(), _free_port()
        self._place = Place(rpc_port=rpc_port, rest_port=rest_port)
        self._slots = slots
        self._names = [f"taskmanager-{number}" for number in range(taskmanagers)]
        self._folder = settings.state_dir.resolve() / "cluster"
        self.settings = replace(settings, flink_url=f"http://localhost:{rest_port}")
        """Those given, with the cluster's own FLINK_URL."""
        self.control = JobControl(self.settings)
        self._supervisor = Supervisor(self._parts())

    @property
    def rest_url(self) -> str:
        """Where the JobManager answers, with Flink's own dashboard."""
        return self.settings.flink_url

    def start(self, within_s: float = START_WITHIN_S, stop: threading.Event | None = None) -> None:
        """Return when every process is up and every slot is there, or ``stop`` is set.

        StartError; nothing is left running then.
        """
        _refuse_taken(self._place.rest_port)
        self._supervisor.start()
        deadline = time.monotonic() + within_s
        try:
            while waited_for := [step for step in self.steps() if step.state != "ready"]:
                if stop is not None and stop.is_set():
                    return
                _give_up_on(waited_for, is_late=time.monotonic() > deadline)
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process; all are gone on return. Checkpoints stay. Safe to call again."""
        self._supervisor.stop()

    def steps(self) -> list[Step]:
        """The JobManager, then the TaskManagers: state, restarts, process id."""
        return self._supervisor.steps()

    def taskmanager_pids(self) -> list[int]:
        """Process ids of the TaskManagers that live now: each is the JVM itself."""
        return [step.pid for step in self.steps()[1:] if step.pid is not None]

    def jobmanager_pid(self) -> int | None:
        """Process id of the JobManager's JVM."""
        return self.steps()[0].pid

    def submit(self, parallelism: int | None = None, resume_from: Path | None = None) -> str:
        """As :meth:`JobControl.submit`, and wait until every subtask runs; the job's id."""
        job_id = self.control.submit(parallelism, resume_from)
        self.control.wait_until_running()
        return job_id

    def savepoint(self) -> Path:
        """See :meth:`JobControl.savepoint`."""
        return self.control.savepoint()

    def stop_job(self) -> Path:
        """Stop the job with a savepoint."""
        return self.control.stop()

    def rescale(self, parallelism: int) -> str:
        """See :meth:`JobControl.rescale`; returns when every subtask runs."""
        job_id = self.control.rescale(parallelism)
        self.control.wait_until_running()
        return job_id

    def _parts(self) -> Sequence[Part]:
        rest = FlinkRest(self.settings.flink_url)
        logs = self._folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        jobmanager = Part(
            "jobmanager",
            lambda: nodes.jobmanager(self._folder / "jobmanager", os.environ, self._place),
            lambda _: _answers(rest),
            LogFile(logs / "jobmanager.log"),
        )
        return [jobmanager, *(self._taskmanager(name, rest, logs) for name in self._names)]

    def _taskmanager(self, name: str, rest: FlinkRest, logs: Path) -> Part:
        def launch() -> Launch:
            return nodes.taskmanager(self._folder / name, os.environ, self._place, self._slots, name)

        return Part(
            name,
            launch,
            lambda since_ms: _has_registered(rest, name, since_ms),
            LogFile(logs / f"{name}.log"),
            after="jobmanager",
        )


def _give_up_on(steps: Sequence[Step], *, is_late: bool) -> None:
    for step in steps:
        if step.restarts >= _GIVE_UP_AFTER or is_late:
            raise StartError(f"{step.name} is {step.state}: {step.detail or 'no reason known'}")


def _answers(rest: FlinkRest) -> bool:
    try:
        return "taskmanagers" in rest.overview()
    except (FlinkUnreachable, FlinkRefused):
        return False


def _has_registered(rest: FlinkRest, name: str, since_ms: int) -> bool:
    try:
        return rest.taskmanagers().get(name, 0) >= since_ms  # the one before it may still be listed
    except (FlinkUnreachable, FlinkRefused):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartError(
                f"port {port} is not to be had: {error.strerror}. Set FLINK_URL to another"
            ) from None
