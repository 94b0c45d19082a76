from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.embedded.child import Child
from pipeline.embedded.log_file import MAX_BYTES, LogFile


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "child.log")


def group(pid: int) -> list[psutil.Process]:
    """Living processes of the group that a child leads."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def wait_until_gone(pid: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while group(pid):
        assert time.monotonic() < deadline, group(pid)
        time.sleep(0.02)


def wait_for_line(log: LogFile, line: str) -> None:
    deadline = time.monotonic() + 10
    while log.last_line != line:
        assert time.monotonic() < deadline, log.last_line
        time.sleep(0.01)


STUBBORN = "trap '' TERM; sleep 100 & echo up; wait; wait; sleep 100"


def test_the_process_id_and_the_exit_code_are_those_of_the_command(log: LogFile) -> None:
    child = Child(["/bin/sh", "-c", "echo $$; exit 7"], os.environ, log)
    wait_for_line(log, str(child.pid))
    child.end(5)
    assert child.exit_code == 7


def test_ending_a_child_ends_what_it_had_started(log: LogFile) -> None:
    child = Child(["/bin/sh", "-c", "sleep 100 & sleep 100 & echo up; wait"], os.environ, log)
    wait_for_line(log, "up")
    assert len(group(child.pid)) == 4, "the command, two of its own, and the guard"
    child.ask_to_end()
    child.end(5)
    wait_until_gone(child.pid, 1)


def test_a_child_that_does_not_listen_is_killed_when_its_time_is_over(log: LogFile) -> None:
    child = Child(["/bin/sh", "-c", STUBBORN], os.environ, log)
    wait_for_line(log, "up")
    child.ask_to_end()
    began = time.monotonic()
    child.end(0.5)
    assert time.monotonic() - began < 3
    assert child.exit_code == -signal.SIGKILL
    wait_until_gone(child.pid, 1)


def test_what_a_child_left_behind_when_it_died_is_ended_too(log: LogFile) -> None:
    child = Child(["/bin/sh", "-c", "sleep 100 & echo up; exit 3"], os.environ, log)
    wait_for_line(log, "up")
    while child.exit_code is None:
        time.sleep(0.01)
    child.end(0)
    wait_until_gone(child.pid, 1)


@pytest.mark.parametrize("command", ["sleep 100 & echo up; wait", STUBBORN])
def test_a_child_does_not_outlive_an_owner_that_was_killed(tmp_path: Path, command: str) -> None:
    program = """
import os, pathlib, sys, time
from pipeline.embedded.child import Child
from pipeline.embedded.log_file import LogFile
log = LogFile(pathlib.Path(sys.argv[1]))
child = Child(["/bin/sh", "-c", sys.argv[2]], os.environ, log)
while log.last_line != "up":
    time.sleep(0.01)
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "log", command], check=False, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL
    wait_until_gone(int(done.stdout), 5)


def test_output_that_nobody_reads_does_not_stop_a_child(log: LogFile) -> None:
    child = Child(
        [sys.executable, "-c", "print('x' * 1000 + '\\n', end='', flush=True)\n" * 500], os.environ, log
    )
    child.end(20)
    assert child.exit_code == 0
    assert log.path.stat().st_size == 500 * 1001


def test_a_log_is_bounded(log: LogFile) -> None:
    line = b"x" * 999 + b"\n"
    for _ in range(3 * MAX_BYTES // 1000):
        log.write(line)
    sizes = [path.stat().st_size for path in log.path.parent.glob("child.log*")]
    assert len(sizes) == 2
    assert sum(sizes) <= 2 * (MAX_BYTES + 1000)


def test_a_log_that_cannot_be_written_costs_the_child_nothing(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "missing" / "child.log")
    child = Child(["/bin/sh", "-c", "echo hello; exit 0"], os.environ, log)
    child.end(5)
    assert child.exit_code == 0
    assert log.last_line == "hello"
