"""The folder of one embedded run: who may use it, and what lies where in it.

::

    lock         held (flock) by the run and its children, with the run's process id inside
    redis/       append-only file, and the socket
    checkpoints/ Flink's checkpoints
    flink/       conf, log, pid, tmp and java of the job's process, made anew at each start
    logs/        what the processes print, rotated
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.errors import StateFolderError

SOCKET_PATH_LIMIT: Final = 100
"""Bytes. A Unix socket's path ends at 104 on macOS and at 108 on Linux."""
SHORT_FOLDER: Final = Path("/tmp")  # noqa: S108  what is made there must be ours alone
LEFTOVER_WAIT_S: Final = 15.0
"""How long the children of a run that was killed may take to notice and to go."""


class StateFolder:
    """Paths of a state folder, and the lock on it. Nothing is written before :meth:`take`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.redis = self.path / "redis"
        self.checkpoints = self.path / "checkpoints"
        self.flink = self.path / "flink"
        self.logs = self.path / "logs"
        self._lock = self.path / "lock"
        self._lock_fd: int | None = None

    @property
    def socket(self) -> Path:
        """Redis's socket: in the folder, or where its path would be too long, in a private one."""
        inside = self.redis / "redis.sock"
        if len(os.fsencode(inside)) < SOCKET_PATH_LIMIT:
            return inside
        # Found again by its name: the same state folder always gets the same socket, whatever TMPDIR
        # says, which may itself be too long.
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return SHORT_FOLDER / f"candlecast-{os.getuid()}-{name}" / "redis.sock"

    @property
    def lock_fd(self) -> int:
        """Descriptor of the lock while it is ours. A child that inherits it keeps the folder taken."""
        assert self._lock_fd is not None, "the folder was not taken"  # noqa: S101  a bug of ours
        return self._lock_fd

    def take(self) -> None:
        """Make the folder ours until :meth:`release`. StateFolderError if it is not to be had."""
        try:
            self._make()
            self._lock_fd = self._locked()
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise StateFolderError(
                f"STATE_DIR={self.path}: cannot be written: {error.strerror or error}{where}"
            ) from None

    def release(self) -> None:
        """Give the folder back; it stays taken while a child lives that inherited the lock."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
            if self.socket.parent != self.redis:
                with suppress(OSError):  # not empty: Redis still lives
                    self.socket.parent.rmdir()

    def owner(self) -> int | None:
        """Process id of the run that has the folder now, or None. Nothing is made."""
        try:
            fd = os.open(self._lock, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            return int(text) if text.isdigit() else None
        finally:
            os.close(fd)
        return None

    def _make(self) -> None:
        for folder in (self.path, self.redis, self.checkpoints, self.flink, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            _try_to_write(folder)
        # Whoever can connect to the socket can do anything to the data.
        self.redis.chmod(0o700)
        _make_private(self.socket.parent)

    def _locked(self) -> int:
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LEFTOVER_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
                if _is_alive(owner) or time.monotonic() > deadline:
                    os.close(fd)
                    raise StateFolderError(
                        f"STATE_DIR={self.path}: taken by another run (process {owner or 'unknown'}). "
                        "Stop that one, or set STATE_DIR to another folder."
                    ) from None
                time.sleep(0.05)  # the run was killed, and its children are about to go
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            os.close(fd)
            raise
        return fd


def _try_to_write(folder: Path) -> None:
    """OSError now, not when a child fails: folders of another user, or no room left."""
    probe = folder / ".writable"
    probe.write_bytes(b"x" * 4_096)
    probe.unlink()


def _make_private(folder: Path) -> None:
    """Make ``folder`` ours alone. In a shared /tmp another user may have put it there first."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StateFolderError(f"{folder}: must be a folder of ours that nobody else can enter")


def _is_alive(process_id: str) -> bool:
    try:
        os.kill(int(process_id), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return not _is_zombie(process_id)


def _is_zombie(process_id: str) -> bool:
    """Whether it has ended, and its parent has not asked how yet: in a container that may be never."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False  # no /proc here, or it has just gone
