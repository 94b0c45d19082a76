"""Writes alerts into Redis, each once, however often a crash makes the job repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pipeline import keys
from pipeline.market import Alert

KEPT: Final = 10_000
"""Alerts kept in the stream."""

# Decided where it is written, and while it is: neither a transaction whose answer was lost nor two
# lives of the job at once can write one twice. The windows of one symbol and type come in rising
# order, so the newest one is all there is to remember, and it needs no bound that a long replay
# could reach beyond.
_ONCE: Final = """
local newest = redis.call('HGET', KEYS[2], ARGV[1])
if newest and tonumber(newest) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'alert', ARGV[4])
redis.call('PUBLISH', KEYS[1], ARGV[4])
return 1
"""


def queue(transaction: Any, alerts: Sequence[Alert]) -> None:
    """Queue stream entry and PUBLISH of each alert that was not written before."""
    for alert in alerts:
        suffix = ":provisional" if alert.provisional else ""
        kind = f"{alert.symbol}:{alert.alert_type.value}{suffix}"
        transaction.eval(
            _ONCE, 2, keys.ALERTS, keys.ALERTS_NEWEST, kind, alert.window_start_ms, KEPT, alert.to_json()
        )
