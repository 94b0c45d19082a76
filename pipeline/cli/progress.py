"""How far a replay is: one line that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Final, TextIO

_REDRAW_S: Final = 0.2
_PLAIN_EVERY_S: Final = 5.0
_RATE_FROM_S: Final = 0.5
_BAR: Final = 24


class Progress:
    """Call :meth:`show` as often as you like; it draws only now and then."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._next = 0.0
        self._first: tuple[float, int] | None = None
        self._width = 0

    def show(self, what: str, fraction: float, trades: int, event_time_ms: int, *, now: bool = False) -> None:
        """``what`` is being done, ``fraction`` of it (0 to 1) is done. ``now`` draws in any case."""
        clock = time.monotonic()
        if clock < self._next and not now:
            return
        self._next = clock + (_REDRAW_S if self._is_terminal else _PLAIN_EVERY_S)
        text = f"{what} {fraction:4.0%}  {trades:,} trades{self._rate(clock, trades)}"
        if event_time_ms:
            text += f"  event time {datetime.fromtimestamp(event_time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
        if self._is_terminal:
            done = round(_BAR * min(fraction, 1))
            text = f"[{'#' * done}{'.' * (_BAR - done)}] {text}"
            self._stream.write(f"\r{text:<{self._width}}")
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def _rate(self, clock: float, trades: int) -> str:
        """Trades a second since the first were seen: the start of the processes is not their rate."""
        if self._first is None:
            self._first = (clock, trades) if trades else None
            return ""
        since, before = self._first
        return f"  {(trades - before) / (clock - since):,.0f} trades/s" if clock - since > _RATE_FROM_S else ""

    def end(self) -> None:
        """Leave the line, so that what follows does not run into it."""
        if self._is_terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()
