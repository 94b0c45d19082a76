"""Alerts for tests of the read side, published as the job does it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import redis

from pipeline import keys
from pipeline.alert import Alert, AlertType, Severity
from tests.candles import MINUTE, T0


def alert(symbol: str = "BTC", minute: int = 0, **fields: Any) -> Alert:
    """A price spike of the minute that many after T0, unless ``fields`` say otherwise."""
    alert_type = fields.pop("alert_type", AlertType.PRICE_SPIKE)
    start_ms = T0 + minute * MINUTE
    provisional = fields.pop("provisional", False)
    told: dict[str, Any] = {
        "severity": Severity.LOW,
        "price_change_percent": Decimal("5.4321"),
        "open_price": Decimal("100.000000000100000001"),
        "close_price": Decimal("105.43210000"),
        "window_start_ms": start_ms,
        "window_end_ms": start_ms + MINUTE,
        "triggered_at_ms": start_ms + MINUTE,
        "message": f"{symbol} rose 5.4321 % within a minute, from 100 to 105.4321",
    }
    suffix = ":provisional" if provisional else ""
    return Alert(
        id=f"{symbol}:{alert_type.value}:{start_ms}{suffix}",
        symbol=symbol,
        alert_type=alert_type,
        provisional=provisional,
        **(told | fields),
    )


def publish_alerts(client: redis.Redis, *alerts: Alert, silently: bool = False) -> None:
    """Write alerts like the job's sink: stream and channel. ``silently``: everything but PUBLISH."""
    with client.pipeline(transaction=True) as transaction:
        for one in alerts:
            transaction.xadd(keys.ALERTS, {"alert": one.to_json()})
            transaction.sadd(keys.SYMBOLS, one.symbol)
            if not silently:
                transaction.publish(keys.ALERTS, one.to_json())
        transaction.execute()
