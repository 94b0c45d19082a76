"""A server that cannot start says why in one line. Uvicorn would print a traceback around it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import CandlecastError


@contextmanager
def one_line() -> Iterator[None]:
    """End the process with exit code 2 and one line on stderr where what is inside raises ours."""
    try:
        yield
    except CandlecastError as error:
        sys.stderr.write(f"candlecast: {error}\n")
        sys.stderr.flush()
        os._exit(2)  # nothing has been started; an exception would come out as a page of frames
