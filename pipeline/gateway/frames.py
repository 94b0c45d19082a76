"""Every frame that the gateway sends, written down once: encoders and their JSON Schemas.

Frames are told apart by ``type``. Candles go into them as the text that the job published, so that
numbers keep their exact digits. ``timestamp`` is our clock in ms since 1970 UTC. JSON Schema 2020-12.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from pipeline import wall_clock
from pipeline.alert import Alert, AlertType, Severity
from pipeline.gateway.wire import Frame
from pipeline.market import INTERVALS
from pipeline.update import Position, Update

MODE: Final = "event_driven_pubsub"


def connection(symbol: str, interval: str) -> Frame:
    """The first frame."""
    return _frame(
        type="connection",
        symbol=symbol,
        message=f"Connected to {symbol} {interval}: candles are pushed as they change.",
        mode=MODE,
        interval=interval,
        timestamp=wall_clock.now_ms(),
    )


def initial_data(update: Update) -> Frame:
    """The newest candle of one symbol, at the start and after a gap."""
    return Frame(
        f'{{"type":"initial_data","symbol":"{update.symbol}","data":{update.payload},"timestamp":{wall_clock.now_ms()}}}'.encode()
    )


def price_update(update: Update, source: str = "redis_pubsub") -> Frame:
    """One revision. ``source`` is ``history`` for what a client missed, and gets after ``?since=``."""
    return Frame(
        f'{{"type":"price_update","symbol":"{update.symbol}","data":{update.payload},'
        f'"source":"{source}","timestamp":{wall_clock.now_ms()}}}'.encode()
    )


def gap(symbol: str, interval: str, since: Position, message: str) -> Frame:
    """Candles after ``since`` may be missing and cannot be sent again. Fresh data follows."""
    return _frame(
        type="gap",
        symbol=symbol,
        interval=interval,
        recovered=False,
        since=f"{since[0]}:{since[1]}",
        message=message,
        timestamp=wall_clock.now_ms(),
    )


def alerts_connection(symbol: str, severity: Severity) -> Frame:
    """The first frame of ``/ws/alerts``."""
    return _frame(
        type="connection",
        symbol=symbol,
        message=f"Connected to alerts of {symbol} from {severity.name}: they are pushed as they fire.",
        mode=MODE,
        severity=severity.name,
        timestamp=wall_clock.now_ms(),
    )


def alerts_initial_data(symbol: str, newest_first: Sequence[Alert]) -> Frame:
    """What has fired already; ``symbol`` may be ALL."""
    data = ",".join(alert.to_json() for alert in newest_first)
    return Frame(
        f'{{"type":"initial_data","symbol":"{symbol}","data":[{data}],"timestamp":{wall_clock.now_ms()}}}'.encode()
    )


def alert(alert: Alert) -> Frame:
    """One alert, when it fires."""
    return Frame(
        f'{{"type":"alert","symbol":"{alert.symbol}","data":{alert.to_json()},"timestamp":{wall_clock.now_ms()}}}'.encode()
    )


def keepalive() -> Frame:
    return _frame(type="keepalive", timestamp=wall_clock.now_ms())


def pong() -> Frame:
    return _frame(type="pong", timestamp=wall_clock.now_ms())


def error(message: str) -> Frame:
    """What was wrong with a client's frame. The connection goes on."""
    return _frame(type="error", message=message, timestamp=wall_clock.now_ms())


def _frame(**fields: Any) -> Frame:
    return Frame(json.dumps(fields, separators=(",", ":")).encode())


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_SYMBOL: Final = {"type": "string", "pattern": "^[A-Z0-9._@-]{1,20}$"}
_INTERVAL: Final = {"enum": [interval.value for interval in INTERVALS]}
_TIME_MS: Final = {"type": "integer", "minimum": 0}
_AMOUNT: Final = {"type": "number", "minimum": 0}

