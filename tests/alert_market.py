"""An hour of recorded trades into which what the alert rules look for was injected."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from pipeline import fold
from pipeline.alert import Alert
from pipeline.alerts.rules import Rules
from pipeline.alerts.watch import Watch
from pipeline.arrivals import Position
from pipeline.entry import RECORD, Records, encode
from pipeline.fold import Windows
from pipeline.intake import Intake
from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS, scale
from pipeline.settings import Settings

SYMBOL = "BTC-USD"
MINUTE = 60_000
START_MS = 1_693_929_600_000
"""2023-09-05 16:00 UTC."""
SETTINGS: Mapping[str, str] = {
    "ALERT_VOLUME_CANDLES": "10",
    "ALERT_VOLUME_FACTOR": "20",
    "ALERT_BREAKOUT_CANDLES": "12",
    "ALERT_VOLATILITY_CANDLES": "15",
    "ALERT_VOLATILITY_FACTOR": "4",
    "ALERT_STALE_FACTOR": "20",
    "ALERT_QUIET_MINUTES": "5",
}
"""Means over an hour's part, where the defaults want hours."""

SPIKE, DROP, SURGE, SILENT = 26, 33, 40, range(48, 52)
"""Minutes in which something is done to the recorded trades."""


def recorded_trades(folder: Path) -> Records:
    """The hour as Coinbase had it, in order of time; its trades have no ids, so they get their place."""
    with gzip.open(folder / "coinbase_BTCUSD_1h_trades.csv.gz", "rt") as lines:
        rows = list(csv.DictReader(lines))
    trades = np.zeros(len(rows), RECORD)
    for number, row in enumerate(rows):
        time = datetime.fromisoformat(row["timestamp"])
        trades[number]["event_time_ms"] = int(time.timestamp() * 1000)
        trades[number]["trade_id"] = number
        trades[number]["price"] = scale(row["price"], PRICE_DECIMALS)
        trades[number]["quantity"] = scale(row["amount"], QUANTITY_DECIMALS)
        trades[number]["side"] = row["side"] == "buy"
    return trades[np.argsort(trades["event_time_ms"], kind="stable")]


def minutes_of(trades: Records) -> np.ndarray:
    return (trades["event_time_ms"] - START_MS) // MINUTE


def injected(recorded: Records) -> Records:
    """A rise of 6 % in one minute, a fall of 11 % in another, forty-fold sizes, four minutes of silence."""
    trades = recorded[~np.isin(minutes_of(recorded), SILENT)]
    minute = minutes_of(trades)
    for number, percent in ((SPIKE, 106), (DROP, 89)):
        late_in_it = (minute == number) & (trades["event_time_ms"] % MINUTE > 20_000)
        trades["price"][late_in_it] = trades["price"][late_in_it] // 100 * percent
    trades["quantity"][minute == SURGE] *= 40
    return trades


def entries(trades: Records) -> list[dict[str | bytes, bytes | str | int]]:
    """One entry a second, with a heartbeat at its end, as a living feed writes them."""
    last_ms = int(trades["event_time_ms"][-1])
    made = []
    for second_ms in range(START_MS, last_ms + 5_000, 1_000):
        first, end = np.searchsorted(trades["event_time_ms"], (second_ms, second_ms + 1_000))
        made.append(encode([SYMBOL], trades[first:end], second_ms + 999))
    return made  # type: ignore[return-value]


def expected(trades: Records, settings: Mapping[str, str] = SETTINGS) -> list[Alert]:
    """The alerts of ``trades``, without Flink and without Redis, entry by entry."""
    watch = Watch(Rules.of(Settings.from_env(settings)))
    intake, position, windows = Intake(0, 1_000), Position(), Windows()
    alerts: list[Alert] = []
    for number, one in enumerate(entries(trades), 1):
        fields = {_bytes(name): _bytes(value) for name, value in one.items()}
        batch = intake.take(position, [(b"%d-0" % number, fields)], is_backlog=False)
        windows.add(batch.partials)
        closed = windows.close(batch.watermark_ms)
        alerts += watch.closed(batch.symbols, _minutes(closed), batch.watermark_ms, batch.holes)
    return alerts


def _minutes(closed: Sequence[fold.Partials]) -> fold.Partials:
    return closed[1]


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
