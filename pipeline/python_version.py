"""Refuses a Python that the pinned packages do not run on. Must itself run on any Python 3."""

import sys

OLDEST = (3, 11)
NEWEST = (3, 12)


def require() -> None:
    """Return, or end the process with exit code 2 and one line that names the versions to use."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        version = ".".join(str(part) for part in sys.version_info[:2])
        sys.stderr.write(f"Candlecast needs Python 3.11 or 3.12; this is {version} ({sys.executable}).\n")
        sys.exit(2)
