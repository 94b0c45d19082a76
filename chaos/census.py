"""What a run takes, process by process and folder by folder, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Taken:
    """One process: resident memory in MiB (its own pages where the system tells them), files, threads."""

    rss_mib: float
    files: int
    threads: int


def processes(server: int) -> Mapping[str, Taken]:
    """The server and what it supervises, by name; those that are just starting are left out."""
    found: dict[str, Taken] = {}
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(server)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):
                name = "server" if process.pid == server else _name(process)
                if name:
                    found[name] = Taken(
                        process.memory_info().rss / MIB, process.num_fds(), process.num_threads()
                    )
    return found


def _name(process: psutil.Process) -> str | None:
    words = process.cmdline()
    if process.name() == "java":
        return "jvm"
    if process.name() == "redis-server":
        return "redis"
    if words[-3:] in (["-m", "pipeline", "feed"], ["-m", "pipeline", "job"]) and words[0] != "/bin/sh":
        return {"feed": "feed", "job": "client"}[words[-1]]
    return None  # a guard


def folders(places: Mapping[str, Path]) -> Mapping[str, float]:
    """Size of each folder in MiB."""
    return {name: _size(path) / MIB for name, path in places.items()}


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # a checkpoint that has just been replaced
            if path.is_file() and not path.is_symlink():
                size += path.lstat().st_size
    return size
