"""One stalled client among 1,000: p99 of the others, with it and without it.

The stalled client opens a WebSocket and never reads. 400 closed candles (200 KB) fill every buffer
on its way; then the others connect. 10 messages/s, 50 a round, 5 rounds each way in turn, medians.
"""

from __future__ import annotations

import time
from statistics import median

from bench.gateways import scaled
from bench.gateways.rig import Rig, rig

_ROUNDS = 5
_MESSAGES = 50
_EVERY_S = 0.1


def run() -> dict[str, float | int | str]:
    count = scaled(1_000)
    with rig() as one:
        without, stalled = [], []
        for _ in range(_ROUNDS):
            without.append(_p99_ms(one, count))
            one.load.ask("stall")
            stalled.append(_p99_ms(one, count))
    return {
        "clients": count,
        "without_p99_ms": round(median(without), 2),
        "stalled_p99_ms": round(median(stalled), 2),
        "change_percent": round((median(stalled) / median(without) - 1) * 100, 1),
    }


def _p99_ms(one: Rig, count: int) -> float:
    for _ in range(400):
        one.publish(is_closed=True)
        time.sleep(0.005)
    one.connect(count)
    p99_ms = float(one.round(_MESSAGES, _EVERY_S)["p99_ms"])
    one.drop()
    return p99_ms
