"""Finds the checkpoint or savepoint that a restarted job goes on from."""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline import seals

log = logging.getLogger(__name__)


def newest_saved(state_dir: Path) -> Path | None:
    """What a job goes on from: the newest sound one of all that ``state_dir`` holds, or None.

    Says which it passes over, and why. An older one costs only time: the job reads the stream again
    from there, and comes to the same candles.
    """
    folder = state_dir / "checkpoints"
    found = _complete(folder)
    found += [metadata.parent for metadata in (state_dir / "savepoints").glob("savepoint-*/_metadata")]
    passed_over = False
    for saved in sorted(found, key=_completed_ns, reverse=True):
        wrong = seals.damage(folder, saved)
        if wrong is None:
            if passed_over:
                log.warning("going on from %s, the newest sound checkpoint", saved)
            return saved
        passed_over = True
        log.warning("checkpoint %s is passed over: %s", saved, wrong)
    if passed_over:
        log.warning("no checkpoint is sound: reading the streams from their beginning")
    return None


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint below ``folder`` (``JOB/chk-N``), or None.

    Flink writes ``_metadata`` last, by a rename: where it stands, the checkpoint is complete.
    """
    return max(_complete(folder), key=_completed_ns, default=None)


def _complete(folder: Path) -> list[Path]:
    return [metadata.parent for metadata in folder.glob("*/chk-*/_metadata")]


def _completed_ns(saved: Path) -> int:
    return (saved / "_metadata").stat().st_mtime_ns
