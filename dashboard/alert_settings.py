"""What a person has set about alerts in a session: muted toasts, notifications, price lines. Pure.

The browser changes them at once and sends them here, the whole of them each time, with a version
that grows; so an answer that is overtaken does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast

from pipeline.errors import CandlecastError, InvalidTrade
from pipeline.market import check_symbol

Side = Literal["above", "below"]

MOST_LINES: Final = 20
_LONGEST_ID: Final = 40


class InvalidAlertSettings(CandlecastError):
    """The browser sent settings that cannot be."""


@dataclass(frozen=True, slots=True)
class PriceLine:
    """Tell me when ``symbol`` is above, or below, ``price``. The price is one the browser compares: a float."""

    id: str
    symbol: str
    side: Side
    price: float


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """A session's settings; ``version`` counts the changes."""

    version: int = 0
    muted: bool = False
    notify: bool = False
    lines: tuple[PriceLine, ...] = ()

    def for_browser(self) -> dict[str, Any]:
        """The settings as the component's data."""
        return {**asdict(self), "lines": [asdict(line) for line in self.lines]}

    @classmethod
    def from_browser(cls, sent: object) -> AlertSettings:
        """What the component sent; InvalidAlertSettings, naming the value, if that cannot be."""
        fields = _mapping(sent)
        version, lines = fields.get("version"), fields.get("lines")
        if type(version) is not int or version < 0:
            raise InvalidAlertSettings(f"alert settings: version={version!r:.60} is no count")
        if not isinstance(lines, list) or len(lines) > MOST_LINES:
            raise InvalidAlertSettings(
                f"alert settings: lines={lines!r:.60} are not 0 to {MOST_LINES} price lines"
            )
        return cls(
            version,
            muted=fields.get("muted") is True,
            notify=fields.get("notify") is True,
            lines=tuple(map(_line, lines)),
        )


def _line(sent: object) -> PriceLine:
    fields = _mapping(sent)
    name, side = fields.get("id"), fields.get("side")
    price: Any = fields.get("price")
    if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_ID:
        raise InvalidAlertSettings(f"price line: id={name!r:.60} is not 1 to {_LONGEST_ID} characters")
    if side not in {"above", "below"}:
        raise InvalidAlertSettings(f"price line: side={side!r:.60} is neither above nor below")
    if type(price) not in {int, float} or not math.isfinite(price) or price <= 0:
        raise InvalidAlertSettings(f"price line: price={price!r:.60} is no price")
    try:
        return PriceLine(name, check_symbol(fields.get("symbol", "")), cast("Side", side), float(price))
    except InvalidTrade as error:
        raise InvalidAlertSettings(f"price line: {error}") from None


def _mapping(sent: object) -> Mapping[str, Any]:
    if not isinstance(sent, Mapping):
        raise InvalidAlertSettings(f"alert settings: {sent!r:.60} has no fields")
    return sent
