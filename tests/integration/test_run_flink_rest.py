"""Flink's REST interface of the embedded run, as the Pipeline page reads it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from dashboard.flink import FlinkWatch
from pipeline.embedded import Embedded
from pipeline.settings import Settings
from tests.integration import processes
from tests.integration.processes import wait_until


def test_the_embedded_jobs_flink_tells_of_its_checkpoints_to_the_loopback_interface_alone(
    tmp_path: Path,
) -> None:
    settings = Settings(state_dir=tmp_path / "state", checkpoint_ms=500, simulator_history_minutes=1)
    embedded = Embedded(settings)
    watch = FlinkWatch(lambda: embedded.flink_url)
    assert watch.look() is None, "nobody answers before the job is started"
    watch = FlinkWatch(lambda: embedded.flink_url)
    try:
        embedded.start()
        wait_until(lambda: list(tmp_path.glob("state/checkpoints/*/chk-*/_metadata")), 120, "a checkpoint")
        wait_until(watch.look, 60, "Flink to tell of it")
        known = watch.look()
        assert known and known.completed >= 1 and known.duration_ms > 0 and known.state_bytes > 0
        port = urlsplit(embedded.flink_url).port
        (java,) = processes.named(settings.state_dir, "java")
        listening = {connection.laddr for connection in java.net_connections(kind="tcp")}
        assert {address.ip for address in listening if address.port == port} <= {
            "127.0.0.1",
            "::ffff:127.0.0.1",
        }
    finally:
        embedded.stop()
        processes.end(settings.state_dir)
