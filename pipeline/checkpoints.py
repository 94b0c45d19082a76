"""Finds the checkpoint that a restarted job goes on from."""

from __future__ import annotations

from pathlib import Path


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint below ``folder`` (``JOB/chk-N``), or None.

    Flink writes ``_metadata`` last, by a rename: where it stands, the checkpoint is complete.
    """
    complete = [metadata.parent for metadata in folder.glob("*/chk-*/_metadata")]
    return max(complete, key=lambda checkpoint: (checkpoint / "_metadata").stat().st_mtime_ns, default=None)
