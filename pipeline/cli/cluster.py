"""``python -m pipeline cluster``: the pipeline on a Flink cluster, here or anywhere."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pipeline.cluster import JobControl, nodes
from pipeline.cluster import run as local
from pipeline.cluster.keeper import Keeper
from pipeline.embedded import url_of
from pipeline.settings import Settings, without_secret

_WHOLE_START_S: Final = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One word of what to do, and what that needs."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (help, _) in _ACTIONS.items():
        action = actions.add_parser(name, help=help, description=help)
        if name in {"up", "run"}:
            action.add_argument("--taskmanagers", type=_some, default=2, help="how many (default 2)")
        if name in {"up", "run", "taskmanager"}:
            action.add_argument("--slots", type=_some, default=2, help="slots a TaskManager (default 2)")
        if name in {"jobmanager", "taskmanager"}:
            action.add_argument("--rpc-port", type=int, default=6123, help="the JobManager's (default 6123)")
            action.add_argument(
                "--bind-host", default="localhost", help="interface to listen on (default localhost)"
            )
        if name == "submit":
            action.add_argument(
                "--from", dest="resume_from", type=Path, metavar="SAVEPOINT", help="not the newest"
            )
        if name == "flink":
            action.add_argument("arguments", nargs=argparse.REMAINDER, help="as of Flink's command line")
        if name == "rescale":
            action.add_argument("parallelism", type=_some, help="subtasks from now on")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Exit code 0 once it is done."""
    _, action = _ACTIONS[options.action]
    action(options, settings)
    return 0


def _up(options: argparse.Namespace, settings: Settings) -> None:
    log = local.start_in_background(settings, options.taskmanagers, options.slots)
    print(f"starting; the log is {log}")
    control = _control(settings)
    control.wait_until_running(_WHOLE_START_S, still=lambda: local.require_owner(settings, log))
    _status(options, settings)
    print(control.flink("list").strip())
    print(f"dashboard  REDIS_URL={without_secret(url_of(settings))} make run")


def _control(settings: Settings) -> JobControl:
    return JobControl(replace(settings, redis_url=url_of(settings)))


def _run(options: argparse.Namespace, settings: Settings) -> None:
    _log()
    local.run(settings, options.taskmanagers, options.slots)


def _down(options: argparse.Namespace, settings: Settings) -> None:  # noqa: ARG001
    local.end(settings)
    print("all ended; the next start goes on from the newest checkpoint")


def _status(options: argparse.Namespace, settings: Settings) -> None:  # noqa: ARG001
    control = _control(settings)
    overview = control.rest.overview()
    print(f"Redis      {without_secret(url_of(settings))}")
    print(
        f"Flink      {overview['flink-version']} at {settings.flink_url}, "
        f"{overview['taskmanagers']} TaskManagers, "
        f"{overview['slots-available']} of {overview['slots-total']} slots free"
    )
    for job in control.jobs()[:1]:
        print(f"job        {job.id} {job.state}, parallelism {control.parallelism(job)}")


def _submit(options: argparse.Namespace, settings: Settings) -> None:
    control = _control(settings)
    print(f"submitted  {control.submit(resume_from=options.resume_from)}")
    control.wait_until_running()
    _status(options, settings)


def _savepoint(options: argparse.Namespace, settings: Settings) -> None:  # noqa: ARG001
    print(f"savepoint  {_control(settings).savepoint()}")


def _stop(options: argparse.Namespace, settings: Settings) -> None:  # noqa: ARG001
    print(f"stopped    {_control(settings).stop()}")


def _rescale(options: argparse.Namespace, settings: Settings) -> None:
    control = _control(settings)
    print(f"submitted  {control.rescale(options.parallelism)}")
    control.wait_until_running()
    _status(options, settings)


def _flink(options: argparse.Namespace, settings: Settings) -> None:
    print(_control(settings).flink(*options.arguments).strip())


def _keep(options: argparse.Namespace, settings: Settings) -> None:  # noqa: ARG001
    _log()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Keeper(settings, stop).run()


def _jobmanager(options: argparse.Namespace, settings: Settings) -> None:
    _become(nodes.jobmanager(_folder(), os.environ, _place(options, settings)))


def _taskmanager(options: argparse.Namespace, settings: Settings) -> None:
    # Under its machine's name: one that is started again takes its own place, and can be asked for.
    name = socket.gethostname()
    _become(nodes.taskmanager(_folder(), os.environ, _place(options, settings), options.slots, name))


def _place(options: argparse.Namespace, settings: Settings) -> nodes.Place:
    url = urlsplit(settings.flink_url)
    return nodes.Place(
        host=url.hostname or "localhost",
        rpc_port=options.rpc_port,
        rest_port=url.port or 8081,
        bind_host=options.bind_host,
        to_console=True,
    )


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="candlecast-flink-"))


def _become(launch: nodes.Launch) -> None:
    """Turn this process into Flink's: it gets the signals, and its exit code is ours."""
    (program, *arguments), env = launch
    sys.stdout.flush()
    os.execve(program, [program, *arguments], env)  # noqa: S606  a program of the wheel, no shell


def _log() -> None:
    logging.getLogger().setLevel(logging.INFO)


def _some(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1_024:
        raise argparse.ArgumentTypeError(f"{text}: must be from 1 to 1024")
    return number


_ACTIONS: Final[dict[str, tuple[str, Callable[[argparse.Namespace, Settings], None]]]] = {
    "up": ("start Redis, feed, JobManager and TaskManagers on this machine, and submit the job", _up),
    "down": ("end all that `up` has started", _down),
    "status": ("print what the cluster runs", _status),
    "savepoint": ("save the job's state; it runs on", _savepoint),
    "stop": ("save the job's state and end the job", _stop),
    "submit": ("submit the job; it goes on from what was saved last", _submit),
    "rescale": ("stop with a savepoint and go on from it with another parallelism", _rescale),
    "flink": ("Flink's own command line, with Java and folders in order: cluster flink list", _flink),
    "run": ("what `up` starts, in the foreground", _run),
    "keep": ("submit the job, and again when the cluster loses it; for containers", _keep),
    "jobmanager": ("become a JobManager at FLINK_URL; for containers", _jobmanager),
    "taskmanager": ("become a TaskManager of the JobManager at FLINK_URL; for containers", _taskmanager),
}
