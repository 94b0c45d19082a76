"""What an alert is, and its JSON."""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from pipeline.errors import InvalidAlert
from pipeline.market import LATEST_MS, is_symbol, json_number

_ID: Final = re.compile(r"[A-Za-z0-9._@:-]{1,80}")
_LONGEST_MESSAGE: Final = 300
_LONGEST_BYTES: Final = 4_000


class AlertType(enum.Enum):
    """What an alert is about; ``docs/alerts.md`` has the rules."""

    PRICE_SPIKE = "PRICE_SPIKE"
    PRICE_DROP = "PRICE_DROP"
    VOLUME_SURGE = "VOLUME_SURGE"
    BREAKOUT = "BREAKOUT"
    VOLATILITY = "VOLATILITY"
    STALE = "STALE"


class Severity(enum.IntEnum):
    """They compare by their weight; in JSON stands the name."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


@dataclass(frozen=True, slots=True)
class Alert:
    """Something happened in one window of one symbol.

    ``id`` is the same however often the same trades are folded. ``open_price`` and ``close_price``
    are those of the window's candle, ``price_change_percent`` what lies between them, cut off (never
    rounded up) after four decimals. ``triggered_at_ms`` is event time: the end of the window, or,
    while ``provisional``, the newest trade of the candle that was still forming.
    """

    id: str
    symbol: str
    alert_type: AlertType
    severity: Severity
    price_change_percent: Decimal
    open_price: Decimal
    close_price: Decimal
    window_start_ms: int
    window_end_ms: int
    triggered_at_ms: int
    message: str
    provisional: bool = False

    def __post_init__(self) -> None:
        times = (self.window_start_ms, self.window_end_ms, self.triggered_at_ms)
        numbers = (self.price_change_percent, self.open_price, self.close_price)
        is_sound = (
            isinstance(self.id, str)
            and _ID.fullmatch(self.id)
            and is_symbol(self.symbol)
            and all(type(time_ms) is int and 0 <= time_ms <= LATEST_MS for time_ms in times)
            and self.window_start_ms <= self.window_end_ms
            and all(number.is_finite() and abs(number.adjusted()) < 40 for number in numbers)
            and isinstance(self.message, str)
            and len(self.message) <= _LONGEST_MESSAGE
            and type(self.provisional) is bool
        )
        if not is_sound:
            raise InvalidAlert(f"not an alert (a field has the wrong type or value): {self!r:.400}")

    def to_json(self) -> str:
        """The contract's JSON: numbers carry the exact decimal digits."""
        return (
            f'{{"id":"{self.id}","symbol":"{self.symbol}","alert_type":"{self.alert_type.value}",'
            f'"severity":"{self.severity.name}","price_change_percent":{self.price_change_percent:f},'
            f'"open_price":{self.open_price:f},"close_price":{self.close_price:f},'
            f'"window_start_ms":{self.window_start_ms},"window_end_ms":{self.window_end_ms},'
            f'"triggered_at_ms":{self.triggered_at_ms},"message":{json.dumps(self.message)},'
            f'"provisional":{"true" if self.provisional else "false"}}}'
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Alert:
        """Read the contract's JSON; InvalidAlert if it is not one."""
        if len(text) > _LONGEST_BYTES:
            raise InvalidAlert(f"not an alert (longer than {_LONGEST_BYTES} bytes): {text!r:.200}")
        try:
            fields: dict[str, Any] = json.loads(text, parse_float=Decimal)
            return cls(
                id=fields["id"],
                symbol=fields["symbol"],
                alert_type=AlertType(fields["alert_type"]),
                severity=Severity[fields["severity"]],
                price_change_percent=json_number(fields["price_change_percent"]),
                open_price=json_number(fields["open_price"]),
                close_price=json_number(fields["close_price"]),
                window_start_ms=fields["window_start_ms"],
                window_end_ms=fields["window_end_ms"],
                triggered_at_ms=fields["triggered_at_ms"],
                message=fields["message"],
                provisional=fields["provisional"],
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InvalidAlert(f"not an alert ({error!r:.200}): {text!r:.200}") from None