CANDLE_SCHEMA: Final = _object(
    symbol=_SYMBOL,
    interval=_INTERVAL,
    open_time_ms=_TIME_MS,
    close_time_ms=_TIME_MS,
    open=_AMOUNT,
    high=_AMOUNT,
    low=_AMOUNT,
    close=_AMOUNT,
    volume=_AMOUNT,
    quote_volume=_AMOUNT,
    taker_buy_volume=_AMOUNT,
    trade_count={"type": "integer", "minimum": 0},
    is_closed={"type": "boolean"},
    epoch={"type": "integer", "minimum": 0},
    seq={"type": "integer", "minimum": 0},
    published_at_ms=_TIME_MS,
)
FRAME_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "connection": _object(
        type={"const": "connection"},
        symbol=_SYMBOL,
        message={"type": "string"},
        mode={"const": MODE},
        interval=_INTERVAL,
        timestamp=_TIME_MS,
    ),
    "initial_data": _object(
        type={"const": "initial_data"}, symbol=_SYMBOL, data=CANDLE_SCHEMA, timestamp=_TIME_MS
    ),
    "price_update": _object(
        type={"const": "price_update"},
        symbol=_SYMBOL,
        data=CANDLE_SCHEMA,
        source={"enum": ["redis_pubsub", "history"]},
        timestamp=_TIME_MS,
    ),
    "gap": _object(
        type={"const": "gap"},
        symbol=_SYMBOL,
        interval=_INTERVAL,
        recovered={"const": False},
        since={"type": "string", "pattern": "^-?[0-9]+:-?[0-9]+$"},
        message={"type": "string"},
        timestamp=_TIME_MS,
    ),
    "keepalive": _object(type={"const": "keepalive"}, timestamp=_TIME_MS),
    "pong": _object(type={"const": "pong"}, timestamp=_TIME_MS),
    "error": _object(type={"const": "error"}, message={"type": "string"}, timestamp=_TIME_MS),
}
"""By ``type``: what a client may rely on. ``symbol`` of connection and gap may be ``ALL``."""

_SEVERITY: Final = {"enum": [severity.name for severity in Severity]}
ALERT_SCHEMA: Final = _object(
    id={"type": "string", "pattern": "^[A-Za-z0-9._@:-]{1,80}$"},
    symbol=_SYMBOL,
    alert_type={"enum": [alert_type.value for alert_type in AlertType]},
    severity=_SEVERITY,
    price_change_percent={"type": "number"},
    open_price=_AMOUNT,
    close_price=_AMOUNT,
    window_start_ms=_TIME_MS,
    window_end_ms=_TIME_MS,
    triggered_at_ms=_TIME_MS,
    message={"type": "string"},
    provisional={"type": "boolean"},
)
ALERT_FRAME_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "connection": _object(
        type={"const": "connection"},
        symbol=_SYMBOL,
        message={"type": "string"},
        mode={"const": MODE},
        severity=_SEVERITY,
        timestamp=_TIME_MS,
    ),
    "initial_data": _object(
        type={"const": "initial_data"},
        symbol=_SYMBOL,
        data={"type": "array", "items": ALERT_SCHEMA, "maxItems": 50},
        timestamp=_TIME_MS,
    ),
    "alert": _object(type={"const": "alert"}, symbol=_SYMBOL, data=ALERT_SCHEMA, timestamp=_TIME_MS),
    **{kind: FRAME_SCHEMAS[kind] for kind in ("keepalive", "pong", "error")},
}
"""The same for ``/ws/alerts``. ``symbol`` of connection and initial_data may be ``ALL``."""

CLIENT_FRAME_SCHEMA: Final = {
    "type": "object",
    "properties": {"type": {"const": "ping"}},
    "required": ["type"],
}
"""The only frame a client may send; further fields are ignored."""

STATS_SCHEMA: Final = _object(
    total_connections={"type": "integer", "minimum": 0},
    connections_by_symbol={"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
    pubsub_active={"type": "boolean"},
    mode={"const": MODE},
)
CANDLES_SCHEMA: Final = _object(
    symbol=_SYMBOL,
    interval=_INTERVAL,
    candles={"type": "array", "items": CANDLE_SCHEMA},
    forming={"anyOf": [CANDLE_SCHEMA, {"type": "null"}]},
)
SYMBOLS_SCHEMA: Final = _object(symbols={"type": "array", "items": _SYMBOL})
ALERTS_SCHEMA: Final = _object(alerts={"type": "array", "items": ALERT_SCHEMA})
OUT_OF_RANGE_SCHEMA: Final = _object(
    error={"type": "string"},
    parameter={"type": "string"},
    value={"type": "string"},
    allowed={"type": "string"},
)
"""Body of HTTP 422."""
