"""Our closed candles and the exchange's own of the same windows, made into one history. Pure.

Ours wins where both exist, for it has every digit and the taker's side; except where a recorded
gap touches the window: there ours is known to be incomplete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.gap import Gap

Timed = tuple[int, str]
"""Open time in ms, and the candle's JSON."""


def merged(ours: Iterable[Timed], theirs: Iterable[Timed], gaps: Sequence[Gap], width_ms: int) -> list[str]:
    """The JSON of one candle an open time, oldest first."""
    candles = dict(theirs)
    for open_time_ms, text in ours:
        if open_time_ms not in candles or not any(gap.overlaps(open_time_ms, width_ms) for gap in gaps):
            candles[open_time_ms] = text
    return [candles[open_time_ms] for open_time_ms in sorted(candles)]
