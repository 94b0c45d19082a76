"""Seals on checkpoints: checksums made when they were whole, so that a damaged one is known as such.

Flink does not look at a checkpoint before it goes on from it; with a damaged one it fails, again and
again. So the job's process notes the checksums of each checkpoint soon after it is complete, in
``seals.json`` beside them, and the next start passes over what does not match.
"""

from __future__ import annotations

import json
import logging
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

_FILE: Final = "seals.json"
_LOOK_S: Final = 0.25
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
def sealing(folder: Path) -> Iterator[None]:
    """Seal what a job completes below ``folder`` meanwhile, in a thread of our own."""
    done = threading.Event()
    thread = threading.Thread(target=_keep_sealing, args=(folder, done), name="seals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _keep_sealing(folder: Path, done: threading.Event) -> None:
    told = False
    while not done.wait(_LOOK_S):
        try:
            seal(folder)
        except OSError as error:  # disk full, or away: checkpoints go on unsealed, and are believed
            if not told:
                log.warning("checkpoints cannot be sealed: %s", error)
            told = True
        else:
            told = False


def seal(folder: Path) -> None:
    """Seal each complete checkpoint below ``folder`` that is not, and forget those that are gone."""
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
