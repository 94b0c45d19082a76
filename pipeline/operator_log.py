"""Lets what the job's functions log inside the JVM reach the job's own output, too.

There PyFlink hands all log lines to Flink's log alone, which nobody reads who looks at what the job
says: an outage, a trimmed stream, a checkpoint that was lost.
"""

from __future__ import annotations

import logging
from typing import Final

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _ToOutput(logging.StreamHandler):  # type: ignore[type-arg]  # not generic before 3.13
    """Writes to the process's standard error itself: ``sys.stderr`` is PyFlink's own in there."""

    def __init__(self) -> None:
        super().__init__(open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115
        self.setFormatter(logging.Formatter(FORMAT))


def to_output() -> None:
    """Once a process, whoever calls first. Flink's log gets the lines as before."""
    ours = logging.getLogger("pipeline")
    if not any(isinstance(handler, _ToOutput) for handler in ours.handlers):
        ours.addHandler(_ToOutput())
        ours.setLevel(logging.INFO)
