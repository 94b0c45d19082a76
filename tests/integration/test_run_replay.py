"""``python -m pipeline replay`` as a user runs it, against the exchange's own candles."""

from __future__ import annotations

import csv
import gzip
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from pipeline.candle import CSV_HEADER
from tests.integration import processes

COMMAND = (sys.executable, "-m", "pipeline", "replay")
FILTER = ("--where", "exchange=binance-um", "--where", "exec_type=MARKET")
HEADER = "exchange,symbol,trade_id,event_time_ms,price,quantity,side,exec_type\n"

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the replay puts its state folder: it must be empty again afterwards."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def nothing_left(temporary: Path) -> Iterator[None]:
    yield
    left = [process for process in psutil.process_iter() if str(temporary) in " ".join(_line(process))]
    for process in left:
        process.kill()
    assert not left
    assert not list(temporary.iterdir())


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def environment(temporary: Path) -> dict[str, str]:
    return processes.environment(temporary / "unused", TMPDIR=str(temporary))


def replay(temporary: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=processes.ROOT,
        env=environment(temporary),
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )


def written_into(package: str, since: float) -> list[Path]:
    """Files of an installed package that are newer, but for Python's own caches."""
    spec = find_spec(package)
    assert spec and spec.submodule_search_locations
    files = Path(spec.submodule_search_locations[0]).rglob("*")
    return [path for path in files if path.stat().st_mtime >= since and "__pycache__" not in path.parts]


def candles(path: Path, interval: str) -> dict[int, dict[str, str]]:
    """Rows of an interval by open time."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["interval"] == interval]
    return {int(row["open_time_ms"]): row for row in rows}


KLINE_COLUMNS = {
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "quote_volume": "quote_volume",
    "trade_count": "count",
    "taker_buy_volume": "taker_buy_volume",
}


def assert_equal_to_the_exchanges_own_candles(exported: Path, shared_data: Path) -> None:
    ours = candles(exported, "1m")
    with (shared_data / "klines_1m_binance_um_BTCUSDT.csv").open(newline="") as file:
        theirs = {int(row["open_time"]): row for row in csv.DictReader(file)}
    complete = sorted(set(ours) & set(theirs))[1:-1]  # a capture begins and ends within a minute
    assert len(complete) >= 6
    for open_time_ms in complete:
        for our_name, their_name in KLINE_COLUMNS.items():
            our, their = ours[open_time_ms][our_name], theirs[open_time_ms][their_name]
            assert Decimal(our) == Decimal(their), (open_time_ms, our_name)


def test_every_complete_minute_equals_the_exchanges_own_candle(
    shared_data: Path, temporary: Path, tmp_path: Path
) -> None:
    exported = tmp_path / "candles.csv"
    began = time.time()
    done = replay(temporary, shared_data / "trades_binance_20230404.csv.gz", *FILTER, "--export", exported)
    assert done.returncode == 0, done.stderr
    assert "12,934 played" in done.stdout
    assert "rejected  0" in done.stdout
    assert "late      0" in done.stdout
    assert exported.read_text().splitlines()[0] == ",".join(CSV_HEADER)
    assert_equal_to_the_exchanges_own_candles(exported, shared_data)
    seconds = candles(exported, "1s")
    assert sum(int(row["trade_count"]) for row in seconds.values()) == 12_934, "no trade is in no candle"
    assert not written_into("pyflink", since=began), "Flink's defaults write into its own package"


def test_a_job_that_is_killed_in_mid_replay_changes_no_candle(
    shared_data: Path, temporary: Path, tmp_path: Path
) -> None:
    trades = shared_data / "trades_binance_20230404.csv.gz"
    calm = tmp_path / "calm.csv"
    assert replay(temporary, trades, *FILTER, "--export", calm).returncode == 0

    exported = tmp_path / "candles.csv"
    # Eight minutes of market in 16 s, with a checkpoint each second: there is a middle to be killed in.
    arguments = [str(trades), *FILTER, "--speed", "30", "--export", str(exported)]
    running = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=processes.ROOT,
        env=environment(temporary) | {"CHECKPOINT_MS": "1000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def checkpoints() -> list[Path]:
        return list(temporary.glob("candlecast-replay-*/checkpoints/*/chk-*/_metadata"))

    processes.wait_until(checkpoints, 60, "the first checkpoint")
    assert running.poll() is None
    killed = [process for process in psutil.Process(running.pid).children() if "job" in _line(process)]
    assert len(killed) == 1
    tree = [*killed[0].children(recursive=True), *killed]
    assert any("java" in process.name() for process in tree)
    for process in tree:
        process.kill()

    output, _ = running.communicate(timeout=180)
    assert running.returncode == 0, output
    assert "restarted 1 time" in output
    assert exported.read_bytes() == calm.read_bytes()
    assert_equal_to_the_exchanges_own_candles(exported, shared_data)


def test_bad_lines_are_summed_up_with_their_place_and_cost_their_neighbours_nothing(
    temporary: Path, tmp_path: Path
) -> None:
    rows = [f"x,BTC,{n},{1_700_000_000_000 + n * 1000},100.{n % 10},1,buy,MARKET" for n in range(1, 100)]
    rows[10] = "x,BTC,11,1700000011000,-5,1,buy,MARKET"
    rows[20] = "torn"
    trades = tmp_path / "trades.csv.gz"
    trades.write_bytes(gzip.compress((HEADER + "\n".join(rows) + "\n").encode()))
    exported = tmp_path / "candles.csv"
    done = replay(temporary, trades, "--export", exported)
    assert done.returncode == 0, done.stderr
    assert "97 played" in done.stdout
    assert "rejected  2" in done.stdout
    assert f"{trades}:12" in done.stdout
    assert f"{trades}:22" in done.stdout
    assert len(candles(exported, "1s")) == 97


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["missing.csv"], "missing.csv"),
        (["trades.csv", "--where", "colour=red"], "no column colour"),
        (["headless.csv"], "no column"),
        (["trades.csv", "--export", "nowhere/candles.csv"], "no such folder"),
        (["trades.csv", "--export", "."], "cannot be written"),
        (["trades.csv", "--where", "red"], "is not COLUMN=VALUE"),
        (["trades.csv", "--speed", "-1"], "neither max nor a number"),
    ],
)
def test_input_that_cannot_be_used_is_one_clear_error_and_exit_code_2(
    temporary: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "trades.csv").write_text(HEADER)
    (tmp_path / "headless.csv").write_text("1,2,3\n")
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        env=environment(temporary),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_replay_with_all_it_has_started(shared_data: Path, temporary: Path) -> None:
    trades = shared_data / "trades_binance_20230404.csv.gz"
    running = subprocess.Popen(
        [*COMMAND, str(trades), "--speed", "1"],
        cwd=processes.ROOT,
        env=environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that runs us in the background has SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  no threads yet
    )

    def jvm() -> list[psutil.Process]:
        return [p for p in psutil.Process(running.pid).children(recursive=True) if "java" in p.name()]

    processes.wait_until(jvm, 60, "the JVM")
    running.send_signal(2)
    output, _ = running.communicate(timeout=5)
    assert running.returncode == 130
    assert "Traceback" not in output
