"""Seals on checkpoints: checksums made when they were whole, so that a damaged one is known as such.

Flink does not look at a checkpoint before it goes on from it; with a damaged one it fails, again and
again. So the job's process notes the checksums of each checkpoint soon after it is complete, in
``seals.json`` beside them, and the next start passes over what does not match.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

_FILE: Final = "seals.json"
_LOOK_S: Final = 0.25
_START_S: Final = 180.0
"""A job may take so long to complete its first."""
_GRACE_S: Final = 5.0
_CHUNK: Final = 1 << 20

Seal = dict[str, list[int]]
"""File name -> size in bytes and CRC-32. Against accidents; who can write here can do anything."""


def damage(folder: Path, saved: Path) -> str | None:
    """What is wrong with checkpoint ``saved`` below ``folder``, in words; None if nothing is known."""
    try:
        if not (saved / "_metadata").stat().st_size:
            return "_metadata is empty"
        seals = _read(folder)
        sealed = seals.get(_name(saved))
        if sealed is not None:
            return _difference(sealed, _seal(saved)) if sealed else "a job could not begin from it"
        life = f"{saved.parent.name}/"
        if any(name.startswith(life) and (folder / name).is_dir() for name in seals):
            return "was not sealed before its job ended"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return None


@contextmanager
def sealing(folder: Path, every_s: float) -> Iterator[None]:
    """Seal what a job completes below ``folder`` meanwhile, in a thread of our own.

    ``every_s``: how often the job should complete one. If none comes for long, it is said once, for
    Flink itself tells only its own log.
    """
    done = threading.Event()
    work = _Sealing(folder, every_s)
    thread = threading.Thread(target=work.run, args=(done,), name="seals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Sealing:
    def __init__(self, folder: Path, every_s: float) -> None:
        self._folder = folder
        self._overdue_after_s = 3 * every_s + _GRACE_S
        self._last_s = time.monotonic()
        self._patience_s = _START_S
        self._cannot = False
        self._overdue = False

    def run(self, done: threading.Event) -> None:
        while not done.wait(_LOOK_S):
            has_new = False
            try:
                has_new = seal(self._folder)
                self._cannot = False
            except OSError as error:  # disk full, or away: what is not sealed is believed
                if not self._cannot:
                    log.warning("checkpoints cannot be sealed: %s", error)
                self._cannot = True
            self._look(has_new)

    def _look(self, has_new: bool) -> None:
        now_s = time.monotonic()
        if has_new:
            if self._overdue:
                log.warning("checkpoints are completed again")
            self._overdue = False
            self._last_s, self._patience_s = now_s, self._overdue_after_s
        elif not self._overdue and now_s - self._last_s > self._patience_s:
            self._overdue = True
            log.warning(
                "no checkpoint was completed for %.0f s (%s %s). Candles go on; a crash now "
                "reads again from the last one. The cause is in Flink's log.",
                now_s - self._last_s, self._folder, _room(self._folder),
            )  # fmt: skip


def _room(folder: Path) -> str:
    try:
        return f"has {shutil.disk_usage(folder).free:,} bytes free"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def seal(folder: Path) -> bool:
    """Seal each complete checkpoint below ``folder`` that is not, and forget those that are gone.

    Whether there was a new one.
    """
    known = _read(folder)
    seals: dict[str, Seal] = {}
    for metadata in folder.glob("*/chk-*/_metadata"):
        name = _name(metadata.parent)
        try:
            seals[name] = known[name] if name in known else _seal(metadata.parent)
        except FileNotFoundError:
            continue  # Flink has just removed it
    if seals != known:
        _write(folder, seals)
    return bool(seals.keys() - known.keys())


def refuse(folder: Path, saved: Path) -> None:
    """Note that a job could not begin from ``saved``, whatever its checksums say."""
    log.error("Flink could not begin from checkpoint %s: the next start takes an older one", saved)
    _write(folder, _read(folder) | {_name(saved): {}})


def _write(folder: Path, seals: dict[str, Seal]) -> None:
    fresh = folder / f"{_FILE}.new"
    fresh.write_text(json.dumps(seals))
    fresh.replace(folder / _FILE)


def _name(saved: Path) -> str:
    return f"{saved.parent.name}/{saved.name}"


def _read(folder: Path) -> dict[str, Seal]:
    """What is sealed; nothing where the file is absent or itself damaged: then all is believed."""
    try:
        found: Any = json.loads((folder / _FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _seal(saved: Path) -> Seal:
    return {path.name: _checksum(path) for path in sorted(saved.iterdir()) if path.is_file()}


def _checksum(path: Path) -> list[int]:
    size, crc = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return [size, crc]


def _difference(sealed: Seal, found: Seal) -> str | None:
    for name, (size, crc) in sealed.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != [size, crc]:
            return f"{name} is not as it was written ({found[name][0]:,} bytes, it had {size:,})"
    return None
