"""Redis commands: how many more the server sends for 1,000 clients than for one (INFO commandstats).

Counted over connecting, 20 messages, and leaving. The publisher's own commands are the same in both
and are taken off.
"""

from __future__ import annotations

from bench.gateways import scaled
from bench.gateways.rig import Rig, rig

_MESSAGES = 20
_OURS = {"cmdstat_info", "cmdstat_publish", "cmdstat_sadd", "cmdstat_multi", "cmdstat_exec"}


def run() -> dict[str, float | int | str]:
    many = scaled(1_000)
    with rig() as one:
        first, rest = _commands(one, 1), _commands(one, many)
    return {
        "commands_1_client": first,
        f"commands_{many}_clients": rest,
        "commands_a_further_client": round((rest - first) / (many - 1), 4),
    }


def _commands(one: Rig, clients: int) -> int:
    before = _total(one)
    one.connect(clients)
    one.round(_MESSAGES, 0.05)
    one.drop()
    return _total(one) - before


def _total(one: Rig) -> int:
    stats = one.redis.info("commandstats")
    return sum(int(stat["calls"]) for name, stat in stats.items() if name not in _OURS)
