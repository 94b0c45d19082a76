"""Keeps the job on the cluster: submits it, and again when the cluster has lost it.

A TaskManager's death is Flink's own business. But a standalone JobManager that dies forgets its
jobs, and one that gave up on a job leaves it FAILED; then somebody has to submit again. What a
person ended (stopped, cancelled) stays ended.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Final

from pipeline import seals
from pipeline.cluster.control import JobControl
from pipeline.cluster.nodes import HEARTBEAT_TIMEOUT_S
from pipeline.cluster.rest import FlinkRefused, FlinkUnreachable, Job
from pipeline.errors import StartError
from pipeline.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
RETRY_AFTER_S: Final = 5.0
_ENDED_BY_A_PERSON: Final = frozenset({"FINISHED", "CANCELED"})


class Keeper:
    """Looks after the job at ``settings.flink_url`` until ``stop`` is set."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._control = JobControl(settings)
        self._stop = stop
        self._parallelism = settings.parallelism or settings.shards
        self._told = ""
        self._seen_alive_at = -math.inf
        self._checkpoints = settings.state_dir.resolve() / "checkpoints"
        self._checkpoint_s = settings.checkpoint_ms / 1000

    def run(self) -> None:
        """Blocks until ``stop`` is set. What goes wrong is logged, and tried again."""
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        # Here and not where the job runs: on a cluster no process of ours lives with it.
        with seals.sealing(self._checkpoints, self._checkpoint_s):
            self._run()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            wait_s = LOOK_EVERY_S
            try:
                self._look()
            except (FlinkUnreachable, FlinkRefused, StartError) as error:
                self._tell(str(error))
                wait_s = RETRY_AFTER_S if isinstance(error, StartError) else LOOK_EVERY_S

    def _look(self) -> None:
        job = next(iter(self._control.jobs()), None)
        if job is not None and job.is_alive:
            self._note(job)
        elif job is not None and job.state in _ENDED_BY_A_PERSON:
            self._tell(f"job {job.id} was ended ({job.state}): submit it to go on")
        elif job is None and not self._is_gone():
            self._tell("the JobManager has forgotten the job: waiting until no TaskManager runs it any more")
        elif self._has_slots():
            self._told = ""
            log.info("submitted job %s", self._control.submit(self._parallelism))

    def _note(self, job: Job) -> None:
        """Remember when it was seen, and how wide it is: one that was rescaled comes back as wide."""
        self._seen_alive_at = time.monotonic()
        self._parallelism = self._control.parallelism(job) or self._parallelism
        self._tell(f"job {job.id} is {job.state}, parallelism {self._parallelism}")

    def _is_gone(self) -> bool:
        """Whether the job that was seen last has ended everywhere: two at once count late trades twice.

        TaskManagers run their parts of it on until they miss their JobManager, and one that has just come
        has free slots meanwhile.
        """
        return time.monotonic() >= self._seen_alive_at + HEARTBEAT_TIMEOUT_S

    def _has_slots(self) -> bool:
        slots = int(self._control.rest.overview()["slots-available"])
        if slots < self._parallelism:
            self._tell(f"waiting for TaskManagers: {slots} slots are free, the job takes {self._parallelism}")
        return slots >= self._parallelism

    def _tell(self, what: str) -> None:
        if what != self._told:
            log.info("%s", what)
            self._told = what
