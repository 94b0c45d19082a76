"""A trade as a live feed passes it on: a tuple in the units of a stream record, read exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pipeline.errors import InvalidTrade
from pipeline.feed.rows import SIDES
from pipeline.market import EARLIEST_MS, LATEST_MS, PRICE_DECIMALS, QUANTITY_DECIMALS, scale

_HIGHEST_ID: Final = 2**63 - 1


class Tick(NamedTuple):
    """One trade of one market. ``trade_id`` is -1 where the exchange's id is no number."""

    event_time_ms: int
    trade_id: int
    price: int
    quantity: int
    side: int
    id_text: str

    @property
    def has_number(self) -> bool:
        return self.trade_id >= 0


def read_tick(trade: Mapping[str, Any], flip: bool = False, needs_number: bool = False) -> Tick:
    """The tick in ccxt's trade structure, whose price and amount are still text. InvalidTrade.

    ``flip``: the exchange gives the maker's side. ``needs_number``: an id that is none is an error.
    """
    time_ms = trade.get("timestamp")
    if not isinstance(time_ms, int) or not EARLIEST_MS <= time_ms < LATEST_MS:
        raise InvalidTrade("event time is not in milliseconds of 2009 to 2099", time_ms)
    side = SIDES.get(str(trade.get("side")).lower())
    if side is None:
        raise InvalidTrade("side is neither buy nor sell", trade.get("side"))
    id_text = str(trade.get("id") or "")
    number = int(id_text) if id_text.isascii() and id_text.isdigit() and len(id_text) < 20 else -1
    number = number if number <= _HIGHEST_ID else -1
    if needs_number and number < 0:
        raise InvalidTrade("trade id is not a number", id_text)
    return Tick(
        time_ms,
        number,
        _units(trade.get("price"), PRICE_DECIMALS, "price"),
        _units(trade.get("amount"), QUANTITY_DECIMALS, "quantity"),
        1 - side if flip else int(side),
        id_text,
    )


def _units(text: object, decimals: int, what: str) -> int:
    if not isinstance(text, str):  # a float has lost its digits, a number was never given
        raise InvalidTrade(f"{what}: not a number", text)
    whole, _, fraction = text.partition(".")
    if (
        len(fraction) <= decimals
        and whole.isdigit()
        and (fraction.isdigit() or not fraction)
        and whole.isascii()
    ):
        units = int(whole + fraction.ljust(decimals, "0"))  # what scale() does, at a third of its cost
        if 0 < units < 2**63:
            return units
    try:
        return scale(text, decimals)
    except InvalidTrade as error:
        raise InvalidTrade(f"{what}: {error.reason}", text) from None
