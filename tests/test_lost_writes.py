"""A Redis that is not as the job left it: rolled back, wiped, trimmed, or away. Real Redis, real steps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from pipeline import keys, past
from pipeline.candle import Candle
from pipeline.candle_writer import LostWrites
from pipeline.entry import END_OF_STREAM
from pipeline.feed.stream import TradeWriter
from pipeline.market import INTERVALS
from pipeline.settings import Settings
from tests.feeding import RedisServer
from tests.golden import Deal, golden, golden_candle
from tests.job_steps import Job
from tests.test_intake import NAMES, T0, records
from tests.writing import unpublished

DEALS = [Deal(n % 3, T0 + 700 * n, n, 10**12 + 7 * n, 10**8 + n, n % 2 == 0) for n in range(1, 401)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


class Feed:
    """Writes DEALS in order. Each time it is as if it had been started again: Redis says what it has."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def _writer(self) -> tuple[TradeWriter, int]:
        writer = TradeWriter(self._server.client(), Settings(), "test", source="test")
        return writer, int(writer.resume().position or 0)

    def write_until(self, end: int) -> None:
        writer, done = self._writer()
        for start in range(done, end, 10):
            writer.write(NAMES, records(DEALS[start : start + 10]), str(start + 10))

    def end(self) -> None:
        self._writer()[0].heartbeat(END_OF_STREAM)


