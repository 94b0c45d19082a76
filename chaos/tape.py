"""The trades of a chaos run: a seeded file, known beforehand, with the traps that real ones have.

Each price carries the trade's number in its last digits, so that any candle tells by its close how
new the newest trade in it is. Trades come up to 0.9 s out of order, one in a hundred comes twice, and
several share a millisecond. The file begins a minute and a half before a full hour, so that windows
of all intervals close while processes are being killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

SYMBOLS: Final = ("BTC", "ETH", "SOL")
START_MS: Final = 1_704_070_710_000
"""2024-01-01 00:58:30 UTC."""
DISORDER_MS: Final = 900
"""Below the job's OUT_OF_ORDER_MS: none of these trades may be taken for late."""
_TWICE: Final = 0.01
_NUMBERS: Final = 10**8
"""Trades a tape may have: as many as fit behind the cents of a price of ten decimals."""


@dataclass(frozen=True)
class Tape:
    """A trade file and its rows, in the order of its lines; ``price`` and ``quantity`` in 1e-10 and 1e-8."""

    path: Path
    rows: pd.DataFrame

    def until_line(self, line: int) -> pd.DataFrame:
        """The trades of the lines up to ``line`` (the header is line 1), each once."""
        return self.rows.iloc[: line - 1].drop_duplicates("trade_id")


def record(path: Path, seed: int, seconds: int, per_second: int) -> Tape:
    """Write ``seconds`` of a market with ``per_second`` trades each to ``path``."""
    dice = np.random.default_rng(seed)
    count = seconds * per_second
    if count >= _NUMBERS:
        raise ValueError(f"{count} trades: a tape has fewer than {_NUMBERS}")
    times = START_MS + np.sort(dice.integers(0, seconds * 1000, count))
    arrival = np.argsort(
        times + dice.integers(0, DISORDER_MS, count) * (dice.random(count) < 0.2), kind="stable"
    )
    arrival = np.repeat(arrival, 1 + (dice.random(count) < _TWICE))
    cents = 5_000_000 + np.cumsum(dice.integers(-3, 4, count))
    rows = pd.DataFrame(
        {
            "symbol": dice.choice(len(SYMBOLS), count, p=(0.6, 0.3, 0.1)),
            "trade_id": np.arange(1, count + 1),
            "event_time_ms": times,
            "price": cents * _NUMBERS + np.arange(1, count + 1),
            "quantity": np.exp(dice.normal(15, 2.5, count)).astype(np.int64) + 1,
            "is_buy": dice.random(count) < 0.5,
        }
    ).iloc[arrival]
    rows["symbol"] = np.array(SYMBOLS, object)[rows["symbol"]]
    _write(path, rows)
    return Tape(path, rows.reset_index(drop=True))


def number_of(price: str) -> int:
    """The number that a tape's price carries; ``price`` is decimal text, as in a candle."""
    return int(Decimal(price).scaleb(10)) % _NUMBERS


def _write(path: Path, rows: pd.DataFrame) -> None:
    with path.open("w") as file:
        file.write("exchange,symbol,trade_id,event_time_ms,price,quantity,side\n")
        for symbol, trade_id, time_ms, price, quantity, is_buy in rows.itertuples(index=False):
            file.write(
                f"chaos,{symbol},{trade_id},{time_ms},{price // 10**10}.{price % 10**10:010d},"
                f"{quantity // 10**8}.{quantity % 10**8:08d},{'buy' if is_buy else 'sell'}\n"
            )
