"""The fold: trades -> partial candles -> candles. Pure: no I/O, no clock, no Flink.

A *partial* candle holds what is known of one window of one symbol. Partials are kept many at a
time, as the columns of an int64 matrix of shape (ROWS, n); the constants below name its rows.
:func:`fold_trades` makes partials out of trades, :func:`merge` joins partials of the same window,
also into wider windows. Both give the same result for any order and any split of their input:
open and close go by (event time, trade id), never by arrival.

Sums are exact. A sum may outgrow 63 bits (price times quantity has 126), so it is kept as two
rows, ``high * 2**64 + low``. Adding the low words wraps around, which is exact modulo 2**64; a
float64 sum beside it is off by far less than 2**63 and so tells which multiple of 2**64 was lost.
That holds while (sum in units) * (summands) < 2**115, in quote currency and a batch of 100,000
trades 400 billion; a larger one is added up in Python's own integers, which takes longer. A window
ends at 2**127 units, and a trade at 2**100 (``market.MAX_NOTIONAL``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.market import INTERVALS, Interval

Ints = npt.NDArray[np.int64]
Partials = npt.NDArray[np.int64]

SYMBOL, OPEN_TIME = 0, 1
OPEN_AT, OPEN_ID, OPEN = 2, 3, 4  # event time, trade id and price of the first trade
CLOSE_AT, CLOSE_ID, CLOSE = 5, 6, 7  # … and of the last
HIGH, LOW = 8, 9
COUNT = 10
VOLUME, QUOTE_VOLUME, TAKER_BUY_VOLUME = 11, 12, 13  # low words
VOLUME_HIGH, QUOTE_VOLUME_HIGH, TAKER_BUY_VOLUME_HIGH = 14, 15, 16
ROWS: Final = 17
_LOW_WORDS: Final = slice(VOLUME, TAKER_BUY_VOLUME + 1)
_HIGH_WORDS: Final = slice(VOLUME_HIGH, TAKER_BUY_VOLUME_HIGH + 1)
_WORD: Final = 2.0**64
_FLOATS_TELL: Final = 2.0**115
_HALF_WORD: Final = np.int64(2**32 - 1)


def no_partials() -> Partials:
    """An empty matrix, shape (ROWS, 0)."""
    return np.empty((ROWS, 0), np.int64)


def fold_trades(
    symbols: Ints, times_ms: Ints, ids: Ints, prices: Ints, quantities: Ints, buys: npt.NDArray[np.bool_]
) -> Partials:
    """Fold trades, each array of shape (n,), into partials of the narrowest interval.

    ``symbols`` are small codes from 0; prices and quantities are scaled integers (see ``market``);
    ``buys`` is true where the taker bought. The result is ordered by symbol, then open time.
    """
    if not len(times_ms):
        return no_partials()
    width = INTERVALS[0].ms
    windows = times_ms // width
    first_window = int(windows.min())
    span = int(windows.max()) - first_window + 1
    keys = symbols * span + (windows - first_window)
    order, starts = _order_trades(keys, times_ms, ids, prices)
    ends = np.append(starts[1:], len(order)) - 1
    prices, quantities = prices[order], quantities[order]
    bought = np.where(buys[order], quantities, 0)
    first, last = order[starts], order[ends]

    partials = np.empty((ROWS, len(starts)), np.int64)
    partials[SYMBOL] = symbols[first]
    partials[OPEN_TIME] = windows[first] * width
    partials[OPEN_AT], partials[OPEN_ID], partials[OPEN] = times_ms[first], ids[first], prices[starts]
    partials[CLOSE_AT], partials[CLOSE_ID], partials[CLOSE] = times_ms[last], ids[last], prices[ends]
    partials[HIGH] = np.maximum.reduceat(prices, starts)
    partials[LOW] = np.minimum.reduceat(prices, starts)
    partials[COUNT] = ends - starts + 1
    sizes = quantities.astype(np.float64)
    _sum_into(partials, VOLUME, quantities, np.add.reduceat(sizes, starts), starts)
    _sum_into(partials, TAKER_BUY_VOLUME, bought, np.add.reduceat(bought.astype(np.float64), starts), starts)
    quotes = np.add.reduceat(prices * sizes, starts)
    if (quotes * partials[COUNT]).max() < _FLOATS_TELL:
        _sum_into(partials, QUOTE_VOLUME, prices * quantities, quotes, starts)
    else:
        exact = np.add.reduceat(prices.astype(object) * quantities.astype(object), starts)
        partials[QUOTE_VOLUME_HIGH] = high = (exact + 2**63) >> 64
        partials[QUOTE_VOLUME] = exact - (high << 64)
    return partials


def _order_trades(keys: Ints, times_ms: Ints, ids: Ints, prices: Ints) -> tuple[Ints, Ints]:
    """Order by (key, time, id) and the index in it at which each key starts."""
    # A stable sort of 16-bit keys is a radix sort, ten times faster than one of 64-bit keys; and
    # trades mostly come in order, so that it is all there is to do. The price decides between
    # trades of equal time and id (of two exchanges, say), so that arrival never does.
    narrow = keys.astype(np.uint16) if int(keys.max()) < 2**16 else keys
    order = np.argsort(narrow, kind="stable")
    sorted_keys, sorted_times, sorted_ids = narrow[order], times_ms[order], ids[order]
    same_key = sorted_keys[1:] == sorted_keys[:-1]
    same_time = sorted_times[1:] == sorted_times[:-1]
    follows = (sorted_times[1:] > sorted_times[:-1]) | (same_time & (sorted_ids[1:] > sorted_ids[:-1]))
    if not np.all(follows | ~same_key):
        order = np.lexsort((prices, ids, times_ms, keys))
    return order, np.flatnonzero(np.concatenate(([True], ~same_key)))


def _sum_into(partials: Partials, row: int, low: Ints, sums: npt.NDArray[np.float64], starts: Ints) -> None:
    """Both words of the sums of ``low``, which wrap around; ``sums`` are they in floats."""
    partials[row] = np.add.reduceat(low, starts)
    partials[row + VOLUME_HIGH - VOLUME] = np.rint((sums - partials[row]) / _WORD)


def merge(partials: Partials, interval: Interval) -> Partials:
    """Join partials that fall into the same window of ``interval``; ordered by symbol, open time."""
    if not partials.shape[1]:
        return partials
    windows = partials[OPEN_TIME] - partials[OPEN_TIME] % interval.ms
    symbols = partials[SYMBOL]
    by_open = np.lexsort((partials[OPEN], partials[OPEN_ID], partials[OPEN_AT], windows, symbols))
    by_close = np.lexsort((partials[CLOSE], partials[CLOSE_ID], partials[CLOSE_AT], windows, symbols))
    symbols, windows = symbols[by_open], windows[by_open]
    differs = (symbols[1:] != symbols[:-1]) | (windows[1:] != windows[:-1])
    starts = np.flatnonzero(np.concatenate(([True], differs)))
    ends = np.append(starts[1:], len(windows)) - 1
    ordered = partials[:, by_open]

    merged = np.empty((ROWS, len(starts)), np.int64)
    merged[SYMBOL], merged[OPEN_TIME] = symbols[starts], windows[starts]
    merged[OPEN_AT : OPEN + 1] = ordered[OPEN_AT : OPEN + 1, starts]
    merged[CLOSE_AT : CLOSE + 1] = partials[CLOSE_AT : CLOSE + 1, by_close[ends]]
    merged[HIGH] = np.maximum.reduceat(ordered[HIGH], starts)
    merged[LOW] = np.minimum.reduceat(ordered[LOW], starts)
    merged[COUNT] = np.add.reduceat(ordered[COUNT], starts)
    # The low words by halves, so that nothing wraps around; then the carry into the high words.
    low_words = ordered[_LOW_WORDS]
    upper = np.add.reduceat(low_words >> 32, starts, axis=1)
    lower = np.add.reduceat(low_words & _HALF_WORD, starts, axis=1)
    upper += lower >> 32
    carry = (upper + 2**31) >> 32
    merged[_LOW_WORDS] = ((upper - (carry << 32)) << 32) + (lower & _HALF_WORD)
    merged[_HIGH_WORDS] = np.add.reduceat(ordered[_HIGH_WORDS], starts, axis=1) + carry
    return merged


class Windows:
    """The open windows of all intervals: partials go in, closed windows come out.

    ``open_partials[i]`` holds those of ``INTERVALS[i]``; it is all the state there is.
    """

    def __init__(self, open_partials: Sequence[Partials] | None = None) -> None:
        self.open_partials = list(open_partials or (no_partials() for _ in INTERVALS))

    def add(self, fresh: Sequence[Partials], whole_from_ms: int = 0) -> None:
        """Take in new partials.

        ``fresh[i]`` are those that count from ``INTERVALS[i]`` upwards and were too late for the
        narrower intervals; so each trade goes in once, and rolls up from there. A window that opens
        before ``whole_from_ms`` began before what can be read: it is left out.
        """
        rolled_up = no_partials()
        for i, interval in enumerate(INTERVALS):
            rolled_up = merge(_join(rolled_up, fresh[i]), interval)
            whole = rolled_up[:, rolled_up[OPEN_TIME] >= whole_from_ms] if whole_from_ms else rolled_up
            if whole.shape[1]:
                self.open_partials[i] = merge(_join(self.open_partials[i], whole), interval)

    def close(self, watermark_ms: int) -> list[Partials]:
        """Take out the windows that the watermark has passed; one matrix an interval."""
        closed = []
        for i, interval in enumerate(INTERVALS):
            partials = self.open_partials[i]
            passed = partials[OPEN_TIME] + interval.ms <= watermark_ms
            if passed.any():
                closed.append(partials[:, passed])
                self.open_partials[i] = partials[:, ~passed]
            else:
                closed.append(no_partials())
        return closed


def _join(some: Partials, more: Partials) -> Partials:
    if not some.shape[1]:
        return more
    if not more.shape[1]:
        return some
    return np.concatenate((some, more), axis=1)


def first_interval_on_time(times_ms: Ints, watermarks_ms: Ints) -> Ints:
    """Index in INTERVALS of the narrowest window still open for each trade, shape (n,).

    ``watermarks_ms`` is the watermark at which each trade arrived. len(INTERVALS) means that the
    trade is late for all.
    """
    first = np.zeros(len(times_ms), np.int64)
    for interval in INTERVALS:
        late = times_ms - times_ms % interval.ms + interval.ms <= watermarks_ms
        if not late.any():
            break
        first += late
    return first
