"""How far a replay is: one line that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Final, TextIO

_REDRAW_S: Final = 0.2
_PLAIN_EVERY_S: Final = 5.0
_BAR: Final = 24


class Progress:
    """Call :meth:`show` as often as you like; it draws only now and then."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._started = time.monotonic()
        self._next = self._started
        self._width = 0

    def show(self, what: str, fraction: float, trades: int, event_time_ms: int, *, now: bool = False) -> None:
        """``what`` is being done, ``fraction`` of it (0 to 1) is done. ``now`` draws in any case."""
        clock = time.monotonic()
        if clock < self._next and not now:
            return
        self._next = clock + (_REDRAW_S if self._is_terminal else _PLAIN_EVERY_S)
        rate = trades / max(clock - self._started, 0.001)
        event_time = datetime.fromtimestamp(event_time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") + " UTC"
        text = f"{what} {fraction:4.0%}  {trades:,} trades  {rate:,.0f} trades/s"
        text += f"  event time {event_time}" if event_time_ms else ""
        if self._is_terminal:
            done = round(_BAR * min(fraction, 1))
            text = f"[{'#' * done}{'.' * (_BAR - done)}] {text}"
            self._stream.write(f"\r{text:<{self._width}}")
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line, so that what follows does not run into it."""
        if self._is_terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()
