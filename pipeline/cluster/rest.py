"""What a JobManager is asked over HTTP. Each call is one short-lived connection."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.errors import CandlecastError

ANSWER_WITHIN_S: Final = 10.0
_ENDED: Final = frozenset({"FAILED", "CANCELED", "FINISHED"})


class FlinkUnreachable(CandlecastError):
    """No JobManager answers at the given URL, or not yet."""


class FlinkRefused(CandlecastError):
    """The JobManager answered that it will not or could not."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job the JobManager knows of. ``state`` in Flink's words: RUNNING, RESTARTING, FINISHED..."""

    id: str
    name: str
    state: str
    started_ms: int

    @property
    def is_alive(self) -> bool:
        """Running, or on the way to it: submitting another one would make two."""
        return self.state not in _ENDED


class FlinkRest:
    """One JobManager; ``url`` as in settings.flink_url. FlinkUnreachable, FlinkRefused from every call."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port

    def overview(self) -> dict[str, Any]:
        """``taskmanagers``, ``slots-total``, ``slots-available``, ``jobs-running``, ``flink-version``."""
        answer: dict[str, Any] = self._call("GET", "/overview")
        return answer

    def taskmanagers(self) -> dict[str, int]:
        """Name (resource id) of each that is registered -> wall clock of its last heartbeat, in ms."""
        found = self._call("GET", "/taskmanagers")["taskmanagers"]
        return {taskmanager["id"]: taskmanager["timeSinceLastHeartbeat"] for taskmanager in found}

    def jobs(self) -> list[Job]:
        """Newest first. Ended ones are remembered for an hour, or until the JobManager ends."""
        found = [
            Job(job["jid"], job["name"], job["state"], job["start-time"])
            for job in self._call("GET", "/jobs/overview")["jobs"]
        ]
        return sorted(found, key=lambda job: -job.started_ms)

    def vertices(self, job_id: str) -> list[dict[str, Any]]:
        """Each with ``id``, ``name``, ``parallelism``, ``status`` and ``tasks`` (how many in which state)."""
        found: list[dict[str, Any]] = self._call("GET", f"/jobs/{job_id}")["vertices"]
        return found

    def subtasks(self, job_id: str, vertex_id: str) -> list[str]:
        """The TaskManager of each subtask of a vertex, by the subtasks' numbers."""
        found = self._call("GET", f"/jobs/{job_id}/vertices/{vertex_id}")["subtasks"]
        return [subtask["taskmanager-id"] for subtask in sorted(found, key=lambda one: one["subtask"])]

    def checkpoints(self, job_id: str) -> dict[str, Any]:
        """``counts`` (completed, failed, restored…) and ``latest``."""
        answer: dict[str, Any] = self._call("GET", f"/jobs/{job_id}/checkpoints")
        return answer

    def failure(self, job_id: str) -> str | None:
        """Why the job was last restarted or failed, in a line; None if it never was."""
        history = self._call("GET", f"/jobs/{job_id}/exceptions").get("exceptionHistory", {})
        return next((_last_cause(one["stacktrace"]) for one in history.get("entries", [])), None)

    def savepoint(self, job_id: str, target: str, within_s: float) -> str:
        """Save into ``target`` (URI of a folder) and run on; URI of the savepoint."""
        asked = self._call("POST", f"/jobs/{job_id}/savepoints", {"target-directory": target})
        return self._saved(job_id, asked["request-id"], within_s)

    def stop(self, job_id: str, target: str, within_s: float) -> str:
        """Save into ``target`` and end the job; URI of the savepoint. Nothing is processed in between."""
        asked = self._call("POST", f"/jobs/{job_id}/stop", {"targetDirectory": target, "drain": False})
        return self._saved(job_id, asked["request-id"], within_s)

    def cancel(self, job_id: str) -> None:
        """End the job without a savepoint. Its checkpoints stay."""
        self._call("PATCH", f"/jobs/{job_id}?mode=cancel")

    def _saved(self, job_id: str, request_id: str, within_s: float) -> str:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            answer = self._call("GET", f"/jobs/{job_id}/savepoints/{request_id}")
            if answer["status"]["id"] == "COMPLETED":
                outcome = answer["operation"]
                if "location" in outcome:
                    return str(outcome["location"])
                cause = str(outcome.get("failure-cause", {}).get("stack-trace", "no reason given"))
                raise FlinkRefused(f"no savepoint of job {job_id}: {_last_cause(cause)}")
            time.sleep(0.1)
        raise FlinkRefused(f"no savepoint of job {job_id} within {within_s:.0f} s")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_WITHIN_S)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise FlinkUnreachable(f"no JobManager at {self.url}: {error}") from None
        finally:
            connection.close()
        try:
            found = json.loads(answer) if answer else {}
        except ValueError:
            raise FlinkUnreachable(f"{self.url} is no JobManager: it answers {answer[:80]!r}") from None
        if response.status == http.HTTPStatus.SERVICE_UNAVAILABLE:  # its parts are not all up yet
            raise FlinkUnreachable(f"the JobManager at {self.url} is starting")
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise FlinkRefused(f"{method} {path}: {_last_cause(' '.join(found.get('errors', [])))}")
        return found


def _last_cause(trace: str) -> str:
    """The line of a Java stack trace that says most: its innermost cause."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by:")]
    return (causes or lines or ["no reason given"])[-1 if causes else 0][:300]
