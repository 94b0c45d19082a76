"""The checkpoint that a restarted job goes on from, on real folders."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.checkpoints import newest_checkpoint


def checkpoint(folder: Path, name: str, made_at_s: int) -> Path:
    made = folder / name
    made.mkdir(parents=True)
    (made / "_metadata").touch()
    os.utime(made / "_metadata", (made_at_s, made_at_s))
    return made


def test_the_newest_is_found_by_time_over_all_jobs_not_by_number(tmp_path: Path) -> None:
    checkpoint(tmp_path, "aaaa/chk-900", 100)
    newest = checkpoint(tmp_path, "bbbb/chk-7", 300)
    checkpoint(tmp_path, "cccc/chk-12", 200)
    assert newest_checkpoint(tmp_path) == newest


def test_one_that_was_cut_off_in_the_middle_does_not_count(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, "aaaa/chk-1", 100)
    torn = tmp_path / "aaaa" / "chk-2"
    torn.mkdir()
    (torn / "state").write_text("half")
    assert newest_checkpoint(tmp_path) == whole


def test_shared_state_and_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    checkpoint(tmp_path, "aaaa/shared", 100)
    checkpoint(tmp_path, "aaaa/taskowned", 100)
    checkpoint(tmp_path, "chk-3", 100)
    (tmp_path / "README").touch()
    assert newest_checkpoint(tmp_path) is None


def test_without_a_folder_or_in_an_empty_one_there_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "absent") is None
