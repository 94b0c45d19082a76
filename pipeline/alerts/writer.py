"""Writes alerts into Redis, each once, however often a crash makes the job repeat it.

The windows of one symbol and type come in rising order, so the newest one is all there is to
remember, and it needs no bound that a long replay could reach beyond. It is watched from its
reading until the transaction is over: neither an attempt whose answer was lost nor two lives of
the job at once can write an alert twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pipeline import keys
from pipeline.alert import Alert

KEPT: Final = 10_000
"""Alerts kept in the stream."""


def unwritten(transaction: Any, shard: int, alerts: Sequence[Alert]) -> tuple[Alert, ...]:
    """Those of ``alerts`` that were not written before; ``transaction`` watches that it stays so."""
    key = keys.alerts_newest(shard)
    transaction.watch(key)
    kinds = list(dict.fromkeys(map(_kind, alerts)))
    found = transaction.hmget(key, kinds)
    newest_ms = {kind: int(text or -1) for kind, text in zip(kinds, found, strict=True)}
    fresh = []
    for alert in alerts:
        if alert.window_start_ms > newest_ms[_kind(alert)]:
            newest_ms[_kind(alert)] = alert.window_start_ms
            fresh.append(alert)
    return tuple(fresh)


def queue(transaction: Any, shard: int, alerts: Sequence[Alert]) -> None:
    """Queue stream entry, PUBLISH and what :func:`unwritten` goes by."""
    for alert in alerts:
        text = alert.to_json()
        transaction.xadd(keys.ALERTS, {"alert": text}, maxlen=KEPT, approximate=True)
        transaction.publish(keys.ALERTS, text)
        transaction.hset(keys.alerts_newest(shard), _kind(alert), alert.window_start_ms)


def _kind(alert: Alert) -> str:
    return f"{alert.symbol}:{alert.alert_type.value}{':provisional' if alert.provisional else ''}"
