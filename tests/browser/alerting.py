"""Alerts written to Redis exactly as the job writes them: into the stream, and on the channel."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import redis

from pipeline import keys
from pipeline.market import Alert, AlertType, Interval, Severity
from tests.browser.market import now_ms

MINUTE_MS = Interval.M1.ms


def alert(
    symbol: str = "BTC",
    alert_type: AlertType = AlertType.PRICE_SPIKE,
    severity: Severity = Severity.MEDIUM,
    percent: str = "7.25",
    minutes_ago: int = 1,
    *,
    provisional: bool = False,
) -> Alert:
    """An alert on the minute that opened ``minutes_ago`` (1: the newest closed one; 0: the open one)."""
    start_ms = Interval.M1.open_time(now_ms()) - minutes_ago * MINUTE_MS
    opened = Decimal("64000.50")
    name = f"{symbol}:{alert_type.value}:{start_ms}"
    return Alert(
        id=f"{name}:provisional" if provisional else name,
        symbol=symbol,
        alert_type=alert_type,
        severity=severity,
        price_change_percent=Decimal(percent),
        open_price=opened,
        close_price=opened * (1 + Decimal(percent) / 100),
        window_start_ms=start_ms,
        window_end_ms=start_ms + MINUTE_MS,
        triggered_at_ms=now_ms() if provisional else start_ms + MINUTE_MS,
        message=f"{symbol} moved {percent}% within a minute",
        provisional=provisional,
    )


def final(provisional: Alert) -> Alert:
    """What the job says of the same window when it has closed."""
    return replace(
        provisional,
        id=provisional.id.removesuffix(":provisional"),
        provisional=False,
        triggered_at_ms=provisional.window_end_ms,
    )


def write(client: redis.Redis, *alerts: Alert) -> None:
    """Write them one after the other."""
    for each in alerts:
        with client.pipeline(transaction=True) as pipe:
            pipe.xadd(keys.ALERTS, {"alert": each.to_json()}, maxlen=10_000, approximate=True)
            pipe.publish(keys.ALERTS, each.to_json())
            pipe.execute()
