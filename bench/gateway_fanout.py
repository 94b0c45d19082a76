"""Fan-out: PUBLISH to client receive at 1 message/s, 1,000 and 10,000 clients, against two yardsticks.

Per server and number of clients: 3 rounds of 10 messages, medians of the rounds; latency over all
clients and messages of a round; CPU of the server's process in a round by the frames it sent;
resident memory of its process by the clients that connected. See ``bench.gateways`` for how.
"""

from __future__ import annotations

from statistics import median

from bench.gateways import scaled
from bench.gateways.rig import rig

_ROUNDS = 3
_MESSAGES = 10
_EVERY_S = 1.0


def run() -> dict[str, float | int | str]:
    result: dict[str, float | int | str] = {}
    for count in (scaled(1_000), scaled(10_000)):
        for kind in ("ours", "send_json", "new_loop"):
            result |= _measure(kind, count)
        ours = result[f"ours_{count}_p99_ms"]
        for kind in ("send_json", "new_loop"):
            result[f"{kind}_{count}_p99_times_ours"] = round(
                float(result[f"{kind}_{count}_p99_ms"]) / float(ours), 1
            )
    return result


def _measure(kind: str, count: int) -> dict[str, float | int | str]:
    with rig(kind) as one:
        empty = one.rss_bytes()
        one.connect(count)
        memory = one.rss_bytes() - empty
        one.round(2, 0.2)
        rounds = [one.round(_MESSAGES, _EVERY_S) for _ in range(_ROUNDS)]
    name = f"{kind}_{count}_{{}}".format
    return {
        name("p50_ms"): round(median(each.get("p50_ms", float("nan")) for each in rounds), 2),
        name("p99_ms"): round(median(each.get("p99_ms", float("nan")) for each in rounds), 2),
        name("messages_lost"): _ROUNDS * _MESSAGES * count - sum(each["received"] for each in rounds),
        name("cpu_us_a_send"): round(median(each["cpu_s"] for each in rounds) / (_MESSAGES * count) * 1e6, 2),
        name("memory_kb_a_client"): round(memory / count / 1000, 1),
    }
