"""Each life of the job leaves its last checkpoints behind: this keeps them from piling up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

KEPT: Final = 3
"""Newest complete checkpoints that stay, of whatever life: one to go on from, two should it be torn."""


def prune(folder: Path) -> None:
    """Remove all but the newest from ``folder`` (``JOB/chk-N``). Only while no job writes there.

    Each checkpoint stands alone: the state backend keeps nothing shared between them.
    """
    complete = sorted(
        folder.glob("*/chk-*/_metadata"), key=lambda metadata: metadata.stat().st_mtime_ns, reverse=True
    )
    kept = {metadata.parent for metadata in complete[:KEPT]}
    for life in [path for path in folder.iterdir() if path.is_dir()]:
        checkpoints = set(life.glob("chk-*"))
        doomed = checkpoints - kept if checkpoints & kept else {life}
        for path in doomed:
            shutil.rmtree(path, ignore_errors=True)  # what cannot be removed costs only its space
