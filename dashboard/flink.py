"""Flink's own word on its checkpoints, over its REST interface: only while someone looks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pipeline.cluster.rest import FlinkRefused, FlinkRest, FlinkUnreachable

log = logging.getLogger(__name__)

_EVERY_S: Final = 3.0
_AWAY_EVERY_S: Final = 15.0
"""Where nobody answers, e.g. no cluster at the default address, a look now and then will do."""


class Checkpoints(NamedTuple):
    """The newest completed checkpoint of the running job, and how many there were."""

    completed_at_ms: int
    duration_ms: int
    """From its trigger to the last acknowledgement."""
    state_bytes: int
    completed: int
    failed: int


class FlinkWatch:
    """Asks the JobManager at ``url()`` in a thread of its own, so that nobody waits for it.

    :meth:`look` answers at once with what is known, and has it asked again if that is old: while
    nobody looks, nobody asks.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._known: Checkpoints | None = None
        self._ask_at = 0.0
        self._asking = False

    def look(self) -> Checkpoints | None:
        """What Flink said last; None where it is not reachable, or has completed none yet."""
        with self._lock:
            if not self._asking and time.monotonic() >= self._ask_at:
                self._asking = True
                threading.Thread(target=self._ask, name="flink-rest", daemon=True).start()
            return self._known

    def _ask(self) -> None:
        known, again_s = None, _AWAY_EVERY_S
        try:
            rest = FlinkRest(self._url())
            job = next((job for job in rest.jobs() if job.is_alive), None)
            if job is not None:
                known, again_s = read_checkpoints(rest.checkpoints(job.id)), _EVERY_S
        except (FlinkUnreachable, FlinkRefused) as error:
            log.debug("no checkpoints from Flink: %s", error)
        except (KeyError, TypeError, ValueError) as error:
            log.warning("Flink's answer on checkpoints is not understood: %r", error)
        finally:
            with self._lock:
                self._known, self._ask_at, self._asking = known, time.monotonic() + again_s, False


def read_checkpoints(answer: Mapping[str, Any]) -> Checkpoints | None:
    """Flink's ``/jobs/ID/checkpoints``; None before the first one is complete."""
    newest = answer["latest"]["completed"]
    if newest is None:
        return None
    return Checkpoints(
        completed_at_ms=int(newest["latest_ack_timestamp"]),
        duration_ms=int(newest["end_to_end_duration"]),
        state_bytes=int(newest["state_size"]),
        completed=int(answer["counts"]["completed"]),
        failed=int(answer["counts"]["failed"]),
    )
