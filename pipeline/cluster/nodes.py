"""How a JobManager and a TaskManager are started: the wheel's own scripts, in folders of our own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.embedded import flink_folder

Launch = tuple[list[str], dict[str, str]]
"""Command and environment of a process that stays in the foreground."""

HEARTBEAT_TIMEOUT_S: Final = 20.0
"""So long after its JobManager's death a TaskManager may still be running its part of the job."""

_COMMON: Final = {
    # A TaskManager that was killed is missed within some seconds, not after Flink's 20 to 50.
    "heartbeat.interval": "1000",
    "heartbeat.timeout": f"{1_000 * HEARTBEAT_TIMEOUT_S:.0f}",
    # One whose machine or container went away with it refuses no connection: a new one just hangs. It
    # counts as gone after two such, long before its heartbeat does.
    "pekko.tcp.timeout": "4 s",
    # Nobody uploads jars through the web page. Jobs come by `flink run`.
    "web.submit.enable": "false",
    # Work is spread over the TaskManagers instead of filling the first one.
    "taskmanager.load-balance.mode": "SLOTS",
}

_TO_CONSOLE: Final = """
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-60c %x - %m%n
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the JobManager is, and which interface this node's own ports are opened on."""

    host: str = "localhost"
    rpc_port: int = 6123
    rest_port: int = 8081
    bind_host: str = "localhost"
    to_console: bool = False
    """Whether the log also goes to stdout, as a container's should."""

    def options(self) -> dict[str, str]:
        return {
            **_COMMON,
            "jobmanager.rpc.address": self.host,
            "jobmanager.rpc.port": str(self.rpc_port),
            "jobmanager.bind-host": self.bind_host,
            "rest.address": self.host,
            "rest.port": str(self.rest_port),
            "rest.bind-port": str(self.rest_port),  # this one or none: by default it would try others
            "rest.bind-address": self.bind_host,
            "taskmanager.bind-host": self.bind_host,
        }


def jobmanager(folder: Path, environ: Mapping[str, str], place: Place) -> Launch:
    """``folder`` is made anew at each start; its logs are kept."""
    memory = {  # heap and metaspace come from these, by Flink's own arithmetic
        "jobmanager.memory.process.size": "512m",
        "jobmanager.memory.off-heap.size": "64m",
        "jobmanager.memory.jvm-metaspace.size": "128m",
        "jobmanager.memory.jvm-overhead.min": "64m",
        "jobmanager.memory.jvm-overhead.max": "64m",
    }
    return _launch("jobmanager.sh", folder, environ, place, memory)


def taskmanager(folder: Path, environ: Mapping[str, str], place: Place, slots: int, name: str = "") -> Launch:
    """As :func:`jobmanager`. One that comes again under its old ``name`` takes the old one's place at once."""
    options = {
        "taskmanager.numberOfTaskSlots": str(slots),
        # Of the JVM alone: the Python inside it (some 100 MB, and its batches) comes on top.
        "taskmanager.memory.process.size": "704m",
        "taskmanager.memory.managed.size": "16m",  # for RocksDB and Python processes: we have neither
        "taskmanager.memory.network.min": "64m",
        "taskmanager.memory.network.max": "64m",
        "taskmanager.memory.jvm-metaspace.size": "160m",
        "taskmanager.memory.jvm-overhead.min": "64m",
        "taskmanager.memory.jvm-overhead.max": "64m",
    }
    if name:
        options["taskmanager.resource-id"] = name
    if place.bind_host == "localhost":  # elsewhere Flink finds the address that reaches the JobManager
        options["taskmanager.host"] = "localhost"
    return _launch("taskmanager.sh", folder, environ, place, options)


def _launch(
    script: str, folder: Path, environ: Mapping[str, str], place: Place, options: dict[str, str]
) -> Launch:
    env = {**environ, **flink_folder.prepare(folder, environ, place.options() | options, flink_folder.LEAN)}
    if place.to_console:
        with (Path(env["FLINK_CONF_DIR"]) / "log4j-console.properties").open("a") as log4j:
            log4j.write(_TO_CONSOLE)
    env["FLINK_LIB_DIR"] = str(_libraries(folder / "lib"))
    return [str(flink_folder.flink_home() / "bin" / script), "start-foreground"], env


def _libraries(folder: Path) -> Path:
    """Flink's libraries with PyFlink's own among them.

    `flink run` sends that one along with each job. A JVM can load the Python in it only once, so the
    second job on a TaskManager, and the first one restored there, would fail: it must be the JVM's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    home = flink_folder.flink_home()
    for jar in [*(home / "lib").glob("*.jar"), *(home / "opt").glob("flink-python*.jar")]:
        (folder / jar.name).symlink_to(jar)
    return folder
