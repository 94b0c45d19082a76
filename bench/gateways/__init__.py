"""What the gateway benches share: servers to measure (ours and two yardsticks), a load client, a Redis.

Three processes on one machine, over loopback: the server, the load client, and the publisher, which
is the bench itself. Latency is from just before PUBLISH to after the client's recv, by the
machine's monotonic clock, which the candle carries in ``trade_count``.

``BENCH_QUICK=1`` makes every gateway bench run at a tenth of its size.
"""

from __future__ import annotations

import os

QUICK = os.environ.get("BENCH_QUICK", "") not in {"", "0"}


def scaled(number: int) -> int:
    """``number``, or a tenth of it in a quick run."""
    return max(1, number // 10) if QUICK else number
