from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.embedded.state_folder import SOCKET_PATH_LIMIT, StateFolder
from pipeline.errors import StateFolderError
from tests.small_disk import fill, mounted


def test_a_folder_is_taken_by_one_run_only_and_the_other_one_is_told_by_whom(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    folder.take()
    with pytest.raises(StateFolderError) as error:
        StateFolder(tmp_path / "state").take()
    assert str(tmp_path / "state") in str(error.value)
    assert f"process {os.getpid()}" in str(error.value)
    assert "\n" not in str(error.value)
    folder.release()


def test_a_folder_can_be_taken_again_after_it_was_released(tmp_path: Path) -> None:
    first = StateFolder(tmp_path)
    first.take()
    first.release()
    second = StateFolder(tmp_path)
    second.take()
    second.release()


def test_the_lock_of_a_run_that_was_killed_is_no_lock(tmp_path: Path) -> None:
    program = "import sys, pathlib, os; from pipeline.embedded.state_folder import StateFolder as F\n"
    program += "f = F(pathlib.Path(sys.argv[1])); f.take(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert (tmp_path / "lock").read_text().strip().isdigit()
    folder = StateFolder(tmp_path)
    folder.take()
    folder.release()


@pytest.mark.parametrize("is_reaped", [True, False])
def test_a_folder_stays_taken_while_a_child_of_a_killed_run_still_lives(
    tmp_path: Path, is_reaped: bool
) -> None:
    # The run is gone, or a zombie, but something it started holds the lock for 1 s more.
    program = """
import os, pathlib, subprocess, sys
from pipeline.embedded.state_folder import StateFolder
folder = StateFolder(pathlib.Path(sys.argv[1]))
folder.take()
subprocess.Popen(["sleep", "1"], pass_fds=(folder.lock_fd,), stdout=subprocess.DEVNULL)
os.kill(os.getpid(), 9)
"""
    run = subprocess.Popen([sys.executable, "-c", program, tmp_path])
    os.waitid(os.P_PID, run.pid, os.WEXITED | (0 if is_reaped else os.WNOWAIT))
    began = time.monotonic()
    folder = StateFolder(tmp_path)
    folder.take()
    assert time.monotonic() - began > 0.3, "it was taken while the child still lived"
    folder.release()
    run.wait()


@pytest.mark.parametrize("kind", ["below a file", "read-only"])
def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    if kind == "below a file":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "state"
    else:
        path = Path("/proc/candlecast") if sys.platform == "linux" else Path("/candlecast")
    with pytest.raises(StateFolderError, match="cannot be written") as error:
        StateFolder(path).take()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_only_the_owner_can_enter_the_folder_of_the_socket(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.take()
    assert stat.S_IMODE(folder.socket.parent.stat().st_mode) == 0o700
    folder.release()


def test_a_deep_folder_gets_a_short_socket_path_and_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    here = StateFolder(deep).socket
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = StateFolder(deep)
    assert folder.socket == here
    assert len(os.fsencode(folder.socket)) < SOCKET_PATH_LIMIT
    assert folder.socket == StateFolder(deep).socket
    assert folder.socket != StateFolder(deep.with_name("other")).socket
    folder.take()
    assert stat.S_IMODE(folder.socket.parent.stat().st_mode) == 0o700
    folder.release()
    assert not folder.socket.parent.exists()


def test_a_socket_folder_that_somebody_else_could_enter_is_refused(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / ("d" * 60) / ("e" * 60))
    folder.socket.parent.mkdir(mode=0o777)
    folder.socket.parent.chmod(0o777)
    try:
        with pytest.raises(StateFolderError, match="nobody else can enter"):
            folder.take()
    finally:
        folder.socket.parent.rmdir()


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / ("d" * 60) / ("e" * 60))
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.socket.parent.symlink_to(tmp_path / "elsewhere")
    try:
        with pytest.raises(StateFolderError, match="nobody else can enter"):
            folder.take()
    finally:
        folder.socket.parent.unlink()


def test_a_folder_inside_that_is_somebody_elses_is_named_before_anything_is_started() -> None:
    # As after a run as root: the outer folder is ours, one in it is not.
    if os.getuid():
        pytest.skip("only root can make a folder of another user")
    with tempfile.TemporaryDirectory() as name:
        state = Path(name) / "state"
        state.mkdir()
        Path(name).chmod(0o755)
        state.chmod(0o777)
        (state / "checkpoints").mkdir(mode=0o755)
        os.seteuid(65_534)
        try:
            with pytest.raises(StateFolderError) as error:
                StateFolder(state).take()
        finally:
            os.seteuid(0)
        assert str(error.value) == (
            f"STATE_DIR={state}: cannot be written: Permission denied ({state}/checkpoints/.writable)"
        )


def test_a_full_disk_is_said_at_the_start_and_the_lock_is_free_for_the_next(tmp_path: Path) -> None:
    with mounted(tmp_path, "64k"):
        StateFolder(tmp_path).take()
        fill(tmp_path / "filler")
        with pytest.raises(StateFolderError, match="No space left on device"):
            StateFolder(tmp_path).take()
        (tmp_path / "filler").unlink()
        with pytest.raises(StateFolderError, match="taken by another run"):
            StateFolder(tmp_path).take()  # by the one above, that has it still