@pytest.fixture
def kept_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a state after every poll that read something."""
    monkeypatch.setattr("pipeline.shard_reader.EVERY_S", -1.0)


def assert_golden(client: redis.Redis, deals: list[Deal]) -> None:
    for interval in INTERVALS:
        expected = golden(deals, interval)
        for symbol, name in enumerate(NAMES):
            found = client.zrange(keys.history(name, interval.value), 0, -1)
            assert [unpublished(Candle.from_json(text)) for text in found] == [
                golden_candle(name, interval, open_ms, sums)
                for (code, open_ms), sums in expected.items()
                if code == symbol
            ]


def copy_file(server: RedisServer, folder: Path) -> Path:
    """The append-only file as it is now: what a machine that lost power might come back with."""
    return Path(shutil.copy(folder / "appendonly.aof", folder / "older.aof"))


def roll_back(server: RedisServer, older: Path) -> None:
    server.kill()
    older.replace(older.with_name("appendonly.aof"))
    server.start()


def test_what_redis_lost_is_folded_once_in_the_same_life(
    server: RedisServer, tmp_path: Path, kept_often: None, caplog: pytest.LogCaptureFixture
) -> None:
    feed, job = Feed(server), Job(server.url)
    feed.write_until(100)
    job.read_all()
    older = copy_file(server, tmp_path)
    feed.write_until(200)
    job.read_all()
    roll_back(server, older)
    feed.write_until(300)  # the feed, too, finds its older position, and writes those trades again
    job.read_all()
    feed.end()
    job.read_all()
    assert "Redis has lost what came after entry" in caplog.text
    assert_golden(server.client(), DEALS[:300])
    assert server.client().hget(keys.progress(0), "rewound") == b"1"
    assert server.client().hget(keys.progress(0), "trades") == b"300"


@pytest.mark.parametrize("kept", [True, False], ids=["to a kept state", "to the beginning of the stream"])
def test_a_checkpoint_that_is_ahead_of_redis_is_gone_back_behind(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr("pipeline.shard_reader.EVERY_S", -1.0 if kept else 1e9)
    feed, job = Feed(server), Job(server.url)
    feed.write_until(100)
    job.read_all()
    older = copy_file(server, tmp_path)
    feed.write_until(200)
    job.read_all()
    checkpoint = job.checkpoint()
    roll_back(server, older)
    feed.write_until(250)
    restored = Job(server.url, checkpoint)
    feed.end()
    restored.read_all()
    assert_golden(server.client(), DEALS[:250])
    assert restored.reader.position.rewound == 1


def test_candles_that_were_lost_while_their_entries_survived_are_written_again(
    server: RedisServer, tmp_path: Path, kept_often: None
) -> None:
    feed, job = Feed(server), Job(server.url)
    feed.write_until(100)
    job.read_all()
    feed.write_until(200)
    older = copy_file(server, tmp_path)  # the entries are in it, what is made of them is not
    job.read_all()
    checkpoint = job.checkpoint()
    roll_back(server, older)
    restored = Job(server.url, checkpoint)
    feed.end()
    restored.read_all()
    assert_golden(server.client(), DEALS[:200])


def test_candles_that_were_lost_while_their_entries_survived_stop_the_job_before_it_writes_on(
    server: RedisServer, tmp_path: Path, kept_often: None
) -> None:
    feed, job = Feed(server), Job(server.url)
    feed.write_until(100)
    job.read_all()
    checkpoint = job.checkpoint()
    feed.write_until(200)
    older = copy_file(server, tmp_path)
    job.read_all()
    roll_back(server, older)
    feed.write_until(220)
    with pytest.raises(LostWrites, match="Redis has confirmed"):
        job.read_all()
    assert server.client().hget(keys.progress(0), "trades") == b"100", "nothing was written on top"
    restored = Job(server.url, checkpoint)  # what Flink does then
    feed.end()
    restored.read_all()
    assert_golden(server.client(), DEALS[:220])


def test_a_redis_that_was_only_killed_loses_nothing_and_is_not_gone_back_behind(
    server: RedisServer, kept_often: None
) -> None:
    feed, job = Feed(server), Job(server.url)
    for end in (100, 200, 300):
        feed.write_until(end)
        job.read_all()
        server.kill()
        server.start()
    feed.end()
    job.read_all()
    assert_golden(server.client(), DEALS[:300])
    assert job.reader.position.rewound == 0


@pytest.mark.parametrize("how", ["flushed under a living connection", "replaced by an empty one"])
def test_a_wiped_redis_is_begun_anew_without_the_windows_of_the_old_one(
    server: RedisServer, tmp_path: Path, kept_often: None, how: str
) -> None:
    feed, job = Feed(server), Job(server.url)
    feed.write_until(150)
    job.read_all()
    if how.startswith("flushed"):
        server.client().flushall()
    else:
        server.kill()
        (tmp_path / "appendonly.aof").unlink()
        server.start()
        job = Job(server.url, job.checkpoint())
    job.poll()  # nothing is there yet
    feed.write_until(120)
    feed.end()
    job.read_all()
    assert_golden(server.client(), DEALS[:120])
    assert server.client().hget(keys.progress(0), "trades") == b"120"


def test_a_stream_trimmed_past_the_position_is_counted_and_the_rest_is_folded(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    feed, job = Feed(server), Job(server.url)
    feed.write_until(50)
    job.read_all()
    checkpoint = job.checkpoint()
    feed.write_until(150)
    server.client().xtrim(keys.trades_stream(0), maxlen=4, approximate=False)
    restored = Job(server.url, checkpoint)
    restored.read_all()
    assert restored.reader.position.lost == 1
    assert restored.reader.position.trades == 50 + 40
    assert server.client().hget(keys.progress(0), "lost") == b"1"
    assert "trimmed past our position" in caplog.text


def test_nothing_is_counted_as_lost_where_only_what_was_read_is_trimmed(server: RedisServer) -> None:
    feed, job = Feed(server), Job(server.url)
    feed.write_until(150)
    job.read_all()
    server.client().xtrim(keys.trades_stream(0), maxlen=1, approximate=False)
    restored = Job(server.url, job.checkpoint())
    feed.write_until(200)
    restored.read_all()
    assert restored.reader.position.lost == restored.reader.position.rewound == 0
    assert restored.reader.position.trades == 200


def test_redis_away_is_waited_for_ever_more_slowly_and_said_once(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    feed, job = Feed(server), Job(server.url)
    feed.write_until(50)
    job.read_all()
    server.kill()
    for _ in range(6):
        job.poll()
        assert job.reader.next_poll_ms > 0
    server.start()
    feed.write_until(100)
    job.read_all()
    assert job.reader.position.trades == 100
    assert [line for line in caplog.messages if "reading trades" in line] == [
        line for line in caplog.messages if "away or refuses" in line or "answers again" in line
    ]
    assert sum("reading trades: Redis is away" in line for line in caplog.messages) == 1


def test_states_are_kept_up_to_a_bound_and_the_newest_that_fits_is_found() -> None:
    kept = past.Past()
    for n in range(past.KEPT + 5):
        kept.keep(f"{n}-3", b"%d" % n)
    assert kept.back_to("9-9") == ("9-3", b"9")
    assert kept.back_to("9-2") == ("8-3", b"8")
    assert past.Past.load(kept.save()).back_to("100-0") == ("8-3", b"8"), "what is newer never was"
    assert kept.back_to("4-0") == (past.BEGINNING, None)
