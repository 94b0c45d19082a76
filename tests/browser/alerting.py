"""Alerts written to Redis exactly as the job writes them: into the stream, and on the channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import redis

from pipeline import keys
from pipeline.alert import Alert, AlertType, Severity
from pipeline.market import Interval
from pipeline.wall_clock import now_ms
from tests.browser.market import Market
from tests.browser.running import AppServer, RedisServer

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
    """An alert on the minute that opened ``minutes_ago`` (1: the newest closed one; 0: the open one).

    Tests that share a Redis count them down: what is written later is then never on an earlier one's
    minute, whenever the clock's next minute begins.
    """
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


def shown(alerts: Iterable[Alert]) -> list[Alert]:
    """What a page shows of alerts written in this order: one a window, the final one, newest first."""
    slots: dict[tuple[str, AlertType, int], Alert] = {}
    for each in alerts:
        slot = (each.symbol, each.alert_type, each.window_start_ms)
        if slot not in slots or not each.provisional:
            slots[slot] = each
    return sorted(slots.values(), key=lambda each: -each.triggered_at_ms)


class Still:
    """A Redis, a market in which only a test trades, and an app over them."""

    def __init__(self, folder: Path) -> None:
        self.redis = RedisServer(folder)
        self.client = redis.Redis.from_url(self.redis.url)
        self.market = Market(self.client)
        self.app = AppServer(self.redis.url, folder / "app.log")

    @property
    def url(self) -> str:
        return self.app.url

    def start(self) -> None:
        self.redis.start()
        self.market.describe_feed()
        self.market.past(30)
        self.app.start()

    def stop(self) -> None:
        self.app.stop()
        self.client.close()
        self.redis.stop()

    def write(self, *alerts: Alert) -> None:
        write(self.client, *alerts)

    def written(self) -> list[Alert]:
        """Every alert so far, in the order of writing."""
        return [Alert.from_json(fields[b"alert"]) for _, fields in self.client.xrange(keys.ALERTS)]
