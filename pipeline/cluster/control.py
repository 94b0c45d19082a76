"""What an operator does with the job on a cluster: submit, savepoint, stop, resume, rescale."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from pipeline.cluster.rest import FlinkRefused, FlinkRest, FlinkUnreachable, Job
from pipeline.embedded import flink_folder, old_checkpoints
from pipeline.errors import SettingsError, StartError
from pipeline.settings import Settings

JOB_NAME: Final = "candlecast"
SUBMIT_WITHIN_S: Final = 180.0
RUN_WITHIN_S: Final = 180.0
SAVE_WITHIN_S: Final = 60.0
_PIPELINE: Final = Path(__file__).resolve().parents[1]
_CLIENT_JAVA: Final = ("-Xmx256m", *flink_folder.LEAN)


class JobControl:
    """The candlecast job on the cluster at ``settings.flink_url``.

    FlinkUnreachable and FlinkRefused come from every method. The job gets its settings from here:
    what its functions need (REDIS_URL too) travels inside the job, not in TaskManagers' environments.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.rest = FlinkRest(settings.flink_url)

    def jobs(self) -> list[Job]:
        """Ours, newest first, ended ones included."""
        return [job for job in self.rest.jobs() if job.name == JOB_NAME]

    def living(self) -> Job | None:
        """The one that runs, restarts, or is about to."""
        return next((job for job in self.jobs() if job.is_alive), None)

    def parallelism(self, job: Job) -> int:
        """Of its widest step: the first two always run alone."""
        return max((int(vertex["parallelism"]) for vertex in self.rest.vertices(job.id)), default=0)

    def is_whole(self, job: Job) -> bool:
        """Whether every subtask of it runs."""
        vertices = self.rest.vertices(job.id)
        return bool(vertices) and all(v["tasks"]["RUNNING"] == v["parallelism"] for v in vertices)

    def submit(self, parallelism: int | None = None, resume_from: Path | None = None) -> str:
        """``flink run``; the job's id. StartError if the client gives up.

        The job goes on from ``resume_from``, by default from the newest checkpoint or savepoint.
        """
        living = self.living()
        if living is not None:
            raise FlinkRefused(f"job {living.id} is {living.state} already")
        self._require_redis()
        settings = replace(self._settings, parallelism=parallelism or self._settings.parallelism)
        self._check_parallelism(settings.parallelism or settings.shards)
        checkpoints = settings.state_dir / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        old_checkpoints.prune(checkpoints)
        with tempfile.TemporaryDirectory(prefix="candlecast-submit-", ignore_cleanup_errors=True) as folder:
            return self._flink_run(Path(folder), settings, resume_from)

    def savepoint(self) -> Path:
        """Save the state of the running job, which goes on."""
        return _path(self.rest.savepoint(self._running().id, self._savepoints(), SAVE_WITHIN_S))

    def stop(self) -> Path:
        """Save, and end the job, in one step: what is submitted next goes on from exactly there."""
        job = self._running()
        saved = _path(self.rest.stop(job.id, self._savepoints(), SAVE_WITHIN_S))
        self._wait_for_end(job)
        return saved

    def cancel(self) -> None:
        """End the job without a savepoint."""
        job = self._running()
        self.rest.cancel(job.id)
        self._wait_for_end(job)

    def rescale(self, parallelism: int) -> str:
        """Stop with a savepoint and go on from it with ``parallelism`` subtasks; the new job's id.

        SettingsError where the shards are too few for it, FlinkRefused where the slots are.
        """
        self._require_redis()
        self._check_parallelism(parallelism)
        saved = self.stop()
        try:
            return self.submit(parallelism, saved)
        except StartError as error:
            raise StartError(f"the job is stopped, its state is in {saved}: {error}") from None

    def wait_until_running(
        self, within_s: float = RUN_WITHIN_S, still: Callable[[], None] = lambda: None
    ) -> Job:
        """Until every subtask of the job runs. StartError with Flink's reason after ``within_s``.

        ``still`` is called now and then, and raises where waiting has become useless.
        """
        deadline = time.monotonic() + within_s
        reason = "it is not there"
        while time.monotonic() < deadline:
            still()
            try:
                job = next(iter(self.jobs()), None)
                if job is not None:
                    if self.is_whole(job):
                        return job
                    failure = self.rest.failure(job.id)
                    reason = f"it is {job.state}{f', after {failure}' if failure else ''}"
            except (FlinkUnreachable, FlinkRefused) as error:
                reason = str(error)
            time.sleep(0.1)
        raise StartError(f"the job does not run after {within_s:.0f} s: {reason}")

    def flink(self, *arguments: str) -> str:
        """Run Flink's own command line, by default against our cluster; what it prints. StartError."""
        with tempfile.TemporaryDirectory(prefix="candlecast-flink-", ignore_cleanup_errors=True) as folder:
            return self._client(Path(folder), self._settings, *arguments)

    def _flink_run(self, folder: Path, settings: Settings, resume_from: Path | None) -> str:
        arguments = ["run", "-d"]
        if resume_from is not None:
            arguments += ["-s", resume_from.as_uri()]
        arguments += ["-py", str(_PIPELINE / "job.py"), "-pyfs", str(_zipped_pipeline(folder))]
        arguments += ["-pyexec", sys.executable, "-pyclientexec", sys.executable]
        output = self._client(folder / "flink", settings, *arguments)
        found = re.search(r"Job has been submitted with JobID ([0-9a-f]{32})", output)
        if found is None:
            raise StartError(f"flink run did not submit the job: {_reason(output)}")
        return found[1]

    def _client(self, folder: Path, settings: Settings, *arguments: str) -> str:
        ours = {setting.metadata["variable"] for setting in fields(Settings)}
        env = {name: value for name, value in os.environ.items() if name not in ours}
        env |= settings.to_env() | {"STATE_DIR": str(settings.state_dir.resolve())}
        url = urlsplit(settings.flink_url)
        options = {"rest.address": str(url.hostname), "rest.port": str(url.port)}
        env |= flink_folder.prepare(folder, os.environ, options, _CLIENT_JAVA)
        command = [str(flink_folder.flink_home() / "bin" / "flink"), *arguments]
        try:
            done = subprocess.run(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=SUBMIT_WITHIN_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise StartError(f"flink {arguments[0]} did not end within {SUBMIT_WITHIN_S:.0f} s") from None
        if done.returncode:
            raise StartError(f"flink {arguments[0]} failed: {_reason(done.stdout)}")
        return done.stdout

    def _require_redis(self) -> None:
        if self._settings.redis_url is None:
            raise SettingsError("REDIS_URL is not set: the job has no Redis to read from")

    def _check_parallelism(self, parallelism: int) -> None:
        # Before the job is stopped: what cannot be submitted again had better run on.
        if not 1 <= parallelism <= self._settings.shards:
            raise SettingsError(f"parallelism {parallelism}: must be from 1 to SHARDS={self._settings.shards}")
        slots = int(self.rest.overview()["slots-total"])
        if parallelism > slots:
            raise FlinkRefused(f"parallelism {parallelism}: the cluster has {slots} slots")

    def _running(self) -> Job:
        job = self.living()
        if job is None:
            raise FlinkRefused(f"no {JOB_NAME} job runs at {self.rest.url}")
        return job

    def _wait_for_end(self, job: Job) -> None:
        deadline = time.monotonic() + SAVE_WITHIN_S
        while any(one.id == job.id and one.is_alive for one in self.jobs()):
            if time.monotonic() > deadline:
                raise FlinkRefused(f"job {job.id} has not ended after {SAVE_WITHIN_S:.0f} s")
            time.sleep(0.1)

    def _savepoints(self) -> str:
        folder = (self._settings.state_dir / "savepoints").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return folder.as_uri()


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _zipped_pipeline(folder: Path) -> Path:
    """Our package as one small file: all that TaskManagers need of us."""
    path = folder / "candlecast.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(_PIPELINE.rglob("*.py")):
            archive.write(source, source.relative_to(_PIPELINE.parent))
    return path


def _reason(output: str) -> str:
    """The line of the client's output that says most: Python's error, else Java's innermost cause."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in (r"[\w.]+(Error|Exception|Unreachable|Refused): .+", r"Caused by: .+", r".*\S"):
        told = [line for line in lines if re.fullmatch(pattern, line) and not line.startswith("org.apache")]
        if told:
            return told[-1][:300]
    return "it said nothing"
