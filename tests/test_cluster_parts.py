"""The parts of a cluster that need no Flink: what is asked and read, what is refused, what is resumed from."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.checkpoints import newest_saved
from pipeline.cluster import JobControl, LocalCluster, nodes
from pipeline.cluster import run as local
from pipeline.cluster.control import _reason
from pipeline.cluster.nodes import Place
from pipeline.cluster.rest import FlinkRefused, FlinkRest, FlinkUnreachable
from pipeline.embedded import flink_folder
from pipeline.embedded.state_folder import StateFolder
from pipeline.errors import SettingsError, StartError
from pipeline.settings import Settings

TRACE = """org.apache.flink.util.FlinkException: outer
\tat org.apache.flink.A.b(A.java:1)
Caused by: java.lang.RuntimeException: between
\t... 3 more
Caused by: pemja.core.PythonException: <class 'ValueError'>: what it was
\tat /app/pipeline/source.poll(source.py:1)
"""


@contextmanager
def jobmanager(status: int, answer: bytes) -> Iterator[str]:
    """URL of a server that gives every request the same answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PATCH = do_GET  # noqa: N815  the library's names

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_jobmanager_that_is_not_there_is_named() -> None:
    url = f"http://localhost:{free_port()}"
    with pytest.raises(FlinkUnreachable, match=f"no JobManager at {url}: .*refused"):
        FlinkRest(url).overview()


def test_a_jobmanager_that_is_starting_is_waited_for_like_one_that_is_not_there() -> None:
    with (
        jobmanager(503, b'{"errors":["Service temporarily unavailable"]}') as url,
        pytest.raises(FlinkUnreachable, match="is starting"),
    ):
        FlinkRest(url).jobs()


def test_what_answers_something_else_is_no_jobmanager() -> None:
    with (
        jobmanager(200, b"<html>router</html>") as url,
        pytest.raises(FlinkUnreachable, match="is no JobManager: it answers b'<html>router</html>'"),
    ):
        FlinkRest(url).overview()


def test_a_refusal_is_told_by_its_innermost_cause() -> None:
    with (
        jobmanager(500, json.dumps({"errors": [TRACE]}).encode()) as url,
        pytest.raises(FlinkRefused, match="PythonException: <class 'ValueError'>: what it was"),
    ):
        FlinkRest(url).cancel("0" * 32)


def test_jobs_come_newest_first_and_ended_ones_are_known_as_such() -> None:
    jobs = [
        {"jid": "1", "name": "candlecast", "state": "FINISHED", "start-time": 1},
        {"jid": "3", "name": "candlecast", "state": "RESTARTING", "start-time": 3},
        {"jid": "2", "name": "somebody else's", "state": "RUNNING", "start-time": 2},
    ]
    with jobmanager(200, json.dumps({"jobs": jobs}).encode()) as url:
        control = JobControl(Settings(flink_url=url))
        assert [job.id for job in control.jobs()] == ["3", "1"]
        assert [job.is_alive for job in control.jobs()] == [True, False]
        living = control.living()
        assert living is not None and living.id == "3"


def test_a_job_without_a_redis_is_refused_before_anything_is_stopped() -> None:
    with jobmanager(200, b'{"jobs":[]}') as url:
        control = JobControl(Settings(flink_url=url))
        for act in (control.submit, lambda: control.rescale(1)):
            with pytest.raises(SettingsError, match="REDIS_URL is not set"):
                act()


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("Traceback\n  File x\npipeline.errors.SettingsError: SHARDS='0': no\n" + TRACE,
         "pipeline.errors.SettingsError: SHARDS='0': no"),
        (TRACE, "Caused by: pemja.core.PythonException: <class 'ValueError'>: what it was"),
        ("something\nelse", "else"),
        ("", "it said nothing"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failed_submission_is_the_line_that_says_most(output: str, reason: str) -> None:
    assert _reason(output) == reason


def saved(path: Path, age_s: int) -> Path:
    path.mkdir(parents=True)
    (path / "_metadata").write_text("metadata")
    os.utime(path / "_metadata", (1_700_000_000 - age_s, 1_700_000_000 - age_s))
    return path


def test_a_job_goes_on_from_the_newest_of_all_checkpoints_and_savepoints(tmp_path: Path) -> None:
    assert newest_saved(tmp_path) is None
    saved(tmp_path / "checkpoints" / "a" / "chk-1", 30)
    savepoint = saved(tmp_path / "savepoints" / "savepoint-a-1", 20)
    assert newest_saved(tmp_path) == savepoint
    checkpoint = saved(tmp_path / "checkpoints" / "b" / "chk-1", 10)
    assert newest_saved(tmp_path) == checkpoint


def test_an_unfinished_savepoint_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "savepoints" / "savepoint-a-1").mkdir(parents=True)
    assert newest_saved(tmp_path) is None


