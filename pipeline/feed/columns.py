"""Many lines of a trade file at once, by Arrow: exact, and a hundred times the speed of ``rows``.

Arrow reads prices and quantities as 128-bit decimals, so no digit passes through a float. What it
cannot read, or reads as something impossible, is handed line by line to ``rows``, which decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipeline.entry import RECORD, Records, impossible
from pipeline.errors import InvalidTrade
from pipeline.feed.lines import MAX_LINE_BYTES
from pipeline.feed.rows import NUMBERS, SIDES, Header, Row, read_row
from pipeline.feed.seen import LOWEST
from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS, check_symbol

_BY_ROWS: Final = 64
"""A part of so few lines is not worth another try by Arrow."""
_NO_SIDE: Final = 2
_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
_DECIMALS: Final = {"trade_id": 0, "event_time_ms": 0, "price": PRICE_DECIMALS, "quantity": QUANTITY_DECIMALS}
_PLAIN_ID: Final = r"^-?[0-9]{1,18}$"
_ODD_ID: Final = r"^[ \t]*[+-]?[0-9.]+([eE][+-]?[0-9]+)?[ \t]*$"

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class BadLine(NamedTuple):
    """A line that is no trade: its place in the block (0 is the first), why, and its bytes."""

    place: int
    reason: str
    line: bytes


class Lines(NamedTuple):
    """The trades of a block in the order of its lines, and its bad lines.

    ``records`` have their symbol as an index into the reader's symbols; ``places`` are their
    lines (0 is the block's first), ``markets`` indices into the reader's markets, and ``numbered``
    says whose trade id is the exchange's own number (the others' is 0).
    """

    records: Records
    places: Places
    markets: Places
    numbered: Mask
    bad: list[BadLine]


class ColumnReader:
    """Reads blocks of one file. ``latest_ms``: a trade at this time or later has not happened yet."""

    def __init__(self, header: Header, latest_ms: int) -> None:
        self.header = header
        self.symbols: list[str] = []
        self.markets: list[tuple[str, str]] = []
        """(exchange, symbol): what a trade id is unique in."""
        self._latest_ms = latest_ms
        self._symbol_codes: dict[str, int] = {}
        self._market_codes: dict[tuple[str, str], int] = {}
        self._ids_are_text = False
        self._names = [str(place) for place in range(header.width)]
        self._texts = {"symbol", "side", "exchange"} & set(header.columns) | {name for name, _ in header.where}
        self._arrow_can = not any(name in NUMBERS for name, _ in header.where)

    def read(self, data: bytes) -> Lines:
        """Everything in ``data``, which is whole lines, each ending in a newline."""
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        return _joined(self._read(data, ends))

    def _read(self, data: bytes, ends: Places) -> list[Lines]:
        """``data`` by Arrow, or halved until Arrow can, or the part is small enough for rows."""
        if not self._arrow_can or len(ends) <= _BY_ROWS:
            return [self._by_rows(data, ends, range(len(ends)))]
        table = self._table(data, ends)
        if table is not None:
            return self._by_columns(data, ends, table)
        half = len(ends) // 2
        cut = int(ends[half - 1]) + 1
        first = self._read(data[:cut], ends[:half])
        second = self._read(data[cut:], ends[half:] - cut)
        return first + [_moved(lines, half) for lines in second]

    def _table(self, data: bytes, ends: Places) -> pa.Table | None:
        """The columns by Arrow; None if it stumbles, or does not see a row in every line."""
        if np.diff(ends, prepend=-1).max() > MAX_LINE_BYTES:
            return None
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
            return None  # to Arrow, a lone carriage return ends a line
        try:
            if not data.isascii():
                data.decode()
            table = self._parse(data)
        except UnicodeDecodeError:
            return None
        except pa.ArrowInvalid as error:
            place = self.header.columns.get("trade_id")
            if self._ids_are_text or f"column #{place}:" not in str(error):
                return None
            self._ids_are_text = True  # from now on in this file: the error costs a whole try
            return self._table(data, ends)
        return table if len(table) == len(ends) else None

    def _parse(self, data: bytes) -> pa.Table:
        columns = self.header.columns
        types = {str(columns[name]): _TEXT for name in self._texts}
        for name, decimals in _DECIMALS.items():
            if name in columns:
                types[str(columns[name])] = pa.decimal128(38, decimals)
        if self._ids_are_text and "trade_id" in columns:
            types[str(columns["trade_id"])] = pa.string()
        return csv.read_csv(
            pa.py_buffer(data),
            read_options=csv.ReadOptions(column_names=self._names, use_threads=False, block_size=len(data) + 1),
            convert_options=csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=[]),
        )

    def _by_columns(self, data: bytes, ends: Places, table: pa.Table) -> list[Lines]:
        wanted = np.ones(len(table), np.bool_)
        for column, text in self.header.where:
            wanted &= self._look_up(table, column, text.__eq__, np.bool_)
        records = np.zeros(len(table), RECORD)
        good = wanted.copy()
        for name in NUMBERS[1:]:
            records[name], fits = _integers(self._column(table, name))
            good &= fits
        records["symbol"] = symbols = self._look_up(table, "symbol", self._symbol_code, np.int64)
        records["side"] = self._look_up(
            table, "side", lambda text: SIDES.get(text.lower(), _NO_SIDE), np.uint32
        )
        # Whatever is not good here is read again, by rows, which says why.
        good &= (symbols >= 0) & ~impossible(records, self._latest_ms)
        records["trade_id"], numbered, odd = self._ids(table)
        good &= ~odd
        places = np.flatnonzero(good)
        doubtful = np.flatnonzero(wanted & ~good)
        lines = Lines(records[places], places, self._markets_of(table, symbols, places), numbered[places], [])
        return [lines, self._by_rows(data, ends, doubtful.tolist())] if len(doubtful) else [lines]

    def _column(self, table: pa.Table, name: str) -> Any:
        return table[str(self.header.columns[name])].combine_chunks()

    def _look_up(self, table: pa.Table, name: str, value: Callable[[str], Any], dtype: Any) -> npt.NDArray[Any]:
        """``value`` of each text in a column, asked once for each different text."""
        column = self._column(table, name)
        values = np.array([value(text) for text in column.dictionary.to_pylist()], dtype)
        found: npt.NDArray[Any] = values[column.indices.to_numpy()]
        return found

    def _ids(self, table: pa.Table) -> tuple[Places, Mask, Mask]:
        """Trade ids (0 where not a number), which are numbers, and which only ``rows`` can tell."""
        none = np.zeros(len(table), np.bool_)
        if "trade_id" not in self.header.columns:
            return np.zeros(len(table), np.int64), none, none
        column = self._column(table, "trade_id")
        if not self._ids_are_text:
            ids, fits = _integers(column)
            return ids, fits, ~fits | (ids == LOWEST)
        plain = pc.match_substring_regex(column, _PLAIN_ID)
        odd = pc.and_not(pc.match_substring_regex(column, _ODD_ID), plain)
        ids = pc.if_else(plain, column, "0").cast(pa.int64())
        return tuple(array.to_numpy(zero_copy_only=False) for array in (ids, plain, odd))

    def _markets_of(self, table: pa.Table, symbols: Places, places: Places) -> Places:
        """The market codes of the rows at ``places``."""
        names, exchanges = [""], np.zeros(len(table), np.int64)
        if "exchange" in self.header.columns:
            column = self._column(table, "exchange")
            names, exchanges = column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int64)
        width = len(self.symbols)
        pairs, back = np.unique(exchanges[places] * width + symbols[places], return_inverse=True)
        codes = [self._market_code(names[pair // width], self.symbols[pair % width]) for pair in pairs.tolist()]
        return np.array(codes, np.int64)[back]

    def _by_rows(self, data: bytes, ends: Places, places: Any) -> Lines:
        rows: list[Row] = []
        kept: list[int] = []
        bad: list[BadLine] = []
        for place in places:
            line = data[int(ends[place - 1]) + 1 if place else 0 : int(ends[place])]
            try:
                row = read_row(line, self.header, self._latest_ms)
            except InvalidTrade as error:
                bad.append(BadLine(place, error.reason, line))
                continue
            if row is not None:
                rows.append(row)
                kept.append(place)
        records = [
            (
                row.event_time_ms,
                row.trade_id or 0,
                row.price,
                row.quantity,
                self._symbol_code(row.symbol),
                row.side,
            )
            for row in rows
        ]
        return Lines(
            np.array(records, RECORD),
            np.array(kept, np.int64),
            np.array([self._market_code(row.exchange, row.symbol) for row in rows], np.int64),
            np.array([row.trade_id is not None for row in rows], np.bool_),
            bad,
        )

    def _symbol_code(self, symbol: str) -> int:
        """The symbol's index; -1 for what is no symbol."""
        code = self._symbol_codes.get(symbol)
        if code is not None:
            return code
        try:
            check_symbol(symbol)
        except InvalidTrade:
            return -1
        self.symbols.append(symbol)
        return self._symbol_codes.setdefault(symbol, len(self.symbols) - 1)

    def _market_code(self, exchange: str, symbol: str) -> int:
        market = exchange, symbol
        if market not in self._market_codes:
            self._market_codes[market] = len(self.markets)
            self.markets.append(market)
        return self._market_codes[market]


def _integers(column: Any) -> tuple[Places, Mask]:
    """A decimal128 column's scaled values as int64, and which of them fit."""
    words = np.frombuffer(column.buffers()[1], np.int64)[2 * column.offset : 2 * (column.offset + len(column))]
    low, high = words[0::2], words[1::2]
    return low, high == low >> 63


def _moved(lines: Lines, by: int) -> Lines:
    bad = [bad._replace(place=bad.place + by) for bad in lines.bad]
    return lines._replace(places=lines.places + by, bad=bad)


def _joined(parts: list[Lines]) -> Lines:
    if len(parts) == 1:
        return parts[0]
    places = np.concatenate([part.places for part in parts])
    order = np.argsort(places, kind="stable")
    return Lines(
        np.concatenate([part.records for part in parts])[order],
        places[order],
        np.concatenate([part.markets for part in parts])[order],
        np.concatenate([part.numbered for part in parts])[order],
        sorted(bad for part in parts for bad in part.bad),
    )
