"""Finds the checkpoint or savepoint that a restarted job goes on from."""

from __future__ import annotations

from pathlib import Path


def newest_saved(state_dir: Path) -> Path | None:
    """What a job goes on from: the newest of all checkpoints and savepoints of ``state_dir``, or None."""
    newest = newest_checkpoint(state_dir / "checkpoints")
    found = [newest] if newest is not None else []
    found += [metadata.parent for metadata in (state_dir / "savepoints").glob("savepoint-*/_metadata")]
    return max(found, key=_completed_ns, default=None)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint below ``folder`` (``JOB/chk-N``), or None.

    Flink writes ``_metadata`` last, by a rename: where it stands, the checkpoint is complete.
    """
    complete = [metadata.parent for metadata in folder.glob("*/chk-*/_metadata")]
    return max(complete, key=_completed_ns, default=None)


def _completed_ns(saved: Path) -> int:
    return (saved / "_metadata").stat().st_mtime_ns
