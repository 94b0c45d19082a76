"""A log file that cannot grow without bound."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 2_000_000
"""Size at which a log becomes ``NAME.log.1`` and starts anew: at most twice this on disk."""


class LogFile:
    """Lines of one child, across its restarts. Survives a full disk: lines are dropped, not the child."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_line = ""
        """Newest line that says something: the likeliest reason where the child died."""
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip()
        if text:
            self.last_line = text[:300]
        with self._lock:
            try:
                with self.path.open("ab") as file:
                    file.write(line)
                    size = file.tell()
                if size > MAX_BYTES:
                    self.path.replace(self.path.with_suffix(".log.1"))
            except OSError:
                return  # nobody to tell: this is where we would have told it
