"""All closed candles as CSV, straight from the histories in Redis."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import redis

from pipeline import keys
from pipeline.candle import CSV_HEADER, Candle
from pipeline.errors import InputFileError
from pipeline.market import INTERVALS

_PAGE: Final = 5_000
"""Candles read at once: 2 MB, so that the size of the history does not matter."""


def write_csv(client: redis.Redis, path: Path) -> int:
    """Write candle.CSV_HEADER and every closed candle by symbol, interval, open time; how many.

    The file appears whole or not at all. InputFileError if it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("w", newline="", encoding="ascii") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(CSV_HEADER)
            count = 0
            for candle in closed_candles(client):
                writer.writerow(candle.csv_row())
                count += 1
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputFileError(f"{path}: cannot be written: {error.strerror}") from None
    return count


def closed_candles(client: redis.Redis) -> Iterator[Candle]:
    """Every closed candle there is, by symbol, then interval, then open time."""
    symbols: Any = client.smembers(keys.SYMBOLS)
    for symbol in sorted(symbol.decode() for symbol in symbols):
        for interval in INTERVALS:
            key = keys.history(symbol, interval.value)
            size: Any = client.zcard(key)
            for start in range(0, size, _PAGE):
                members: Any = client.zrange(key, start, start + _PAGE - 1)
                yield from map(Candle.from_json, members)


def count(client: redis.Redis) -> int:
    """How many closed candles there are."""
    symbols: Any = client.smembers(keys.SYMBOLS)
    sizes: list[Any] = [
        client.zcard(keys.history(symbol.decode(), interval.value))
        for symbol in symbols
        for interval in INTERVALS
    ]
    return sum(sizes)
