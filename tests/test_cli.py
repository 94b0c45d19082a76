from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from pipeline import keys
from pipeline.candle import CSV_HEADER, candle_json
from pipeline.cli import main
from pipeline.cli.export import write_csv
from pipeline.cli.progress import Progress
from pipeline.errors import InputFileError
from pipeline.market import Interval
from pipeline.settings import Settings, without_secret

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def closed(symbol: str, interval: Interval, open_time_ms: int, price: str = "100.10000001") -> str:
    return candle_json(
        symbol, interval, open_time_ms, price, price, price, price, "0.5", "50.05", "0",
        trade_count=3, is_closed=True, epoch=1, seq=1, published_at_ms=1,
    )  # fmt: skip


def save(client: redis.Redis, symbol: str, interval: Interval, *open_times_ms: int) -> None:
    client.sadd(keys.SYMBOLS, symbol)
    for open_time_ms in open_times_ms:
        client.zadd(
            keys.history(symbol, interval.value), {closed(symbol, interval, open_time_ms): open_time_ms}
        )


def test_the_export_is_sorted_by_symbol_interval_and_time_and_exact(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    save(redis_client, "ETH", Interval.M1, 120_000, 60_000)
    save(redis_client, "BTC", Interval.H1, 0)
    save(redis_client, "BTC", Interval.S1, 2_000, 1_000)
    path = tmp_path / "candles.csv"
    assert write_csv(redis_client, path) == 5
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(CSV_HEADER)
    assert [row[:3] for row in rows[1:]] == [
        ["BTC", "1s", "1000"],
        ["BTC", "1s", "2000"],
        ["BTC", "1h", "0"],
        ["ETH", "1m", "60000"],
        ["ETH", "1m", "120000"],
    ]
    assert rows[1][3:] == ["100.10000001"] * 4 + ["0.5", "50.05", "0", "3"]


def test_an_export_of_more_candles_than_are_read_at_once_misses_none(
    redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.cli.export._PAGE", 7)
    save(redis_client, "BTC", Interval.S1, *range(0, 50_000, 1_000))
    assert write_csv(redis_client, tmp_path / "candles.csv") == 50
    assert len((tmp_path / "candles.csv").read_text().splitlines()) == 51


def test_an_export_that_cannot_be_written_names_the_file(redis_client: redis.Redis, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="nowhere"):
        write_csv(redis_client, tmp_path / "nowhere" / "candles.csv")


def test_an_export_appears_whole_or_not_at_all(redis_client: redis.Redis, tmp_path: Path) -> None:
    save(redis_client, "BTC", Interval.S1, 1_000)
    (tmp_path / "candles.csv").mkdir()  # the last step, the renaming, cannot succeed
    with pytest.raises(InputFileError, match="cannot be written"):
        write_csv(redis_client, tmp_path / "candles.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["candles.csv"]


def test_status_tells_what_runs_and_how_far_it_is(redis_client: redis.Redis, redis_url: str) -> None:
    redis_client.xadd(keys.trades_stream(0), {"heartbeat": "1"}, id="5000-0")
    redis_client.hset(
        keys.FEED,
        mapping={"source": "simulator", "simulated": 1, "detail": "", "trades": 12_345, "updated_at_ms": 1},
    )
    redis_client.hset(
        keys.progress(0),
        mapping={
            "position": "2000-0", "trades": 10_000, "late": 7, "lost": 2, "closed": 99, "watermark_ms": 1,
            "event_time_ms": 1_700_000_000_000, "updated_at_ms": 1,
        },
    )  # fmt: skip
    redis_client.hset(keys.REJECTED_COUNTS, mapping={"not a number": 3, "too large": 1})
    done = run("status", REDIS_URL=redis_url)
    assert done.returncode == 0, done.stderr
    lines = {line[:11].strip(): line[11:] for line in done.stdout.splitlines()}
    assert "simulator (simulated), 12,345 trades" in lines["feed"]
    assert "10,000 trades folded, 7 late, 2 entries lost, 99 candles closed" in lines["job 0"]
    assert "event time 2023-11-14 22:13:20 UTC, 3.0 s behind" in lines["job 0"]
    assert lines["rejected"] == "4 (3 not a number, 1 too large)"


def test_status_before_anything_has_run_is_no_error(redis_url: str) -> None:
    done = run("status", REDIS_URL=redis_url, SHARDS="2")
    assert done.returncode == 0, done.stderr
    assert "has not started yet" in done.stdout
    assert done.stdout.count("has not folded anything yet") == 2


@pytest.mark.parametrize("command", ["status", "tail"])
def test_a_redis_that_is_not_there_is_one_line_without_its_password(command: str) -> None:
    done = run(command, REDIS_URL="redis://somebody:hunter2@127.0.0.1:1/0")
    assert done.returncode == 1
    assert done.stderr.startswith("candlecast: no Redis at redis://127.0.0.1:1/0: ")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://host:6379/0"),
        ("rediss://host:6380/1?password=secret", "rediss://host:6380/1"),
        ("unix:///tmp/redis.sock", "unix:///tmp/redis.sock"),
        ("redis://:sec@ret@host:6379/0", "redis://host:6379/0"),
        ("https://user:secret@host/path?token=secret#secret", "https://host/path"),
        ("redis://:secret@[host", "(not a URL)"),
        ("unix://user:secret@/tmp/redis.sock?db=1", "unix:///tmp/redis.sock"),
    ],
)
def test_no_secret_of_a_url_is_shown(url: str, shown: str) -> None:
    assert without_secret(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@host",
        "hunter2",
        "redis://:hunter2/x@host:6379",
        "redis://:hun#ter2@host",
        "redis://:1@[hunter2",
    ],
)
def test_a_redis_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    done = run("status", REDIS_URL=url)
    assert done.returncode == 2
    assert done.stderr.startswith("candlecast: REDIS_URL=(secret): must ")
    assert "hunter2" not in done.stderr and "ter2" not in done.stderr