def configuration(folder: Path) -> dict[str, str]:
    read: dict[str, str] = YAML(typ="safe").load((folder / "conf" / "config.yaml").read_text())
    return read


def test_nodes_of_one_machine_are_bound_to_loopback_alone(tmp_path: Path) -> None:
    place = Place(rpc_port=1234, rest_port=2345)
    nodes.jobmanager(tmp_path / "jm", {}, place)
    nodes.taskmanager(tmp_path / "tm", {}, place, slots=3, name="tm-0")
    for folder in ("jm", "tm"):
        config = configuration(tmp_path / folder)
        for option in ("jobmanager.bind-host", "taskmanager.bind-host", "rest.bind-address"):
            assert config[option] == "localhost"
        assert (config["jobmanager.rpc.port"], config["rest.port"]) == (1234, 2345)
    config = configuration(tmp_path / "tm")
    assert config["taskmanager.host"] == "localhost"
    assert (config["taskmanager.numberOfTaskSlots"], config["taskmanager.resource-id"]) == (3, "tm-0")


def test_a_node_in_a_container_is_open_to_its_network_and_finds_its_own_address(tmp_path: Path) -> None:
    place = Place(host="jobmanager", bind_host="0.0.0.0")
    nodes.taskmanager(tmp_path, {}, place, slots=1)
    config = configuration(tmp_path)
    assert config["jobmanager.rpc.address"] == config["rest.address"] == "jobmanager"
    assert config["taskmanager.bind-host"] == "0.0.0.0"
    assert "taskmanager.host" not in config


def test_the_jvm_itself_has_flinks_python_library_and_nothing_is_copied(tmp_path: Path) -> None:
    command, env = nodes.taskmanager(tmp_path, {}, Place(), slots=1)
    libraries = list(Path(env["FLINK_LIB_DIR"]).iterdir())
    assert any(path.name.startswith("flink-python") for path in libraries)
    assert any(path.name.startswith("flink-dist") for path in libraries)
    assert all(path.is_symlink() and path.exists() for path in libraries)
    assert command == [str(flink_folder.flink_home() / "bin" / "taskmanager.sh"), "start-foreground"]


def test_a_port_that_is_taken_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cluster = LocalCluster(Settings(state_dir=tmp_path), rest_port=port)
        with pytest.raises(StartError, match=f"port {port} is not to be had: .*in use"):
            cluster.start()
    assert {step.state for step in cluster.steps()} == {"waiting"}


def test_a_state_folder_tells_who_has_it(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    assert folder.owner() is None
    assert not folder.path.exists(), "asking makes nothing"
    folder.take()
    assert StateFolder(tmp_path / "state").owner() == os.getpid()
    folder.release()
    assert StateFolder(tmp_path / "state").owner() is None


def test_only_a_cluster_is_ended_by_cluster_down_and_not_another_run_of_the_folder(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    with pytest.raises(StartError, match="no cluster is up"):
        local.end(settings)
    folder = StateFolder(settings.state_dir)
    folder.take()  # as `make run` would
    try:
        with pytest.raises(StartError, match="no cluster is up"):
            local.end(settings)
        (settings.state_dir / "cluster.pid").write_text("1")  # left by a kill; the number is another's now
        assert local.owner(settings) is None
    finally:
        folder.release()
