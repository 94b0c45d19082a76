"""What the feed knows of its own completeness: gaps in what it saw, and how it compares.

Both are JSON in Redis, written by the feed and read by pages; see ``keys.GAPS`` and
``keys.AGREEMENT``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pipeline.errors import InvalidEntry, InvalidTrade
from pipeline.market import check_symbol

GAPS_KEPT: Final = 1_000
"""Newest gaps that Redis keeps; older ones lie before the history that pages show."""


class Gap(NamedTuple):
    """Trades of ``symbol`` between the two event times (both inclusive, in ms) may be missing.

    Candles whose window overlaps it may be incomplete. ``recorded_at_ms`` is our clock.
    """

    symbol: str
    from_ms: int
    to_ms: int
    reason: str
    recorded_at_ms: int

    def overlaps(self, open_time_ms: int, width_ms: int) -> bool:
        """Whether it touches the window that opens at ``open_time_ms``."""
        return self.from_ms < open_time_ms + width_ms and self.to_ms >= open_time_ms

    def to_json(self) -> str:
        return json.dumps(self._asdict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Gap:
        """Read :meth:`to_json`'s text; InvalidEntry if it is not one."""
        fields = _fields(text)
        try:
            gap = cls(
                check_symbol(fields["symbol"]),
                int(fields["from_ms"]),
                int(fields["to_ms"]),
                str(fields["reason"]),
                int(fields["recorded_at_ms"]),
            )
        except (KeyError, TypeError, ValueError, InvalidTrade) as error:
            raise InvalidEntry(f"not a gap ({error!r}): {text!r:.200}") from None
        return gap


class Agreement(NamedTuple):
    """How our closed candles compare with the exchange's own over the last day.

    ``differing`` are open times in ms of the newest windows that are not equal, newest first.
    Windows that a gap touches are not compared: they are known to be incomplete.
    """

    interval: str
    compared: int
    equal: int
    differing: Sequence[int]
    updated_at_ms: int

    def to_json(self) -> str:
        return json.dumps(self._asdict() | {"differing": list(self.differing)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Agreement:
        """Read :meth:`to_json`'s text; InvalidEntry if it is not one."""
        fields = _fields(text)
        try:
            return cls(
                str(fields["interval"]),
                int(fields["compared"]),
                int(fields["equal"]),
                [int(time_ms) for time_ms in fields["differing"]],
                int(fields["updated_at_ms"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidEntry(f"not an agreement ({error!r}): {text!r:.200}") from None


def _fields(text: str | bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError:
        raise InvalidEntry(f"not JSON: {text!r:.200}") from None
    if not isinstance(fields, dict):
        raise InvalidEntry(f"not a JSON object: {text!r:.200}")
    return fields
