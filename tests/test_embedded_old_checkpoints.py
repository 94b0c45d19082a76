from __future__ import annotations

import os
from pathlib import Path

from pipeline.checkpoints import newest_checkpoint
from pipeline.embedded.old_checkpoints import KEPT, prune


def checkpoint(folder: Path, name: str, age_s: int, *, complete: bool = True) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "state").write_text("state")
    if complete:
        (path / "_metadata").write_text("metadata")
        os.utime(path / "_metadata", (1_700_000_000 - age_s, 1_700_000_000 - age_s))
    return path


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/chk-*"))


def test_the_newest_complete_checkpoints_stay_of_whatever_life_of_the_job(tmp_path: Path) -> None:
    assert KEPT == 3
    checkpoint(tmp_path, "first/chk-8", 50)
    checkpoint(tmp_path, "first/chk-9", 40)
    checkpoint(tmp_path, "second/chk-1", 30)
    checkpoint(tmp_path, "third/chk-1", 20)
    checkpoint(tmp_path, "third/chk-2", 10)
    newest = newest_checkpoint(tmp_path)
    prune(tmp_path)
    assert left(tmp_path) == ["second/chk-1", "third/chk-1", "third/chk-2"]
    assert not (tmp_path / "first").exists()
    assert newest_checkpoint(tmp_path) == newest


def test_one_that_was_never_completed_goes_and_does_not_count(tmp_path: Path) -> None:
    checkpoint(tmp_path, "first/chk-1", 50)
    checkpoint(tmp_path, "first/chk-2", 40)
    checkpoint(tmp_path, "second/chk-1", 30)
    checkpoint(tmp_path, "second/chk-2", 0, complete=False)
    prune(tmp_path)
    assert left(tmp_path) == ["first/chk-1", "first/chk-2", "second/chk-1"]


def test_an_empty_folder_and_a_stray_file_are_left_alone(tmp_path: Path) -> None:
    prune(tmp_path)
    (tmp_path / "note").write_text("mine")
    prune(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
