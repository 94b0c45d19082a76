"""One line of a trade file, read by itself: the rule that the fast way must agree with.

Slow and exact. The fast way (``columns``) hands over every line that it is not sure of, and this
says what it is: a trade, none of ours, or rejected with a reason.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from pipeline.entry import IN_FUTURE
from pipeline.errors import InputFileError, InvalidTrade
from pipeline.feed.lines import MAX_LINE_BYTES, TOO_LONG
from pipeline.feed.seen import LOWEST
from pipeline.market import (
    NOTIONAL_FAULT,
    PRICE_DECIMALS,
    QUANTITY_DECIMALS,
    Side,
    check_symbol,
    is_notional_too_large,
    scale,
    time_fault,
)

SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL}
NUMBERS: Final = ("trade_id", "event_time_ms", "price", "quantity")
_NEEDED: Final = ("symbol", "event_time_ms", "price", "quantity", "side")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[+-]?(s?nan|inf|infinity)", re.IGNORECASE)


class Header(NamedTuple):
    """Where each column is, and which rows are wanted: those with these texts in these columns."""

    columns: dict[str, int]
    width: int
    where: tuple[tuple[str, str], ...]


class Row(NamedTuple):
    """A trade as the file tells it. ``trade_id`` is None where it is not a number."""

    exchange: str
    symbol: str
    trade_id: int | None
    event_time_ms: int
    price: int
    quantity: int
    side: int


def read_header(line: str, where: Sequence[tuple[str, str]], path: object) -> Header:
    """The header's columns; InputFileError names those that are missing."""
    names = [name.strip() for name in next(csv.reader([line]))]
    missing = [name for name in (*_NEEDED, *(column for column, _ in where)) if name not in names]
    if missing:
        raise InputFileError(f"{path}: no column {', '.join(dict.fromkeys(missing))} in {','.join(names):.200}")
    return Header({name: names.index(name) for name in names}, len(names), tuple(where))


def read_row(line: bytes, header: Header, latest_ms: int) -> Row | None:
    """The trade in ``line``; None if it is blank or not wanted; InvalidTrade if it is none.

    ``latest_ms``: a trade at this time or later cannot have happened yet.
    """
    if len(line) > MAX_LINE_BYTES:
        raise InvalidTrade(TOO_LONG)
    fields = _split(line)
    if not fields:
        return None
    if len(fields) != header.width:
        raise InvalidTrade(f"not {header.width} columns", len(fields))
    value = {name: fields[place] for name, place in header.columns.items()}
    if any(value[column] != text for column, text in header.where):
        return None
    row = Row(
        exchange=value.get("exchange", ""),
        symbol=check_symbol(value["symbol"]),
        trade_id=_trade_id(value.get("trade_id", "")),
        event_time_ms=_time(value["event_time_ms"], latest_ms),
        price=_units(value["price"], PRICE_DECIMALS, "price"),
        quantity=_units(value["quantity"], QUANTITY_DECIMALS, "quantity"),
        side=_side(value["side"]),
    )
    if is_notional_too_large(row.price, row.quantity):
        raise InvalidTrade(NOTIONAL_FAULT, f"{value['price']} * {value['quantity']}")
    return row


def _split(line: bytes) -> list[str]:
    """The fields of a line, none where it is blank."""
    try:
        text = line.decode().removesuffix("\r")
        return next(csv.reader([text])) if text else []
    except UnicodeDecodeError:
        raise InvalidTrade("line is not UTF-8") from None
    except csv.Error:
        raise InvalidTrade("line holds a carriage return") from None


def _units(text: str, decimals: int, what: str) -> int:
    number = text.strip(" \t")
    if not _NUMBER.fullmatch(number):
        kind = "not a finite number" if _NOT_FINITE.fullmatch(number) else "not a number"
        raise InvalidTrade(f"{what}: {kind}", text)
    try:
        return scale(number, decimals)
    except InvalidTrade as error:
        raise InvalidTrade(f"{what}: {error.reason}", text) from None


def _time(text: str, latest_ms: int) -> int:
    time_ms = _units(text, 0, "event time")
    if fault := time_fault(time_ms):
        raise InvalidTrade(fault, text)
    if time_ms >= latest_ms:
        raise InvalidTrade(IN_FUTURE, text)
    return time_ms


def _trade_id(text: str) -> int | None:
    number = text.strip(" \t")
    if not _NUMBER.fullmatch(number):
        return None
    trade_id = Decimal(number)
    return int(trade_id) if LOWEST < trade_id < 2**63 and trade_id == int(trade_id) else None


def _side(text: str) -> Side:
    try:
        return SIDES[text.lower()]
    except KeyError:
        raise InvalidTrade("side is neither buy nor sell", text) from None
