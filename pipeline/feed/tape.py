"""Trade files as one tape of trades: parsed, numbered, each trade once, every bad line named.

What the tape holds is a function of the files alone. So a replay that was killed reads the tape
again from a saved place before its position, without writing, and then knows all that it knew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.entry import Records
from pipeline.feed.columns import ColumnReader, Lines
from pipeline.feed.lines import Block, LineFile
from pipeline.feed.rows import Header, read_header
from pipeline.feed.seen import SeenIds
from pipeline.feed.stream import NO_TRADES, RECORD_SHOWN, Rejected

_MAX_SAVED_HOLES: Final = 2_000
"""Beyond this the saved place would cost Redis more than reading again costs us."""
_FILE_IDS: Final = 1 << 40
"""Trades without a number of their own get their line's, plus this for each file before theirs."""


class BadLine(NamedTuple):
    """A line of the file that is rejected."""

    line: int
    record: Rejected


class Stretch(NamedTuple):
    """A stretch of one file: its trades in the order of the lines, and its bad lines.

    ``lines`` are the trades' line numbers, ``last_line`` that of the stretch's end, ``end`` the
    offset behind it in the unpacked file (0: the tape cannot go on from there). ``part`` is how
    much of all files, by bytes on the disk, was read up to here (0 to 1).
    """

    file: int
    last_line: int
    end: int
    symbols: Sequence[str]
    trades: Records
    lines: npt.NDArray[np.int64]
    bad: list[BadLine]
    duplicates: int
    part: float


class Tape:
    """The files of a replay, in the order given. InputFileError at once if one cannot be used.

    ``where``: (column, text) pairs that a row must have. ``latest_ms``: trades at this time or
    later have not happened yet, and are rejected.
    """

    def __init__(self, paths: Sequence[Path], where: Sequence[tuple[str, str]], latest_ms: int) -> None:
        self._paths = paths
        self._where = tuple(where)
        self._latest_ms = latest_ms
        self._seen: dict[tuple[str, str], SeenIds] = {}
        self._bytes = 0
        self._start = 0, 0, 0
        for path in paths:
            with LineFile(path) as file:
                self._header(file)
                self._bytes += file.size

    def save(self, stretch: Stretch) -> dict[str, Any] | None:
        """What the tape knows behind ``stretch``, the last one it gave; None if that is too much."""
        if not stretch.end or sum(seen.holes for seen in self._seen.values()) > _MAX_SAVED_HOLES:
            return None
        seen = [[*market, *seen.save()] for market, seen in self._seen.items()]
        return {"start": [stretch.file, stretch.last_line + 1, stretch.end], "seen": seen}

    def load(self, saved: dict[str, Any]) -> None:
        """Begin where :meth:`save` was called."""
        self._start = tuple(saved["start"])
        self._seen = {(exchange, symbol): SeenIds.load(ids) for exchange, symbol, *ids in saved["seen"]}

    def stretches(self) -> Iterator[Stretch]:
        """The whole tape, from its beginning or the loaded place. To be called once."""
        before = 0
        start_file, start_line, start_offset = self._start
        for index, path in enumerate(self._paths):
            with LineFile(path) as file:
                if index < start_file:
                    before += file.size
                    continue
                reader = ColumnReader(self._header(file), self._latest_ms)
                if index == start_file and start_offset:
                    file.skip_to(start_offset, start_line)
                for block in file.blocks():
                    part = (before + file.tell()) / self._bytes
                    if isinstance(block, Block):
                        yield self._stretch(index, reader, block, part)
                        continue
                    bad = self._bad(path, block.line, block.reason, block.head)
                    nothing = np.empty(0, np.int64)
                    yield Stretch(index, block.line, 0, reader.symbols, NO_TRADES, nothing, [bad], 0, part)
                before += file.size

    def _header(self, file: LineFile) -> Header:
        return read_header(file.header(), self._where, file.path)

    def _stretch(self, index: int, reader: ColumnReader, block: Block, part: float) -> Stretch:
        parsed = reader.read(block.data)
        lines = parsed.places + block.line
        unnumbered = ~parsed.numbered
        parsed.records["trade_id"][unnumbered] = lines[unnumbered] + index * _FILE_IDS
        new = self._new(reader, parsed)
        return Stretch(
            file=index,
            last_line=block.last,
            end=block.end,
            symbols=reader.symbols,
            trades=parsed.records[new],
            lines=lines[new],
            bad=[
                self._bad(self._paths[index], block.line + bad.place, bad.reason, bad.line)
                for bad in parsed.bad
            ],
            duplicates=int(len(new) - new.sum()),
            part=part,
        )

    def _new(self, reader: ColumnReader, parsed: Lines) -> npt.NDArray[np.bool_]:
        """Which trades were not on the tape before. Those without a number of their own always."""
        new = np.ones(len(parsed.records), np.bool_)
        numbered = np.flatnonzero(parsed.numbered)
        order = numbered[np.argsort(parsed.markets[numbered], kind="stable")]
        markets, starts = np.unique(parsed.markets[order], return_index=True)
        for market, rows in zip(markets, np.split(order, starts[1:]), strict=False):
            seen = self._seen.setdefault(reader.markets[market], SeenIds())
            new[rows] = seen.add(parsed.records["trade_id"][rows])
        return new

    @staticmethod
    def _bad(path: Path, line: int, reason: str, record: bytes) -> BadLine:
        shown = record[: 4 * RECORD_SHOWN].decode("utf-8", "backslashreplace")
        return BadLine(line, Rejected(reason, f"{path}:{line}", shown[:RECORD_SHOWN]))
