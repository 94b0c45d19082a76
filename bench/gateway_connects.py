"""10,000 connects, then all dropped at once, ten times: time, counts back to 0, memory.

Memory is resident memory of the server's process with no client, after each round; the first
round's is what Python keeps for good, so growth is from the second round to the last.
"""

from __future__ import annotations

import time
from statistics import median

from bench.gateways import scaled
from bench.gateways.rig import rig

_ROUNDS = 10


def run() -> dict[str, float | int | str]:
    count = scaled(10_000)
    connects, drops, memory = [], [], []
    with rig() as one:
        for _ in range(_ROUNDS):
            connects.append(one.connect(count))
            drops.append(one.drop())
            time.sleep(1)
            memory.append(one.rss_bytes())
        left = one.connections()
    return {
        "clients": count,
        "connect_s": round(median(connects), 2),
        "connect_slowest_s": round(max(connects), 2),
        "drop_until_0_s": round(median(drops), 2),
        "connections_left": left,
        "memory_second_mb": round(memory[1] / 1e6, 1),
        "memory_last_mb": round(memory[-1] / 1e6, 1),
        "memory_growth_percent": round((memory[-1] / memory[1] - 1) * 100, 1),
    }
