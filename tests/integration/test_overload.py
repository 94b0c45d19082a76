"""A job that falls behind: it shows, nothing grows without end, and it catches up to the same candles."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import keys
from pipeline.settings import Settings
from tests.integration import processes
from tests.integration.job_alone import Job
from tests.integration.processes import wait_until

BURST = 60_000


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(Settings(state_dir=tmp_path / "state", history_limit=0))
    yield job
    job.stop()
    processes.end(job.settings.state_dir)


def behind_s(job: Job) -> float:
    """As ``status`` prints it."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "status"], cwd=processes.ROOT,
        env=processes.environment(job.settings.state_dir), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"([\d.]+) s behind the stream", done.stdout)
    assert found, done.stdout
    return float(found[1])


def resident(job: Job) -> int:
    return sum(process.memory_info().rss for process in processes.named(job.settings.state_dir, "java"))


def test_lag_shows_and_shrinks_again_and_the_candles_are_those_of_a_job_that_kept_up(job: Job) -> None:
    job.start()
    job.fold(1_000)
    (java,) = processes.named(job.settings.state_dir, "java")
    before = resident(job)
    processes.freeze(java)
    try:
        job.write(BURST)
        assert behind_s(job) > 0
        time.sleep(2.5)  # the lag is told in the stream's own time, and a burst takes hardly any
        job.write(BURST + 20)
        assert behind_s(job) > 2
    finally:
        java.send_signal(signal.SIGCONT)
    job.fold(BURST + 40, last=True)
    assert behind_s(job) == 0
    job.assert_golden(BURST + 40)
    assert resident(job) - before < 400_000_000, "the backlog was taken into memory at once"
    assert psutil.pid_exists(java.pid), "it was the same process all along"


def test_a_stream_that_outgrows_its_bound_loses_its_oldest_entries_and_that_is_counted(job: Job) -> None:
    job.start()
    job.fold(1_000)
    (java,) = processes.named(job.settings.state_dir, "java")
    processes.freeze(java)
    try:
        job.write(10_000, maxlen=100)
        assert job.client.xlen(keys.trades_stream(0)) == 100
    finally:
        java.send_signal(signal.SIGCONT)
    job.fold(12_000, last=True)
    assert job.client.hget(keys.progress(0), "lost") == b"1"
    assert "trimmed past our position" in job.said()
    wait_until(lambda: behind_s(job) == 0, 30, "the job to be at the stream's end")
