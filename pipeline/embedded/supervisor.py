"""Keeps a few child processes alive: starts them in order, and again when they die.

One thread does it all, so nothing here is shared but the list of steps that the page shows.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from pipeline import wall_clock
from pipeline.embedded.child import Child
from pipeline.embedded.log_file import LogFile
from pipeline.errors import CandlecastError

log = logging.getLogger(__name__)

TICK_S: Final = 0.05
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 10.0
LONGEST_WAIT_KILLED_S: Final = 1.0
"""After SIGKILL, which is somebody's will or a lack of memory, and no fault that waiting would cure."""
STEADY_AFTER_S: Final = 2.0
"""A child that was ready for so long is well: its next failure is treated as the first. One that dies
as soon as it is ready, again and again, is still started ever more slowly."""

State = Literal["waiting", "starting", "ready", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Step:
    """How far one process is. ``elapsed_s`` is the time from its start until ready, or until now."""

    name: str
    state: State
    detail: str
    elapsed_s: float
    restarts: int = 0
    pid: int | None = None


@dataclass(frozen=True)
class Part:
    """One process to keep alive.

    ``launch`` returns what to run, newly at each start (command, environment). ``is_ready`` may ask
    the process itself, must answer quickly and is given the wall clock of the start in ms.
    ``after`` names the part that must be ready before this one is started the first time. One that
    ``may_finish`` is not started again after exit code 0.
    """

    name: str
    launch: Callable[[], tuple[Sequence[str], Mapping[str, str]]]
    is_ready: Callable[[int], bool]
    log: LogFile
    after: str | None = None
    may_finish: bool = False
    keep_fds: tuple[int, ...] = ()
    end_within_s: float = 2.0


class _Kept:
    """A part with its present child."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.child: Child | None = None
        self.step = Step(part.name, "waiting", "", 0.0)
        self.failures = 0
        self._started = 0.0
        self._started_ms = 0
        self._ready_at = math.inf
        self._next_start = 0.0

    def tick(self, may_start: bool) -> None:
        """Look after the child once."""
        now = time.monotonic()
        if self.child is None:
            if may_start and now >= self._next_start:
                self._start(now)
        elif (exit_code := self.child.exit_code) is not None:
            self.child.end(0)  # what it had started must be gone before its successor comes
            self.child = None
            if exit_code == 0 and self.part.may_finish:
                self._next_start = math.inf
                self._set("stopped", detail="finished", pid=None)
                return
            longest_s = LONGEST_WAIT_KILLED_S if exit_code == -signal.SIGKILL else LONGEST_WAIT_S
            reason = f"ended by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
            self._failed(now, reason, longest_s)
        elif self.step.state != "ready":
            ready = self.part.is_ready(self._started_ms)
            self._ready_at = now if ready else math.inf
            self._set("ready" if ready else "starting", elapsed_s=now - self._started)

    def stopped(self) -> None:
        self._set("stopped", pid=None)

    def _start(self, now: float) -> None:
        self._started, self._started_ms = now, wall_clock.now_ms()
        try:
            command, env = self.part.launch()
            self.part.log.last_line = ""
            self.child = Child(command, env, self.part.log, self.part.keep_fds)
        except (OSError, CandlecastError) as error:
            self._failed(now, str(error))
        else:
            self._set("starting", elapsed_s=0.0, pid=self.child.pid)

    def _failed(self, now: float, reason: str, longest_s: float = LONGEST_WAIT_S) -> None:
        if now - self._ready_at > STEADY_AFTER_S:
            self.failures = 0
        self._ready_at = math.inf
        wait_s = min(longest_s, FIRST_WAIT_S * 2**self.failures)
        self.failures = min(self.failures + 1, 16)
        self._next_start = now + wait_s
        detail = f"{reason}: {self.part.log.last_line}" if self.part.log.last_line else reason
        log.warning("%s ended (%s); starting again in %.1f s", self.part.name, detail, wait_s)
        self._set("failed", detail=detail, restarts=self.step.restarts + 1, pid=None)

    def _set(self, state: State, **changes: object) -> None:
        if state == "ready" and self.step.state != "ready":
            log.info("%s is ready", self.part.name)
            changes.setdefault("detail", "")
        self.step = replace(self.step, state=state, **changes)  # type: ignore[arg-type]


class Supervisor:
    """Runs the parts from :meth:`start` to :meth:`stop`; they end in the reverse order of ``parts``."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._kept = {part.name: _Kept(part) for part in parts}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Return at once; the work is done in a thread."""
        self._thread.start()

    def wait_for_first(self, longest_s: float) -> None:
        """Return when the first part is ready, or after ``longest_s``."""
        first, deadline = next(iter(self._kept.values())), time.monotonic() + longest_s
        while first.step.state != "ready" and time.monotonic() < deadline:
            time.sleep(TICK_S / 5)

    def stop(self) -> None:
        """End all children, those that need others first. Safe to call again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def steps(self) -> list[Step]:
        """The parts in their order."""
        return [kept.step for kept in self._kept.values()]

    def _run(self) -> None:
        try:
            while not self._stop.wait(TICK_S):
                for kept in self._kept.values():
                    kept.tick(may_start=self._may_start(kept))
        finally:
            self._end_all()

    def _may_start(self, kept: _Kept) -> bool:
        # Once begun, a part is started again also while what it needs is away: it waits by itself.
        needed = kept.part.after
        begun = kept.step.state != "waiting"
        return begun or needed is None or self._kept[needed].step.state == "ready"

    def _end_all(self) -> None:
        """Dependants are all asked at once, and gone before what they need is asked."""
        needed = {kept.part.after for kept in self._kept.values()}
        for wave in (
            [kept for kept in self._kept.values() if kept.part.name not in needed],
            [kept for kept in self._kept.values() if kept.part.name in needed],
        ):
            for kept in wave:
                if kept.child is not None:
                    kept.child.ask_to_end()
            deadline = time.monotonic() + max((kept.part.end_within_s for kept in wave), default=0.0)
            for kept in wave:
                if kept.child is not None:
                    kept.child.end(max(0.0, deadline - time.monotonic()))
                    kept.child = None
                kept.stopped()
