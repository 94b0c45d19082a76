"""The pipeline's figures, and which of them are healthy. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from dashboard.feed_facts import GAPS_SHOWN
from dashboard.flink import Checkpoints
from dashboard.meter import BOUNDS_MS, quantile_ms
from dashboard.text import MINUS, compact

Health = Literal["good", "warn", "bad", "idle"]
_WORST: Final[tuple[Health, ...]] = ("bad", "warn", "good", "idle")


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the whole pipeline. None where a figure could not be had."""

    feed: str
    feed_age_s: float | None
    clock_offset_ms: int | None
    gaps: int
    feed_trades: int
    trades_per_s: float
    folded_trades: int
    folded_per_s: float
    watermark_lag_s: float | None
    job_age_s: float | None
    late: int
    lost: int
    rejected: int
    closed_candles: int
    checkpoint_age_s: float | None
    checkpoint: Checkpoints | None
    """Flink's own word, where its REST interface is reachable."""
    checkpoint_every_s: float
    redis_connected: bool
    redis_memory_bytes: int | None
    redis_commands_per_s: int | None
    revisions_per_s: float
    latency: tuple[int, ...]
    redis_clients: int | None
    symbols: int
    reconnects: int
    malformed: int
    websocket_clients: int
    redis_writes: str = "taken"
    """``store.writes_state``: anything else is why Redis refuses them."""
    rewound: int = 0
    """Times that the job went back because Redis had lost what it had confirmed, or was wiped."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: ``hint`` says what is healthy."""

    label: str
    value: str
    health: Health
    hint: str


@dataclass(frozen=True, slots=True)
class Station:
    """One part of the pipeline with its figures; as healthy as its worst one."""

    name: str
    figures: tuple[Figure, ...]

    @property
    def health(self) -> Health:
        states = {figure.health for figure in self.figures}
        return next(state for state in _WORST if state in states)


def judge(value: float | None, good: float, warn: float) -> Health:
    """``good`` and ``warn`` are the upper bounds of their states; an absent value is idle."""
    if value is None:
        return "idle"
    if value <= good:
        return "good"
    return "warn" if value <= warn else "bad"


def stations(reading: Reading) -> list[Station]:
    """Feed, job, Redis, server: in the order in which a trade meets them."""
    return [_feed(reading), _job(reading), _redis(reading), _server(reading)]


def _feed(reading: Reading) -> Station:
    return Station(
        "Feed",
        (
            Figure(
                "Source",
                reading.feed or "unknown",
                "good" if reading.feed else "idle",
                "where trades come from",
            ),
            Figure(
                "Trades in", f"{compact(reading.trades_per_s)}/s", "good", f"{reading.feed_trades:,} in all"
            ),
            Figure("Symbols", f"{reading.symbols:,}", "good", "that have had a candle"),
            Figure(
                "Last word", _seconds(reading.feed_age_s), judge(reading.feed_age_s, 5, 30), "healthy below 5 s"
            ),
            Figure("Gaps", f"{reading.gaps:,}", judge(reading.gaps, 0, GAPS_SHOWN), "recorded; healthy at 0"),
            *_clock(reading.clock_offset_ms),
        ),
    )


def _clock(offset_ms: int | None) -> tuple[Figure, ...]:
    if offset_ms is None:  # no exchange is heard: there is no other clock
        return ()
    value = f"{MINUS if offset_ms < 0 else '+'}{abs(offset_ms):,} ms"
    return (
        Figure("Exchange's clock", value, judge(abs(offset_ms), 500, 5_000), "to ours; healthy below 500 ms"),
    )


def _job(reading: Reading) -> Station:
    if reading.job_age_s is None:
        return Station("Flink job", (Figure("Folded", "\u2013", "idle", "the job has not spoken yet"),))
    behind = max(0, reading.feed_trades - reading.folded_trades) if reading.folded_trades else 0
    return Station(
        "Flink job",
        (
            Figure("Folded", f"{compact(reading.folded_per_s)}/s", "good", f"{reading.folded_trades:,} in all"),
            Figure(
                "Watermark lag", _seconds(reading.watermark_lag_s), judge(reading.watermark_lag_s, 5, 60),
                "healthy below 5 s",
            ),
            Figure("Backlog", compact(behind), judge(behind, 50_000, 1_000_000), "healthy below 50K trades"),
            Figure(
                "Late trades", f"{reading.late:,}",
                judge(reading.late, reading.folded_trades * 1e-4, reading.folded_trades * 1e-2),
                "healthy below 0.01%",
            ),
            Figure("Lost entries", f"{reading.lost:,}", judge(reading.lost, 0, 0), "healthy at 0"),
            Figure("Gone back", f"{reading.rewound:,}", judge(reading.rewound, 0, 1_000),
                   "times Redis had lost what it had confirmed; healthy at 0"),
            *_checkpoints(reading),
        ),
    )  # fmt: skip


