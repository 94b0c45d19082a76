"""A long run under load, and whether it takes more and more: memory, files, threads, disk.

``streamlit run app.py`` with everything embedded and a simulated market of 2,000 trades a second; 20
WebSocket clients that stay, three browser sessions that come and go. Once a minute each process and
folder is looked at. The table holds the last look against the first one after the warm-up, which
is ten minutes, or a third of a shorter run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import redis

from chaos import census, rigs
from chaos.visitors import Sessions, SocketClients
from pipeline import keys
from pipeline.settings import Settings

RATE: Final = 2_000
CLIENTS: Final = 20
SESSIONS: Final = 3
HISTORY: Final = 500
"""Candles kept: as many as close in the warm-up, so that whatever grows afterwards has no bound."""
_WARM_UP_S: Final = 600.0


@dataclass(frozen=True)
class Look:
    """One look; ``at_s`` counts from the first candle."""

    at_s: float
    processes: dict[str, census.Taken]
    folders: dict[str, float]


@dataclass
class Soaked:
    """All looks after the warm-up, and what the visitors saw."""

    looks: list[Look]
    frames: int
    connects: int
    overtaken: int
    opened: int
    failed: int
    trades: int
    late: int
    lost: int
    restarts: int


def run(minutes: float, *, rate: int = RATE, clients: int = CLIENTS, sessions: int = SESSIONS,
        every_s: float = 60.0, curve: Path | None = None) -> Soaked:  # fmt: skip
    """Soak for ``minutes``. ``curve``: a file for all looks, a JSON object a line."""
    with tempfile.TemporaryDirectory(prefix="candlecast-soak-", ignore_cleanup_errors=True) as made:
        place = Path(made)
        (place / "tmp").mkdir()
        settings = Settings(
            state_dir=place / "state", simulator_rate=rate, simulator_history_minutes=10, history_limit=HISTORY
        )
        rig = rigs.ServerRig(settings, "server", {"TMPDIR": str(place / "tmp")})
        rig.start()
        try:
            rigs.wait_for_first_candle(rig)
            return _soak(rig, place, minutes, clients, sessions, every_s, curve)
        finally:
            rig.stop()


def _soak(rig: rigs.ServerRig, place: Path, minutes: float, clients: int, sessions: int, every_s: float,
          curve: Path | None) -> Soaked:  # fmt: skip
    began = time.monotonic()
    warm_up_s = min(_WARM_UP_S, 20 * minutes)
    places = _places(rig.settings.state_dir, place / "tmp")
    sockets = SocketClients(rig.port, clients)
    tabs = Sessions(rig.port, sessions, 7) if sessions else None
    looks: list[Look] = []
    try:
        for number in range(1, int(minutes * 60 / every_s) + 1):
            time.sleep(max(0.0, began + number * every_s - time.monotonic()))
            server = rig.victim()
            if server is None:
                raise RuntimeError(f"the server has ended; its log: {rig.log()}")
            at_s = time.monotonic() - began
            look = Look(at_s, dict(census.processes(server)), dict(census.folders(places)))
            if at_s >= warm_up_s - 0.5:
                looks.append(look)
            _note(look, curve)
    finally:
        sockets.stop()
        if tabs:
            tabs.stop()
    with redis.Redis.from_url(rig.url, socket_timeout=5) as client:
        progress: Any = client.hgetall(keys.progress(0))
    return Soaked(
        looks, sockets.frames, sockets.connects, sockets.overtaken,
        tabs.opened if tabs else 0, tabs.failed if tabs else 0,
        *(int(progress[name]) for name in (b"trades", b"late", b"lost")),
        restarts=rig.log().count("; starting again in"),
    )  # fmt: skip


def _places(state: Path, temporary: Path) -> dict[str, Path]:
    return {
        "state folder": state,
        "redis file": state / "redis",
        "checkpoints": state / "checkpoints",
        "logs": state / "logs",
        "flink logs": state / "flink" / "log",
        "flink tmp": state / "flink" / "tmp",
        "temporary": temporary,
    }


def _note(look: Look, curve: Path | None) -> None:
    line = json.dumps(asdict(look))
    if curve is not None:
        with curve.open("a") as file:
            file.write(line + "\n")
    sizes = " ".join(f"{name} {taken.rss_mib:.0f}" for name, taken in look.processes.items())
    print(f"  {look.at_s / 60:5.1f} min  RSS MiB: {sizes}; state {look.folders['state folder']:.0f} MiB",
          file=sys.stderr, flush=True)  # fmt: skip


def table(soaked: Soaked) -> list[str]:
    """First and last look, line by line."""
    first, last = soaked.looks[0], soaked.looks[-1]
    lines = [
        f"from minute {first.at_s / 60:.1f} to minute {last.at_s / 60:.1f}",
        _row("process", ["RSS first", "last", "highest", "files first", "last", "threads first", "last"]),
    ]
    for name in sorted(first.processes.keys() & last.processes.keys()):
        one, other = first.processes[name], last.processes[name]
        highest = max(look.processes[name].rss_mib for look in soaked.looks if name in look.processes)
        numbers: Sequence[float | int] = (
            one.rss_mib, other.rss_mib, highest, one.files, other.files, one.threads, other.threads,
        )  # fmt: skip
        lines.append(_row(name, [f"{n:.0f} MiB" if i < 3 else str(n) for i, n in enumerate(numbers)]))
    lines.append(_row("folder", ["first", "last", "highest"]))
    for name in first.folders:
        highest = max(look.folders[name] for look in soaked.looks)
        lines.append(_row(name, [f"{n:.1f} MiB" for n in (first.folders[name], last.folders[name], highest)]))
    lines.append(
        f"trades {soaked.trades:,}, late {soaked.late}, lost {soaked.lost}, process restarts {soaked.restarts}"
    )
    lines.append(
        f"frames to WebSocket clients {soaked.frames:,}, connections {soaked.connects}, revisions "
        f"overtaken by newer ones {soaked.overtaken:,}; browser sessions {soaked.opened}, "
        f"failed {soaked.failed}"
    )
    return lines


def _row(name: str, cells: list[str]) -> str:
    return " | ".join([f"{name:<13}", *(f"{cell:>13}" for cell in cells)])
