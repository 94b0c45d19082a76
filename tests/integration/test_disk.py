"""Checkpoints damaged, lost, or without room: the real job comes to the same candles, and says what it did."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import keys
from pipeline.market import INTERVALS, Interval
from pipeline.settings import Settings
from tests.golden import golden, golden_candle
from tests.integration import processes
from tests.integration.job_alone import NAMES, Job, deals
from tests.integration.processes import wait_until
from tests.small_disk import fill, mounted


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(Settings(state_dir=tmp_path / "state", checkpoint_ms=300))
    yield job
    job.stop()
    processes.end(job.settings.state_dir)


def flip_all(saved: Path) -> None:
    for path in saved.iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)


def cut_metadata(saved: Path) -> None:
    with (saved / "_metadata").open("r+b") as file:
        file.truncate(40)


@pytest.mark.parametrize("spoil", [flip_all, cut_metadata])
def test_with_its_newest_checkpoint_damaged_the_job_goes_on_from_the_one_before(
    job: Job, spoil: Callable[[Path], None]
) -> None:
    job.start()
    job.fold(2_000)
    job.wait_for_checkpoints()
    job.fold(4_000)
    job.wait_for_checkpoints()
    job.stop()
    newest, before = job.sealed()[:2]
    spoil(newest)
    job.start()
    job.fold(6_000, last=True)
    said = job.said()
    assert f"checkpoint {newest} is passed over: " in said
    assert f"going on from {before}, the newest sound checkpoint" in said
    assert job.embedded.steps()[-1].restarts == 0
    job.assert_golden(6_000)


def test_a_damaged_checkpoint_that_nobody_sealed_stops_one_start_and_not_the_next(job: Job) -> None:
    job.start()
    job.fold(2_000)
    job.wait_for_checkpoints()
    job.stop()
    (job.settings.state_dir / "checkpoints" / "seals.json").unlink()
    newest = job.checkpoints()[0]
    cut_metadata(newest)
    job.start()
    job.fold(4_000, last=True)
    assert f"Flink could not begin from checkpoint {newest}: the next start takes an older one" in job.said()
    assert job.embedded.steps()[-1].restarts == 1
    job.assert_golden(4_000)


def test_with_all_checkpoints_lost_and_the_stream_whole_the_candles_come_out_the_same(job: Job) -> None:
    job.start()
    job.fold(3_000)
    job.stop()
    shutil.rmtree(job.settings.state_dir / "checkpoints")
    job.start()
    job.fold(6_000, last=True)
    assert "no checkpoint: reading all of it again" in job.said()
    job.assert_golden(6_000)


def test_with_all_checkpoints_lost_and_the_stream_trimmed_no_candle_is_written_from_half_its_trades(
    job: Job,
) -> None:
    job.settings = replace(job.settings, stream_max_entries=100)
    job.start()
    job.fold(5_000)
    job.client.xtrim(keys.trades_stream(0), maxlen=100, approximate=False)
    job.stop()
    shutil.rmtree(job.settings.state_dir / "checkpoints")
    job.start()
    job.fold(8_000, last=True)
    said = job.said()
    whole = {interval: golden(deals(0, 8_000), interval) for interval in INTERVALS}
    assert "no checkpoint, and the stream was trimmed: reading again what is left of it" in said
    wrong = [
        candle
        for interval in INTERVALS
        for code, name in enumerate(NAMES)
        for candle in job.candles(name, interval)
        if candle
        != golden_candle(name, interval, candle.open_time_ms, whole[interval][code, candle.open_time_ms])
    ]
    assert wrong == []
    # All that closed before, and all that began after, is there: 8,000 trades are 2,000 s.
    assert len(job.candles("BTC", Interval.M1)) == len({deal.time_ms // 60_000 for deal in deals(0, 8_000)})
    assert job.client.hget(keys.progress(0), "lost") == b"0"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder, "4m"):
        yield folder


def test_checkpoints_without_room_are_told_of_and_cost_no_candle(job: Job, small_disk: Path) -> None:
    (job.settings.state_dir).mkdir()
    (job.settings.state_dir / "checkpoints").symlink_to(small_disk)
    job.start()
    job.fold(2_000)
    job.wait_for_checkpoints()
    filler = small_disk / "filler"
    fill(filler)
    assert shutil.disk_usage(small_disk).free == 0
    job.fold(4_000)

    def is_told() -> bool:
        fill(filler)  # a checkpoint that was on its way gives back the room of an old one
        return "no checkpoint was completed for" in job.said()

    wait_until(is_told, 60, "a word on the checkpoints")
    for process in processes.named(job.settings.state_dir, "java"):
        process.kill()
    job.fold(6_000)
    filler.unlink()
    job.wait_for_checkpoints()
    for process in processes.named(job.settings.state_dir, "java"):
        process.kill()
    job.fold(8_000, last=True)
    job.assert_golden(8_000)