def test_settings_hold_no_secret_in_their_repr() -> None:
    secret = {
        "redis_url": "redis://:hunter2@host",
        "ws_token": "hunter2",
        "alert_webhook_url": "https://h/hunter2",
    }
    assert "hunter2" not in repr(Settings(**secret))


@pytest.mark.parametrize("command", ["feed", "job"])
def test_feed_and_job_without_a_redis_say_so(command: str) -> None:
    done = run(command, REDIS_URL="")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("candlecast: REDIS_URL is not set")
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHARDS", "many")
    assert main(["settings"]) == 2
    assert capsys.readouterr().err.startswith("candlecast: SHARDS='many'")


def test_a_reader_that_goes_away_is_no_error(redis_client: redis.Redis, redis_url: str) -> None:
    for n in range(2_000):
        redis_client.xadd(keys.trades_stream(0), {"heartbeat": str(1_700_000_000_000 + n)})
    command = f"{sys.executable} -m pipeline tail --last 2000 | head -n 1"
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        env={**os.environ, "REDIS_URL": redis_url},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("version", ["(3, 10, 13)", "(3, 13, 0)", "(4, 0, 0)"])
@pytest.mark.parametrize("start", ["runpy.run_module('pipeline')", "runpy.run_path('app.py')"])
def test_another_python_version_is_refused_in_one_line_that_names_those_to_use(
    version: str, start: str
) -> None:
    program = f"import runpy, sys; sys.version_info = {version}; sys.path.insert(0, '.'); {start}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Candlecast needs Python 3.11 or 3.12")
    assert done.stderr.count("\n") == 1


def test_progress_elsewhere_than_on_a_terminal_is_plain_lines_now_and_then() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    for n in range(1_000):
        progress.show("replay", n / 1_000, n, 1_700_000_000_000)
    progress.show("replay", 1.0, 1_000, 1_700_000_000_000, now=True)
    progress.end()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2, "the first, and the last"
    assert lines[-1] == "replay 100%  1,000 trades  event time 2023-11-14 22:13:20 UTC"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line_that_is_overwritten_whole() -> None:
    stream = Terminal()
    progress = Progress(stream)
    progress.show("a long word to begin with", 0.0, 0, 1_700_000_000_000, now=True)
    progress.show("replay", 0.5, 12, 0, now=True)
    progress.end()
    first, second = stream.getvalue().lstrip("\r").split("\r")
    assert "\n" not in first
    assert second.startswith("[############............] replay  50%  12 trades")
    assert len(second.rstrip("\n")) >= len(first), "rests of the longer line would stay on the screen"
    assert second.endswith("\n")


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        ("replay:", "FEED='replay:': must be "),
        ("replay:/absent.csv", "FEED=replay:/absent.csv: /absent.csv: No such file or directory"),
        ("replay:/", "FEED=replay:/: /: Is a directory"),
        ("replay:README.md", "FEED=replay:README.md: README.md: no column symbol"),
    ],
)
def test_a_feed_of_a_file_that_cannot_be_played_is_one_line_before_anything_is_written(
    redis_url: str, redis_client: redis.Redis, feed: str, words: str
) -> None:
    done = run("feed", REDIS_URL=redis_url, FEED=feed)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"candlecast: {words}")
    assert redis_client.keys() == []
