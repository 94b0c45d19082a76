"""Who may come in, and what parameters may be. Pure functions; the answers go to strangers."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams

from pipeline.alert import AlertType, Severity
from pipeline.errors import CandlecastError, InvalidTrade
from pipeline.market import INTERVALS, LATEST_MS, Interval, check_symbol
from pipeline.update import Position

SUBPROTOCOL: Final = "candlecast"
"""Offered beside the token by browsers, which cannot set headers: ``["candlecast", TOKEN]``."""

_PORTS: Final = {"http": ":80", "https": ":443"}
_INTERVALS: Final = {interval.value: interval for interval in INTERVALS}


class OutOfRange(CandlecastError):
    """A query parameter cannot be used."""

    def __init__(self, parameter: str, value: str, allowed: str) -> None:
        self.parameter = parameter
        self.value = value[:100]
        self.allowed = allowed
        super().__init__(f"{parameter} must be {allowed}")

    def body(self) -> dict[str, str]:
        return {
            "error": str(self),
            "parameter": self.parameter,
            "value": self.value,
            "allowed": self.allowed,
        }


def origin_allowed(headers: Headers, allowed: Sequence[str]) -> bool:
    """Whether the page that opens a WebSocket is ours. Only browsers send an Origin, and cannot lie."""
    host = headers.get("host", "").lower()
    for origin in headers.getlist("origin"):
        try:
            scheme, netloc = urlsplit(origin.lower())[:2]
        except ValueError:  # e.g. http://[
            return False
        if f"{scheme}://{netloc}" in allowed:
            continue
        port = _PORTS.get(scheme)
        if port is None or not netloc or netloc.removesuffix(port) != host.removesuffix(port):
            return False
    return True


def token_shown(headers: Headers, subprotocols: Sequence[str], token: str | None) -> bool:
    """Whether ``token`` is among what the client shows, compared in constant time."""
    if token is None:
        return True
    shown = [*subprotocols, headers.get("authorization", "").removeprefix("Bearer ")]
    return any(hmac.compare_digest(one.encode("utf-8", "replace"), token.encode()) for one in shown)


def subprotocol_for(offered: Sequence[str]) -> str | None:
    """The subprotocol to agree to: never the token, which does not belong into a response."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def symbol(text: str) -> str | None:
    """``text`` in upper case if it could be a symbol."""
    try:
        return check_symbol(text.upper()) if text.isascii() else None
    except InvalidTrade:
        return None


def interval(query: QueryParams) -> Interval:
    text = query.get("interval", Interval.M1.value)
    if text not in _INTERVALS:
        raise OutOfRange("interval", text, f"one of {' '.join(_INTERVALS)}")
    return _INTERVALS[text]


def since(query: QueryParams) -> Position | None:
    """``?since=<epoch>:<seq>`` of the last revision that a client has; None without it."""
    text = query.get("since")
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", text, re.ASCII)
    if not found:
        raise OutOfRange("since", text, "<epoch>:<seq>, two whole numbers of up to 18 digits")
    return int(found[1]), int(found[2])


def limit(query: QueryParams, highest: int) -> int:
    return _whole(query, "limit", min(500, highest), 1, highest)


def before(query: QueryParams) -> int | None:
    """An open time in ms, exclusive."""
    return _whole(query, "before", 0, 0, LATEST_MS) if "before" in query else None


def severity(query: QueryParams) -> Severity:
    """The least severity that a client wants to hear of."""
    text = query.get("severity", Severity.LOW.name).upper()
    if text not in Severity.__members__:
        raise OutOfRange("severity", text, f"one of {' '.join(Severity.__members__)}")
    return Severity[text]


def alert_type(query: QueryParams) -> AlertType | None:
    """The only type of alert that is asked for; None for all."""
    text = query.get("type")
    if text is None:
        return None
    if text.upper() not in AlertType.__members__:
        raise OutOfRange("type", text, f"one of {' '.join(AlertType.__members__)}")
    return AlertType[text.upper()]


def since_ms(query: QueryParams) -> int:
    """A time in ms, inclusive."""
    return _whole(query, "since", 0, 0, LATEST_MS)


def _whole(query: QueryParams, name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,15}", text, re.ASCII) or not low <= int(text) <= high:
        raise OutOfRange(name, text, f"a whole number from {low} to {high}")
    return int(text)
