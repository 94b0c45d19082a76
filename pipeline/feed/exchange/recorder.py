"""Live trades into a CSV that ``replay`` reads back: the same way as into the streams, another end.

Healed, in order and each once, as they would be folded.
"""

from __future__ import annotations

import csv
import gzip
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO, cast

from pipeline import wall_clock
from pipeline.entry import Records
from pipeline.feed.exchange.live import LiveFeed
from pipeline.feed.stream import Position, Rejected
from pipeline.gap import Gap
from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS, Side, decimal_text
from pipeline.settings import Settings

HEADER: Final = ("exchange", "symbol", "trade_id", "event_time_ms", "price", "quantity", "side")


class Recorded(NamedTuple):
    """Sums of a recording."""

    trades: int
    rejected: int
    gaps: int


def record(
    settings: Settings,
    exchanges: Sequence[str],
    path: Path,
    stop: threading.Event,
    tell: Callable[[str], None],
    now_ms: Callable[[], int] = wall_clock.now_ms,
) -> Recorded:
    """Write trades of ``exchanges`` to ``path`` until ``stop`` is set; ``tell`` is given lines for people.

    Compressed where the name ends in ``.gz``. What was written is in the file at every moment but for the
    last second.
    """
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as text:
        sink = _File(cast("TextIO", text), ",".join(exchanges), stop, tell)
        LiveFeed(settings, sink, exchanges, None, now_ms).run()
        return Recorded(sink.trades, sink.rejected, sink.gaps)


class _File:
    """What the live feed asks of a writer, done to a file."""

    def __init__(self, text: TextIO, exchange: str, stop: threading.Event, tell: Callable[[str], None]) -> None:
        self.stop = stop
        self.trades = self.rejected = self.gaps = 0
        self._text = text
        self._exchange = exchange
        self._tell = tell
        self._rows = csv.writer(text, lineterminator="\n")
        self._rows.writerow(HEADER)
        self._state = ""
        self._told = 0

    def resume(self) -> Position:
        return Position(None, None)

    def write(
        self,
        symbols: Sequence[str],
        trades: Records,
        position: str,  # noqa: ARG002  a file needs none
        *,
        state: str | None = None,  # noqa: ARG002
        heartbeat_ms: int = 0,  # noqa: ARG002
        rejected: Sequence[Rejected] = (),
        gaps: Sequence[Gap] = (),
        about: Mapping[str, str | int] | None = None,
    ) -> None:
        for time_ms, trade_id, price, quantity, symbol, side in trades.tolist():
            self._rows.writerow(
                (
                    self._exchange,
                    symbols[symbol],
                    trade_id,
                    time_ms,
                    decimal_text(price, PRICE_DECIMALS),
                    decimal_text(quantity, QUANTITY_DECIMALS),
                    Side(side).name.lower(),
                )
            )
        self.trades += len(trades)
        self.rejected += len(rejected)
        self.gaps += len(gaps)
        for one in rejected:
            self._tell(f"rejected: {one.reason}: {one.origin}: {one.record}")
        for gap in gaps:
            self._tell(f"gap: {json.dumps(gap._asdict())}")
        self.tell(about or {})

    def heartbeat(self, event_time_ms: int, about: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        self.tell(about or {})

    def tell(self, about: Mapping[str, Any]) -> None:
        self._text.flush()
        state = str(about.get("state", self._state))
        if state != self._state:
            self._state = state
            self._tell(state)
        if about and self.trades != self._told:
            self._told = self.trades
            self._tell(f"{self.trades:,} trades")
