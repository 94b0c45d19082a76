"""Seeded trades for the benchmarks of the job: 50 symbols, prices that wander, sizes of all scales."""

from __future__ import annotations

import numpy as np

from pipeline.entry import RECORD, Records
from pipeline.market import PRICE_DECIMALS

SYMBOLS = [f"S{number:02d}" for number in range(50)]
START_MS = 1_700_000_000_000 - 1_700_000_000_000 % 3_600_000


def trades(count: int, per_second: int, seed: int = 1, symbols: int = len(SYMBOLS)) -> Records:
    """``count`` records over so many symbols in event-time order, ``per_second`` of them a second."""
    random = np.random.default_rng(seed)
    records = np.zeros(count, RECORD)
    records["event_time_ms"] = START_MS + np.arange(count) * 1000 // per_second
    records["trade_id"] = np.arange(count)
    records["symbol"] = random.integers(0, symbols, count)
    cents = 3_000_000 + np.cumsum(random.integers(-2, 3, count))
    records["price"] = cents * 10 ** (PRICE_DECIMALS - 2)
    records["quantity"] = np.exp(random.normal(14, 2, count)).astype(np.int64) + 1
    records["side"] = random.integers(0, 2, count)
    return records
