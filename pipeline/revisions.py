"""What a batch changed, and the candle JSON of it, numbered. Pure but for the counting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline import fold
from pipeline.alert import Alert
from pipeline.candle import candle_json
from pipeline.intake import Batch
from pipeline.market import INTERVALS, PRICE_DECIMALS, QUANTITY_DECIMALS, QUOTE_DECIMALS, Interval, decimal_text


@dataclass(frozen=True, slots=True)
class Revisions:
    """What one batch changed: closed and forming partials, a matrix an interval each."""

    batch: Batch
    closed: list[fold.Partials]
    forming: list[fold.Partials]
    closed_total: int
    alerts: tuple[Alert, ...] = ()
    """What these candles give rise to; written after them, in the same transaction."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One candle to write: its JSON, and what says where it goes."""

    symbol: str
    interval: Interval
    open_time_ms: int
    is_closed: bool
    text: str


class Numbering:
    """Numbers revisions: ``seq`` counts those of one symbol and interval, for as long as this lives."""

    def __init__(self) -> None:
        self._seqs: defaultdict[tuple[str, Interval], int] = defaultdict(int)

    def encoded(self, revisions: Revisions, epoch: int, now_ms: int, *, only_closed: bool) -> Iterator[Encoded]:
        """Every candle of ``revisions``, the closed ones first; each is numbered as it is taken."""
        symbols = revisions.batch.symbols
        for matrices, is_closed in ((revisions.closed, True), (revisions.forming, False)):
            if only_closed and not is_closed:
                continue
            for interval, partials in zip(INTERVALS, matrices, strict=True):
                for column in partials.T.tolist():
                    symbol = symbols[column[fold.SYMBOL]]
                    seq = self._seqs[symbol, interval] = self._seqs[symbol, interval] + 1
                    text = encode(symbol, interval, column, is_closed, epoch, seq, now_ms)
                    yield Encoded(symbol, interval, column[fold.OPEN_TIME], is_closed, text)


def encode(
    symbol: str, interval: Interval, column: list[int], is_closed: bool, epoch: int, seq: int, now_ms: int
) -> str:
    """The candle JSON of one partial, given as the ROWS numbers of its column."""
    return candle_json(
        symbol,
        interval,
        column[fold.OPEN_TIME],
        open=decimal_text(column[fold.OPEN], PRICE_DECIMALS),
        high=decimal_text(column[fold.HIGH], PRICE_DECIMALS),
        low=decimal_text(column[fold.LOW], PRICE_DECIMALS),
        close=decimal_text(column[fold.CLOSE], PRICE_DECIMALS),
        volume=decimal_text(_sum(column, fold.VOLUME), QUANTITY_DECIMALS),
        quote_volume=decimal_text(_sum(column, fold.QUOTE_VOLUME), QUOTE_DECIMALS),
        taker_buy_volume=decimal_text(_sum(column, fold.TAKER_BUY_VOLUME), QUANTITY_DECIMALS),
        trade_count=column[fold.COUNT],
        is_closed=is_closed,
        epoch=epoch,
        seq=seq,
        published_at_ms=now_ms,
    )


def _sum(column: list[int], row: int) -> int:
    """A sum from its low and its high word."""
    return (column[row + fold.VOLUME_HIGH - fold.VOLUME] << 64) + column[row]