def _checkpoints(reading: Reading) -> list[Figure]:
    every_s, known = reading.checkpoint_every_s, reading.checkpoint
    age = Figure(
        "Checkpoint age", _seconds(reading.checkpoint_age_s),
        judge(reading.checkpoint_age_s, 3 * every_s, 12 * every_s), f"healthy below {3 * every_s:.0f} s",
    )  # fmt: skip
    if known is None:
        return [age]
    took_s = known.duration_ms / 1000
    return [
        age,
        Figure("Checkpoint took", f"{known.duration_ms:,} ms", judge(took_s, every_s / 2, every_s),
               f"healthy below {every_s / 2:g} s; {known.failed:,} failed"),
        Figure("Checkpoint size", f"{known.state_bytes / 1024:,.0f} KiB",
               judge(known.state_bytes, 2**26, 2**30), "healthy below 64 MiB"),
    ]  # fmt: skip


def _redis(reading: Reading) -> Station:
    memory = reading.redis_memory_bytes
    commands = reading.redis_commands_per_s
    return Station(
        "Redis",
        (
            Figure("Writes", reading.redis_writes, "good" if reading.redis_writes == "taken" else "bad",
                   "feed and job wait, and lose nothing, while they are refused"),
            Figure("Memory", "\u2013" if memory is None else f"{memory / 2**20:,.1f} MiB",
                   judge(memory, 2**29, 2**31), "healthy below 512 MiB"),
            Figure("Commands", "\u2013" if commands is None else f"{compact(commands)}/s",
                   judge(commands, 20_000, 60_000), "healthy below 20K/s"),
            Figure("Connections", "\u2013" if reading.redis_clients is None else f"{reading.redis_clients:,}",
                   judge(reading.redis_clients, 100, 1_000), "healthy below 100: sessions need none"),
            Figure("Closed candles", f"{reading.closed_candles:,}", "good", "written since the first start"),
            Figure("Rejected", f"{reading.rejected:,}", judge(reading.rejected, 0, 1_000), "healthy at 0"),
        ),
    )  # fmt: skip


def _server(reading: Reading) -> Station:
    p50, p99 = (quantile_ms(reading.latency, share) for share in (0.5, 0.99))
    return Station(
        "Subscriber and web",
        (
            Figure("Subscription", "up" if reading.redis_connected else "down",
                   "good" if reading.redis_connected else "bad", "healthy when up"),
            Figure("Revisions", f"{compact(reading.revisions_per_s)}/s", "good", "candles heard from Redis"),
            Figure("Publish to hub", _upto(p50, p99), judge(p99, 100, 1_000), "p50, p99; healthy below 100 ms"),
            Figure("Reconnects", f"{reading.reconnects:,}", judge(reading.reconnects, 0, 20), "healthy at 0"),
            Figure("Malformed", f"{reading.malformed:,}", judge(reading.malformed, 0, 0), "healthy at 0"),
            Figure("WebSocket clients", f"{reading.websocket_clients:,}", "good", "charts and programs"),
        ),
    )  # fmt: skip


def _seconds(value: float | None) -> str:
    if value is None:
        return "\u2013"
    return f"{max(0.0, value):.1f} s" if value < 600 else f"{value / 3600:,.1f} h"


def _upto(p50: float | None, p99: float | None) -> str:
    if p50 is None or p99 is None:
        return "\u2013"
    words = [f"≤ {value:.0f}" if value != float("inf") else f"> {BOUNDS_MS[-1]}" for value in (p50, p99)]
    return f"{words[0]}, {words[1]} ms"


def moving_picture(reading: Reading) -> dict[str, Any]:
    """Data of the pipeline component: stations and the lanes between them."""
    lanes = [
        (reading.trades_per_s, "trades"),
        (reading.revisions_per_s, "candles"),
        (reading.revisions_per_s, "candles"),
    ]
    return {
        "stations": [{**asdict(station), "health": station.health} for station in stations(reading)],
        "lanes": [{"rate": rate, "text": f"{compact(rate)} {unit}/s"} for rate, unit in lanes],
    }
