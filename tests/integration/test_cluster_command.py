"""``python -m pipeline cluster`` as a person uses it: up, look, save, wider, down; and killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cluster import run as local
from pipeline.settings import Settings
from tests.integration import processes


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    yield folder
    left = processes.of(folder)
    processes.end(folder)
    assert not left


def cluster(state_dir: Path, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {
        "FLINK_URL": f"http://localhost:{port}",
        "SHARDS": "2",
        "PARALLELISM": "1",
        "CHECKPOINT_MS": "1000",
    }
    variables["SIMULATOR_HISTORY_MINUTES"] = "5"
    env = processes.environment(state_dir, **variables)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "cluster", *arguments],
        cwd=processes.ROOT, env=env, check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def test_a_cluster_comes_up_grows_ends_and_leaves_nothing_even_when_it_is_killed(state_dir: Path) -> None:
    port = processes.free_port()
    up = cluster(state_dir, port, "up", "--taskmanagers", "1", "--slots", "2")
    assert up.returncode == 0, up.stderr
    assert "1 TaskManagers, 1 of 2 slots free" in up.stdout
    assert re.search(r"candlecast \(RUNNING\)", up.stdout), "what `flink list` says"
    again = cluster(state_dir, port, "up")
    assert (again.returncode, again.stderr) == (
        1,
        f"candlecast: STATE_DIR={state_dir}: its cluster is up already\n",
    )

    saved = Path(cluster(state_dir, port, "savepoint").stdout.split()[-1])
    assert (saved / "_metadata").is_file()
    wider = cluster(state_dir, port, "rescale", "2")
    assert "RUNNING, parallelism 2" in wider.stdout, wider.stderr
    refused = cluster(state_dir, port, "rescale", "3")
    assert refused.returncode == 2
    assert "parallelism 3: must be from 1 to SHARDS=2" in refused.stderr

    assert cluster(state_dir, port, "stop").returncode == 0
    assert cluster(state_dir, port, "status").stdout.splitlines()[-1].endswith("FINISHED, parallelism 2")
    assert cluster(state_dir, port, "submit").returncode == 0

    owner = local.owner(Settings(state_dir=state_dir))
    assert owner is not None
    os.kill(owner, signal.SIGKILL)
    processes.wait_until(lambda: not processes.of(state_dir), 60, "what it had started has not ended")

    up = cluster(state_dir, port, "up", "--taskmanagers", "1", "--slots", "2")
    assert up.returncode == 0, up.stderr
    assert cluster(state_dir, port, "down").returncode == 0
    assert not processes.of(state_dir)
    down = cluster(state_dir, port, "down")
    assert (down.returncode, down.stderr) == (1, f"candlecast: STATE_DIR={state_dir}: no cluster is up\n")
