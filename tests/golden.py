"""The fold once more, slow and plainly exact: what the fast one is held against."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline import fold
from pipeline.candle import Candle
from pipeline.market import INTERVALS, PRICE_DECIMALS, QUANTITY_DECIMALS, QUOTE_DECIMALS, Interval, scale


class Deal(NamedTuple):
    """A trade in the fold's units."""

    symbol: int
    time_ms: int
    id: int
    price: int
    quantity: int
    is_buy: bool


class Sums(NamedTuple):
    """What a candle says, in whole units."""

    open: int
    high: int
    low: int
    close: int
    count: int
    volume: int
    quote_volume: int
    taker_buy_volume: int


Folded = dict[tuple[int, int], Sums]
"""(symbol, open time) -> sums."""


def golden(deals: Iterable[Deal], interval: Interval = INTERVALS[0]) -> Folded:
    groups: dict[tuple[int, int], list[Deal]] = {}
    for deal in deals:
        groups.setdefault((deal.symbol, deal.time_ms // interval.ms * interval.ms), []).append(deal)
    return {key: _sums(groups[key]) for key in sorted(groups)}


def _sums(group: list[Deal]) -> Sums:
    ordered = sorted(group, key=lambda deal: (deal.time_ms, deal.id, deal.price))
    return Sums(
        open=ordered[0].price,
        high=max(deal.price for deal in group),
        low=min(deal.price for deal in group),
        close=ordered[-1].price,
        count=len(group),
        volume=sum(deal.quantity for deal in group),
        quote_volume=sum(deal.price * deal.quantity for deal in group),
        taker_buy_volume=sum(deal.quantity for deal in group if deal.is_buy),
    )


def folded(deals: Sequence[Deal]) -> fold.Partials:
    """``deals`` through the real fold, in their order."""
    columns = list(zip(*deals, strict=True)) or [()] * 6
    *ints, buys = columns
    return fold.fold_trades(*(np.array(column, np.int64) for column in ints), np.array(buys, bool))


def read(partials: fold.Partials) -> Folded:
    """Partials as whole numbers, in their order."""
    return {
        (column[fold.SYMBOL], column[fold.OPEN_TIME]): Sums(
            column[fold.OPEN],
            column[fold.HIGH],
            column[fold.LOW],
            column[fold.CLOSE],
            column[fold.COUNT],
            *(
                column[low] + (column[high] << 64)
                for low, high in (
                    (fold.VOLUME, fold.VOLUME_HIGH),
                    (fold.QUOTE_VOLUME, fold.QUOTE_VOLUME_HIGH),
                    (fold.TAKER_BUY_VOLUME, fold.TAKER_BUY_VOLUME_HIGH),
                )
            ),
        )
        for column in partials.T.tolist()
    }


def golden_candle(symbol: str, interval: Interval, open_time_ms: int, sums: Sums) -> Candle:
    """A closed candle of exact decimals, not yet published."""
    prices = (Decimal(price).scaleb(-PRICE_DECIMALS) for price in sums[:4])
    return Candle(
        symbol,
        interval,
        open_time_ms,
        *prices,
        volume=Decimal(sums.volume).scaleb(-QUANTITY_DECIMALS),
        quote_volume=Decimal(f"{sums.quote_volume}e-{QUOTE_DECIMALS}"),  # scaleb would round to 28 digits
        taker_buy_volume=Decimal(sums.taker_buy_volume).scaleb(-QUANTITY_DECIMALS),
        trade_count=sums.count,
        is_closed=True,
    )


def recorded(path: Path, exchange: str) -> list[Deal]:
    """The recorded trades of ``exchange``, symbols numbered by name."""
    with gzip.open(path, "rt") as lines:
        rows = [row for row in csv.DictReader(lines) if row["exchange"] == exchange]
    names = sorted({row["symbol"] for row in rows})
    return [
        Deal(
            names.index(row["symbol"]),
            int(row["event_time_ms"]),
            int(row["trade_id"]),
            scale(row["price"], PRICE_DECIMALS),
            scale(row["quantity"], QUANTITY_DECIMALS),
            row["side"] == "buy",
        )
        for row in rows
        if row["exec_type"] != "INSURANCE_FUND"
    ]
