"""A stream full of what cannot be, through the real job: the good trades come out as if it were not there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import entry, keys
from pipeline.entry import RECORD
from pipeline.settings import Settings
from tests.golden import Deal
from tests.integration import processes
from tests.integration.job_alone import NAMES, T0, Job, deals
from tests.integration.processes import wait_until

COUNT = 4_000
DAY = 86_400_000
NOW = {
    "price: not above zero": {"price": 0},
    "quantity: not above zero": {"quantity": -(2**63)},
    "price times quantity is too large": {"price": 2**62, "quantity": 2**60},
    "event time is in seconds, not in milliseconds": {"time_ms": T0 // 1_000},
    "event time is in microseconds, not in milliseconds": {"time_ms": T0 * 1_000},
    "event time is before 2009": {"time_ms": 0},
    "event time is after 2099": {"time_ms": 2**62},
    "event time is in the future": {"time_ms": 4_000_000_000_000},
    "event time is hours ahead of the stream": {"time_ms": T0 + 200 * DAY},
    "side is neither buy nor sell": {"is_buy": 7},
}
"""A reason, and what is wrong with a trade that is rejected for it."""
TORN: dict[str, dict[str, Any]] = {
    "torn entry: trades are cut off": {"symbols": "BTC", "trades": b"x" * 79},
    "torn entry: symbol table": {"symbols": b"BTC,\xff", "trades": b"\0" * 40},
    "torn entry: a record points past its symbols": {"symbols": "BTC", "trades": b"\xff" * 40},
    "torn entry: heartbeat is not a time in milliseconds": {"heartbeat": "soon"},
    "torn entry: neither trades nor heartbeat": {"price": "5"},
    "torn entry: more than 10000 symbols": {"symbols": "B," * 20_000 + "B", "trades": b"\0" * 40},
    "heartbeat is in the future": {"heartbeat": 4_000_000_000_000},
}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(Settings(state_dir=tmp_path / "state"))
    yield job
    job.stop()
    processes.end(job.settings.state_dir)


def poisoned(chance: random.Random) -> list[dict[Any, Any]]:
    """Entries of all good trades in their order, with each kind of bad one five times between them."""
    reasons = [*NOW, *TORN] * 5
    chance.shuffle(reasons)
    places = sorted(chance.sample(range(1, COUNT - 20), len(reasons)))
    entries: list[dict[Any, Any]] = []
    rows: list[Deal] = []

    def flush() -> None:
        if rows:
            entries.append(dict(entry.encode(NAMES, np.array([_record(row) for row in rows], RECORD))))
            rows.clear()

    for number, deal in enumerate(deals(0, COUNT)):
        while places and places[0] == number:
            places.pop(0)
            reason = reasons.pop()
            if reason in TORN:
                flush()
                entries.append(TORN[reason])
            else:
                rows.append(deal._replace(**NOW[reason]))
        rows.append(deal)
        if len(rows) >= 25:
            flush()
    flush()
    return entries


def _record(deal: Deal) -> tuple[int, ...]:
    return (deal.time_ms, deal.id, deal.price, deal.quantity, deal.symbol, int(deal.is_buy))


def test_every_bad_record_is_counted_by_its_reason_and_costs_its_neighbours_nothing(job: Job) -> None:
    job.start()
    entries = poisoned(random.Random(5))
    for fields in entries:
        job.client.xadd(keys.trades_stream(0), fields)
    job.written = COUNT
    job.write(COUNT, last=True)
    wait_until(job.is_folded, 120, "the job to fold")
    counts = {reason.decode(): int(count) for reason, count in job.client.hgetall(keys.REJECTED_COUNTS).items()}
    assert counts == dict.fromkeys([*NOW, *TORN], 5)
    ids = {entry_id.decode() for entry_id, _ in job.client.xrange(keys.trades_stream(0))}
    records = [fields for _, fields in job.client.xrange(keys.REJECTED)]
    assert len(records) == 5 * len(counts)
    assert {fields[b"origin"].decode().split(":")[0] for fields in records} <= ids
    job.assert_golden(COUNT, rejected=len(records))
