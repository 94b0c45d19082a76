"""A damaged checkpoint is known by its seal, and the job goes on from the one before."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from pipeline import seals
from pipeline.checkpoints import newest_saved


def checkpoint(state: Path, name: str, made_at_s: int) -> Path:
    made = state / "checkpoints" / name
    made.mkdir(parents=True)
    (made / "_metadata").write_bytes(name.encode() * 100)
    (made / "8c21-state").write_bytes(b"\x80\x04state" * 5_000)
    os.utime(made / "_metadata", (made_at_s, made_at_s))
    return made


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three sealed checkpoints, oldest first."""
    made = [checkpoint(tmp_path, name, 100 + n) for n, name in enumerate(("a/chk-7", "b/chk-1", "b/chk-2"))]
    seals.seal(tmp_path / "checkpoints")
    return made


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    stat = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def cut(path: Path) -> None:
    stat = path.stat()
    path.write_bytes(path.read_bytes()[: stat.st_size // 2])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda saved: flip(saved / "_metadata", 5), "_metadata is not as it was written"),
        (lambda saved: flip(saved / "8c21-state", 30_000), "8c21-state is not as it was written"),
        (lambda saved: cut(saved / "8c21-state"), "17,500 bytes, it had 35,000"),
        (lambda saved: (saved / "8c21-state").unlink(), "8c21-state is missing"),
        (lambda saved: (saved / "_metadata").write_bytes(b""), "_metadata is empty"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_both_are_named(
    tmp_path: Path, three: list[Path], caplog: pytest.LogCaptureFixture, spoil, words: str
) -> None:
    assert newest_saved(tmp_path) == three[2]
    spoil(three[2])
    with caplog.at_level(logging.WARNING):
        assert newest_saved(tmp_path) == three[1]
    first, second = caplog.messages
    assert first.startswith(f"checkpoint {three[2]} is passed over: ") and words in first
    assert second == f"going on from {three[1]}, the newest sound checkpoint"


def test_with_every_checkpoint_damaged_the_streams_are_read_from_their_beginning_and_that_is_said(
    tmp_path: Path, three: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    for saved in three:
        cut(saved / "_metadata")
    assert newest_saved(tmp_path) is None
    assert caplog.messages[-1] == "no checkpoint is sound: reading the streams from their beginning"


def test_one_that_was_completed_and_not_sealed_counts_only_where_its_life_sealed_none(
    tmp_path: Path, three: list[Path]
) -> None:
    checkpoint(tmp_path, "b/chk-3", 200)
    assert newest_saved(tmp_path) == three[2]
    other_life = checkpoint(tmp_path, "c/chk-1", 300)
    assert newest_saved(tmp_path) == other_life


def test_without_seals_or_with_damaged_ones_the_newest_is_believed(tmp_path: Path, three: list[Path]) -> None:
    for content in (b"", b"{", b"[1]", b"\xff", b"null"):
        (tmp_path / "checkpoints" / "seals.json").write_bytes(content)
        assert newest_saved(tmp_path) == three[2]
    (tmp_path / "checkpoints" / "seals.json").unlink()
    assert newest_saved(tmp_path) == three[2]


def test_one_that_a_job_could_not_begin_from_is_not_tried_again(tmp_path: Path, three: list[Path]) -> None:
    folder = tmp_path / "checkpoints"
    seals.refuse(folder, three[2])
    seals.seal(folder)
    assert seals.damage(folder, three[2]) == "a job could not begin from it"
    assert newest_saved(tmp_path) == three[1]


def test_seals_follow_the_checkpoints_that_come_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with seals.sealing(folder, 1):
        one = checkpoint(tmp_path, "a/chk-1", 100)
        deadline = time.monotonic() + 10
        while "a/chk-1" not in seals._read(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
    flip(one / "_metadata", 1)
    assert seals.damage(folder, one) is not None
    for file in one.iterdir():
        file.unlink()
    one.rmdir()
    seals.seal(folder)
    assert (folder / "seals.json").read_text() == "{}"


def test_where_seals_cannot_be_written_it_is_said_once_and_the_job_runs_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path, "a/chk-1", 100)
    (tmp_path / "checkpoints" / "seals.json").mkdir()  # nothing can take its place
    monkeypatch.setattr(seals, "_LOOK_S", 0.01)
    with seals.sealing(tmp_path / "checkpoints", 1):
        time.sleep(0.3)
    assert [message[:30] for message in caplog.messages] == ["checkpoints cannot be sealed: "]


def test_a_job_that_completes_no_more_checkpoints_is_said_once_and_so_is_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_000.0]
    monkeypatch.setattr(seals.time, "monotonic", lambda: clock[0])
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    work = seals._Sealing(folder, 5)
    for second in range(300):
        clock[0] = 1_000.0 + second
        if second == 190:
            checkpoint(tmp_path, "a/chk-1", 100)
        if second == 205:
            checkpoint(tmp_path, "a/chk-2", 200)
        work._look(seals.seal(folder))
    assert [message[:35] for message in caplog.messages] == [
        "no checkpoint was completed for 181",
        "checkpoints are completed again",
        "no checkpoint was completed for 21 ",
    ]
    assert str(folder) in caplog.messages[0] and "bytes free" in caplog.messages[0]


def test_where_seals_cannot_be_written_missing_checkpoints_are_told_of_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seals, "_LOOK_S", 0.01)
    monkeypatch.setattr(seals, "_GRACE_S", 0.0)
    folder = tmp_path / "checkpoints"
    checkpoint(tmp_path, "a/chk-1", 100)
    with seals.sealing(folder, 0.05):
        time.sleep(0.1)
        (folder / "seals.json.new").mkdir()
        checkpoint(tmp_path, "a/chk-2", 200)
        time.sleep(0.3)
    assert [message[:30] for message in caplog.messages] == [
        "checkpoints cannot be sealed: ",
        "no checkpoint was completed fo",
    ]
