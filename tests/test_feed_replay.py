"""File replay: exact, each trade once, each bad line named, from any interruption on."""

from __future__ import annotations

import csv
import gzip
import json
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from feeding import Written, counts, entries, rejected, written
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import keys, wall_clock
from pipeline.entry import END_OF_STREAM
from pipeline.errors import InputFileError, InvalidTrade
from pipeline.feed import columns, lines
from pipeline.feed import replay as replaying
from pipeline.feed.columns import ColumnReader
from pipeline.feed.patience import FeedStopped
from pipeline.feed.replay import Progress, ReplayResult, feed_name, replay
from pipeline.feed.rows import read_header, read_row
from pipeline.feed.seen import SeenIds
from pipeline.feed.stream import TradeWriter
from pipeline.market import decimal_text, is_notional_too_large
from pipeline.settings import Settings

HEADER = "exchange,symbol,trade_id,event_time_ms,price,quantity,side,exec_type"
NOW_MS = 1_800_000_000_000


def line(number: int, **changed: str) -> str:
    """A good line with some fields changed."""
    fields = {
        "exchange": "binance-spot", "symbol": "BTCUSDT", "trade_id": str(number),
        "event_time_ms": str(1_700_000_000_000 + number), "price": "28165.47000000", "quantity": "0.00056000",
        "side": "sell", "exec_type": "",
    }  # fmt: skip
    return ",".join((fields | changed).values())


def file_of(folder: Path, rows: Sequence[str | bytes], name: str = "trades.csv", header: str = HEADER) -> Path:
    data = b"\n".join(row.encode() if isinstance(row, str) else row for row in (header, *rows)) + b"\n"
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def play(
    client: redis.Redis, *paths: Path, where: Sequence[tuple[str, str]] = (), stop: Any = None, **options: Any
) -> ReplayResult:
    options.setdefault("speed", None)
    writer = TradeWriter(client, Settings(), feed_name(paths, where), source="replay", stop=stop)
    return replay(paths, where, writer=writer, **options)


def judged(path: Path, where: dict[str, str]) -> list[Written]:
    """The file's trades by the standard library alone."""
    with gzip.open(path, "rt") as file:
        return [
            Written(
                row["symbol"],
                int(row["trade_id"]),
                int(row["event_time_ms"]),
                format(Decimal(row["price"]).normalize(), "f"),
                format(Decimal(row["quantity"]).normalize(), "f"),
                int(row["side"] == "buy"),
            )
            for row in csv.DictReader(file)
            if all(row[column] == text for column, text in where.items())
        ]


class TestRecorded:
    """Recorded trades, read back from the stream, against the standard library's reading."""

    @pytest.mark.parametrize(
        ("name", "where", "count"),
        [
            ("trades_binance_20230404.csv.gz", {}, 16_079),
            ("trades_binance_20230404.csv.gz", {"exchange": "binance-um", "exec_type": "MARKET"}, 12_934),
            ("trades_binance_spot_20240808.csv.gz", {"symbol": "ETHUSDT"}, 14_515),
            ("trades_binance_spot_20240808.csv.gz", {"trade_id": "3735683259"}, 1),
        ],
    )
    def test_every_trade_arrives_digit_by_digit_in_the_files_order(
        self, redis_client, shared_data: Path, name: str, where: dict[str, str], count: int
    ) -> None:
        result = play(redis_client, shared_data / name, where=list(where.items()))
        assert written(redis_client) == judged(shared_data / name, where)
        assert result == ReplayResult(count, 0, {}, max(trade.event_time_ms for trade in written(redis_client)))
        assert entries(redis_client)[-1].heartbeat_ms == END_OF_STREAM

    def test_a_file_given_twice_counts_once(self, redis_client, shared_data: Path) -> None:
        path = shared_data / "trades_binance_spot_20240808.csv.gz"
        result = play(redis_client, path, path)
        assert (result.trades, result.duplicates) == (34_419, 34_419)
        assert written(redis_client) == judged(path, {})

    def test_spot_and_futures_of_one_symbol_and_the_same_ids_are_different_markets(
        self, redis_client, tmp_path
    ) -> None:
        rows = [line(n, exchange=exchange) for exchange in ("spot", "um") for n in (1, 2, 2)]
        result = play(redis_client, file_of(tmp_path, rows))
        assert (result.trades, result.duplicates) == (4, 2)


BAD: list[tuple[str | bytes, str]] = [
    (line(1, price="NaN"), "price: not a finite number"),
    (line(1, price="-Infinity"), "price: not a finite number"),
    (line(1, quantity="inf"), "quantity: not a finite number"),
    (line(1, price="0"), "price: not above zero"),
    (line(1, price="0.0000"), "price: not above zero"),
    (line(1, price="-28165.47"), "price: not above zero"),
    (line(1, quantity="-0.1"), "quantity: not above zero"),
    (line(1, price=""), "price: not a number"),
    (line(1, price="28,165"), "not 8 columns"),
    (line(1, price="28 165"), "price: not a number"),
    (line(1, price="1_000"), "price: not a number"),
    (line(1, price="٣"), "price: not a number"),
    (line(1, price="0x10"), "price: not a number"),
    (line(1, price="1e999999999"), "price: not a number"),
    (line(1, price="1e99"), "price: too large"),
    (line(1, price="922337203.6854775808"), "price: too large"),
    (line(1, price="1.00000000001"), "price: more than 10 decimals"),
    (line(1, quantity="0.000000001"), "quantity: more than 8 decimals"),
    (line(1, price="0." + "0" * 100 + "1"), "price: more than 10 decimals"),
    (line(1, event_time_ms="1700000000"), "event time is in seconds, not in milliseconds"),
    (line(1, event_time_ms="1700000000000000"), "event time is in microseconds, not in milliseconds"),
    (line(1, event_time_ms="1"), "event time is before 2009"),
    (line(1, event_time_ms="4102444800000"), "event time is after 2099"),
    (line(1, price="922337203", quantity="5000"), "price times quantity is too large"),
    (line(1, event_time_ms="0"), "event time: not above zero"),
    (line(1, event_time_ms="1700000000000.5"), "event time: more than 0 decimals"),
    (line(1, event_time_ms="2023-04-04T23:58:00Z"), "event time: not a number"),
    (line(1, event_time_ms=str(NOW_MS)), "event time is in the future"),
    (line(1, side="hold"), "side is neither buy nor sell"),
    (line(1, side=""), "side is neither buy nor sell"),
    (line(1, symbol=""), "symbol is not 1 to 20 of A-Z 0-9 . _ @ -"),
    (line(1, symbol="B" * 21), "symbol is not 1 to 20 of A-Z 0-9 . _ @ -"),
    (line(1, symbol="btcusdt"), "symbol is not 1 to 20 of A-Z 0-9 . _ @ -"),
    (line(1, symbol="BTC\x00"), "symbol is not 1 to 20 of A-Z 0-9 . _ @ -"),
    (line(1, exec_type="x" * 70_000), "line is longer than 65536 bytes"),
    (line(1, exec_type="x" * 10_000_000), "line is longer than 65536 bytes"),
    (line(1).encode() + b"\xff\xfe", "line is not UTF-8"),
    ("garbage", "not 8 columns"),
    (line(1) + ",more", "not 8 columns"),
    ('a,"BTC,1,1700000000000,1,1,sell,', "not 8 columns"),
    (line(1, exec_type="a\rb"), "line holds a carriage return"),
    (HEADER, "symbol is not 1 to 20 of A-Z 0-9 . _ @ -"),
]


class TestBadLines:
    """A bad line costs its neighbours nothing, and can be found found."""

    @pytest.mark.parametrize("name", ["trades.csv", "trades.csv.gz"])
    @pytest.mark.parametrize("around", [3, 500], ids=["few lines", "many lines"])
    def test_each_is_rejected_by_itself_with_file_line_and_reason(
        self, redis_client, tmp_path, monkeypatch, name: str, around: int
    ) -> None:
        monkeypatch.setattr(wall_clock, "now_ms", lambda: NOW_MS - replaying.FUTURE_MS)
        rows: list[str | bytes] = []
        expected = []
        for number, (bad, reason) in enumerate(BAD):
            rows += [line(1_000 * number + n) for n in range(around)]
            rows.append(bad)
            expected.append((len(rows) + 1, reason))
        path = file_of(tmp_path, rows, name)
        result = play(redis_client, path)
        found = [(record["origin"], record["reason"]) for record in rejected(redis_client)]
        assert found == [(f"{path}:{number}", reason) for number, reason in expected]
        assert [trade.trade_id for trade in written(redis_client)] == [
            1_000 * number + n for number in range(len(BAD)) for n in range(around)
        ]
        assert result.trades == around * len(BAD)
        assert result.rejected == counts(redis_client)
        assert sum(result.rejected.values()) == len(BAD)

    def test_the_record_is_kept_shortened_and_readable(self, redis_client, tmp_path) -> None:
        rows = [b"\xff\x00bad", "y" * 9_000_000, line(1)]
        play(redis_client, file_of(tmp_path, rows))
        first, second = (record["record"] for record in rejected(redis_client))
        assert first == "\\xff\x00bad"
        assert second == "y" * 1_000

    def test_blank_lines_are_nothing_but_count_as_lines(self, redis_client, tmp_path) -> None:
        path = file_of(tmp_path, ["", line(1), "\r", "", "bad", line(2)] * 50)
        result = play(redis_client, path)
        assert (result.trades, result.duplicates, result.rejected) == (2, 98, {"not 8 columns": 50})
        assert rejected(redis_client)[1]["origin"] == f"{path}:{2 + 6 + 4}"

    def test_windows_line_ends_quotes_and_a_missing_last_newline_are_read(self, redis_client, tmp_path) -> None:
        path = tmp_path / "windows.csv"
        quoted = ",".join(f'"{field}"' for field in line(3).split(","))
        text = "\r\n".join(["\ufeff" + HEADER, *(line(n) for n in range(4, 200)), quoted, line(2)])
        path.write_bytes(text.encode())
        assert play(redis_client, path).trades == 198
        assert {trade.trade_id for trade in written(redis_client)} == set(range(2, 200))

    def test_a_cut_off_gzip_file_gives_what_it_has_and_says_where_it_ends(self, redis_client, tmp_path) -> None:
        whole = file_of(
            tmp_path, [line(n, price=f"{n * 7919 % 10007 + 1}") for n in range(200_000)], "whole.csv.gz"
        )
        cut = tmp_path / "cut.csv.gz"
        cut.write_bytes(whole.read_bytes()[: -whole.stat().st_size // 4])
        result = play(redis_client, cut)
        assert result.rejected == {"file is damaged or cut off": 1}
        assert 50_000 < result.trades < 200_000
        assert rejected(redis_client)[0]["origin"] == f"{cut}:{result.trades + 2}"

    def test_what_the_filter_leaves_out_is_not_judged(self, redis_client, tmp_path) -> None:
        rows = [line(1), line(2, exec_type="FUND", price="NaN"), line(3)]
        assert play(redis_client, file_of(tmp_path, rows), where=[("exec_type", "")]).trades == 2
        assert counts(redis_client) == {}


class TestInputFileErrors:
    @pytest.mark.parametrize(
        ("content", "where", "message"),
        [
            (None, [], "No such file or directory"),
            (b"", [], "there is no header"),
            (b"\n\n", [], "there is no header"),
            (b"\xff\xfe,\n", [], "the header cannot be read"),
            (b"\x1f\x8bnot gzip", [], "the header cannot be read"),
            (b"symbol,event_time_ms,quantity\n", [], "no column price, side in symbol,event_time_ms,quantity"),
            (HEADER.encode() + b"\n", [("venue", "x")], "no column venue in exchange,symbol,"),
        ],
    )
    def test_a_file_that_cannot_be_used_is_one_clear_error(
        self, redis_client, tmp_path, content: bytes | None, where: list[tuple[str, str]], message: str
    ) -> None:
        path = tmp_path / "trades.csv"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputFileError, match=message) as error:
            play(redis_client, path, where=where)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)

    def test_it_comes_before_anything_is_written(self, redis_client, tmp_path) -> None:
        with pytest.raises(InputFileError):
            play(redis_client, file_of(tmp_path, [line(1)]), tmp_path / "missing.csv")
        assert redis_client.keys() == []

    def test_a_folder_is_no_file(self, redis_client, tmp_path) -> None:
        with pytest.raises(InputFileError, match="Is a directory"):
            play(redis_client, tmp_path)


# Values that parsers disagree about, beside values that are good.
ODD_NUMBERS = ["1", "0.5", "007", "1e3", "1E-3", "+5", "-5", "-0", "0x1F", " 7 ", "\t7", "1.", ".5", ".", "",
         "nan", "NaN", "inf", "1_0", "1e", "e1", "--1", "٣", "9" * 19, "9" * 40, "1e40", "1." + "0" * 50,
         "0." + "0" * 50 + "1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e-400",
         "1e4000", "1\x00", '"1"', '"1', '1"', '"1"2', "a-b-c", "1e3e3", "\u2007", "\xa07",
         "1 000"]  # fmt: skip
number_texts = st.one_of(
    st.sampled_from(ODD_NUMBERS),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.text(alphabet="0123456789.eE+-_ \"'x\r\t\x00", max_size=8),
)
words = st.one_of(
    st.sampled_from(
        ["binance", "BTC", "ETHUSDT", "buy", "SELL", "Buy", "", "MARKET", '"BTC"', '"B""C"', "a\rb", '"', "é"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=6),
)
times = st.one_of(st.integers(1_600_000_000_000, 1_900_000_000_000).map(str), number_texts)
wild = st.builds(
    lambda *fields: ",".join(fields).encode(),
    words, words, number_texts, times, number_texts, number_texts, words, words,
)  # fmt: skip
mild = st.builds(
    lambda number, name, text: line(number, **{name: text}).encode(),
    st.integers(1, 999), st.sampled_from(["trade_id", "price", "quantity", "event_time_ms"]), number_texts,
)  # fmt: skip
any_line = st.one_of(mild, mild, mild, wild, st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")))


class TestTwoWaysOfReading:
    """Arrow and the row reader are two programs; they must say the same of any bytes."""

    @hypothesis_settings(
        max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        rows=st.lists(any_line, min_size=1, max_size=12),
        where=st.sampled_from([(), (("exec_type", ""),), (("side", "sell"), ("exchange", "binance-spot"))]),
        good_lines=st.sampled_from([0, 1, 5]),
    )
    def test_they_agree_on_any_lines(
        self, monkeypatch, rows: list[bytes], where: tuple[tuple[str, str], ...], good_lines: int
    ) -> None:
        monkeypatch.setattr(columns, "_BY_ROWS", 1)
        self.agree(
            [each for row in rows for each in (row, *(line(n).encode() for n in range(good_lines)))], where
        )

    @pytest.mark.parametrize("text", [*ODD_NUMBERS, "NA", "null", "#N/A", "true"])
    @pytest.mark.parametrize("column", ["trade_id", "price", "quantity", "event_time_ms", "symbol", "side"])
    def test_they_agree_on_a_block_that_is_odd_throughout(self, column: str, text: str) -> None:
        self.agree([line(n, **{column: text}).encode() for n in range(100)])

    @staticmethod
    def agree(rows: list[bytes], where: tuple[tuple[str, str], ...] = ()) -> None:
        header = read_header(HEADER, where, "test")
        reader = ColumnReader(header, NOW_MS)
        found = reader.read(b"".join(row + b"\n" for row in rows))
        expected, bad = [], []
        for place, row in enumerate(rows):
            try:
                one = read_row(row, header, NOW_MS)
            except InvalidTrade as error:
                bad.append((place, error.reason, row))
                continue
            if one is not None:
                expected.append((place, one))
        assert [tuple(one) for one in found.bad] == bad
        assert found.places.tolist() == [place for place, _ in expected]
        for index, (_, row) in enumerate(expected):
            record = found.records[index]
            assert reader.symbols[record["symbol"]] == row.symbol
            assert reader.markets[found.markets[index]] == (row.exchange, row.symbol)
            assert found.numbered[index] == (row.trade_id is not None)
            assert record["trade_id"] == (row.trade_id or 0)
            values = row.event_time_ms, row.price, row.quantity, row.side
            assert tuple(record[["event_time_ms", "price", "quantity", "side"]]) == values

    @hypothesis_settings(max_examples=200, deadline=None)
    @given(price=st.integers(1, 2**63 - 1), quantity=st.integers(1, 2**63 - 1), zeros=st.integers(0, 3))
    def test_any_price_and_quantity_comes_back_exactly(self, price: int, quantity: int, zeros: int) -> None:
        assume(not is_notional_too_large(price, quantity))
        texts = decimal_text(price, 10), decimal_text(quantity, 8)
        texts = tuple(text + "0" * zeros if "." in text else text for text in texts)
        data = (line(1, price=texts[0], quantity=texts[1]) + "\n").encode() * 100
        found = ColumnReader(read_header(HEADER, (), "test"), NOW_MS).read(data)
        assert found.records["price"].tolist() == [price] * 100
        assert found.records["quantity"].tolist() == [quantity] * 100

    def test_most_lines_of_a_file_with_bad_ones_still_go_the_fast_way(self, monkeypatch) -> None:
        slow = []
        monkeypatch.setattr(columns, "read_row", lambda text, *_: slow.append(text))
        rows = [line(n, price="x") if n % 5_000 == 0 else line(n) for n in range(20_000)]
        found = ColumnReader(read_header(HEADER, (), "test"), NOW_MS).read(
            "".join(f"{row}\n" for row in rows).encode()
        )
        assert len(slow) < 4 * 2 * 64  # of each bad line, the last two parts that were too small to try
        assert len(found.records) + len(slow) == 20_000


class TestTradeIds:
    @hypothesis_settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.lists(st.integers(-3, 40) | st.sampled_from([2**63 - 1, 1 - 2**63, 10**6]), max_size=12),
            max_size=6,
        )
    )
    def test_an_id_is_new_once_in_whatever_order_and_blocks_ids_come(self, blocks: list[list[int]]) -> None:
        seen, known = SeenIds(), set[int]()
        for block in blocks:
            expected = [number not in known and not known.add(number) for number in block]  # type: ignore[func-returns-value]
            assert seen.add(np.array(block, np.int64)).tolist() == expected

    def test_ids_older_than_all_remembered_holes_count_as_seen(self, monkeypatch) -> None:
        monkeypatch.setattr("pipeline.feed.seen.MAX_HOLES", 3)
        seen = SeenIds()
        seen.add(np.arange(0, 100, 10))
        assert seen.add(np.array([5, 65, 75, 85])).tolist() == [False, True, True, True]

    @pytest.mark.parametrize("count", [10, 1_000])
    def test_trades_without_a_number_are_numbered_by_their_line(
        self, redis_client, tmp_path, count: int
    ) -> None:
        rows = [
            line(n, trade_id=text) for n, text in enumerate(["a1-b2", "", "17", "1e2", "x" * 36] * (count // 5))
        ]
        first = file_of(tmp_path, rows)
        second = file_of(tmp_path, [row.replace(",17,", ",18,") for row in rows], "second.csv")
        play(redis_client, first, second)
        ids = [trade.trade_id for trade in written(redis_client)]
        expected = [place + 2 for place, _ in enumerate(rows)]
        expected[2], expected[3] = 17, 100
        kept = [n for place, n in enumerate(expected) if place % 5 not in {2, 3} or place < 5]
        later = [(1 << 40) + n for place, n in enumerate(expected) if place % 5 not in {2, 3}]
        later.insert(2, 18)
        assert ids == kept + later

    def test_a_file_without_exchange_and_trade_id_is_read(self, redis_client, tmp_path) -> None:
        path = file_of(
            tmp_path, ["BTC,buy,1,2,1700000000000"] * 200, header="symbol,side,price,quantity,event_time_ms"
        )
        play(redis_client, path)
        assert [trade.trade_id for trade in written(redis_client)] == list(range(2, 202))


class TestGoingOn:
    """A replay that ended anywhere goes on behind its last written line."""

    @pytest.mark.parametrize("block_bytes", [3_000, 4 * 1024 * 1024])
    def test_stopped_after_any_number_of_writes_each_trade_and_each_bad_line_is_there_once(
        self, redis_client, tmp_path, monkeypatch, block_bytes: int
    ) -> None:
        monkeypatch.setattr(lines, "BLOCK_BYTES", block_bytes)
        rows: list[str | bytes] = [line(n) if n % 9 else f"bad {n}" for n in range(1, 500)]
        rows += [line(n) for n in range(450, 600)]  # delivered again, then new ones
        paths = [
            file_of(tmp_path, rows),
            file_of(tmp_path, rows[300:] + [line(n) for n in range(600, 700)], "b.csv.gz"),
        ]
        results = []
        for _ in range(200):
            stop, step = threading.Event(), iter(range(3))
            writer = TradeWriter(redis_client, Settings(), feed_name(paths, ()), source="replay", stop=stop)
            writer.bulk_trades = 37
            original = writer.write

            def write(
                *args: Any, _write: Any = original, _step: Any = step, _stop: Any = stop, **options: Any
            ) -> None:
                _write(*args, **options)
                if next(_step, None) is None:
                    _stop.set()

            writer.write = write  # type: ignore[method-assign]
            writer.wait_until_read = lambda: None  # type: ignore[method-assign]
            try:
                results.append(replay(paths, (), None, writer))
                break
            except FeedStopped:
                continue
        expected = [n for n in range(1, 500) if n % 9] + [n for n in range(450, 600) if n >= 500 or n % 9 == 0]
        assert [trade.trade_id for trade in written(redis_client)] == expected + list(range(600, 700))
        assert counts(redis_client) == {"not 8 columns": 55 + len([n for n in range(301, 500) if n % 9 == 0])}
        assert len(rejected(redis_client)) == sum(counts(redis_client).values())
        (result,) = results
        assert result.trades == len(written(redis_client)) == int(redis_client.hget(keys.FEED, "trades"))
        assert result.rejected == counts(redis_client)

    @pytest.mark.parametrize("name", ["trades.csv", "trades.csv.gz"])
    def test_what_lies_far_behind_is_not_read_again(
        self, redis_client, tmp_path, monkeypatch, name: str
    ) -> None:
        """The first half of the file is spoilt while the replay is down: it must not notice."""
        monkeypatch.setattr(lines, "BLOCK_BYTES", 3_000)
        monkeypatch.setattr(replaying, "PROGRESS_S", 0)
        rows = [line(n, symbol="BTC" if n % 2 else "ETH") for n in range(1, 1_001)]
        path, stop = file_of(tmp_path, rows, name), threading.Event()
        with pytest.raises(FeedStopped):
            play(redis_client, path, stop=stop, on_progress=lambda p: stop.set() if p.trades > 700 else None)
        file_of(tmp_path, ["#" * len(row) for row in rows[:500]] + rows[500:] + rows[900:], name)
        newest = redis_client.xrevrange(keys.trades_stream(0), count=1)[0][0]
        redis_client.hset(keys.progress(0), "position", newest)  # a job that has read it all
        result = play(redis_client, path)
        assert (result.trades, result.duplicates, result.rejected) == (1_000, 100, {})
        assert [trade.trade_id for trade in written(redis_client)] == list(range(1, 1_001))

    def test_played_again_after_its_end_it_writes_nothing_and_gives_the_same_sums(
        self, redis_client, tmp_path
    ) -> None:
        path = file_of(tmp_path, [line(1), "bad", line(1)])
        first = play(redis_client, path)
        before = redis_client.xlen(keys.trades_stream(0))
        assert play(redis_client, path) == first == ReplayResult(1, 1, {"not 8 columns": 1}, 1_700_000_000_001)
        assert redis_client.xlen(keys.trades_stream(0)) == before

    def test_other_files_or_filters_are_another_replay(self, tmp_path) -> None:
        a, b = tmp_path / "a.csv", tmp_path / "b.csv"
        names = [
            feed_name([a], []),
            feed_name([b], []),
            feed_name([a, b], []),
            feed_name([a], [("side", "buy")]),
        ]
        assert len(set(names)) == 4
        assert feed_name([a], []) == names[0]


class TestSpeed:
    def test_at_the_files_own_speed_each_trade_waits_for_its_time(
        self, redis_client, tmp_path, monkeypatch
    ) -> None:
        """The clock is the test's: a wait moves it."""
        clock = [100.0]
        monkeypatch.setattr(replaying.time, "monotonic", lambda: clock[0])

        class Stop(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                clock[0] += timeout or 0
                return False

        seen: list[tuple[float, int]] = []
        writer = TradeWriter(redis_client, Settings(), "test", source="replay", stop=Stop())
        original = writer.write

        def write(symbols: Any, trades: Any, *args: Any, **options: Any) -> None:
            seen.extend((clock[0], int(time_ms)) for time_ms in trades["event_time_ms"])
            original(symbols, trades, *args, **options)

        monkeypatch.setattr(writer, "write", write)
        offsets = [0, 1, 5, 900, 900, 400, 4_000, 60_000]
        rows = [line(n, event_time_ms=str(1_700_000_000_000 + offset)) for n, offset in enumerate(offsets)]
        replay([file_of(tmp_path, rows)], [], 10, writer)
        for left_at, time_ms in seen:
            early = (time_ms - 1_700_000_000_000) / 10_000 - (left_at - 100.0)
            assert early <= 0.001 or early == 0
        lateness = [left_at - 100.0 - max(offsets[: n + 1]) / 10_000 for n, (left_at, _) in enumerate(seen)]
        assert len(seen) == len(offsets)
        assert max(lateness) < 0.03  # of the test's clock: what gathering trades may cost
        beats = [
            entry.heartbeat_ms - 1_700_000_000_000 for entry in entries(redis_client)[:-1] if entry.heartbeat_ms
        ]
        assert len(beats) > 20  # six seconds of silence
        assert [beat for beat in beats if not 900 <= beat < 60_000] == []

    def test_a_line_dated_months_ahead_of_its_neighbours_is_not_waited_for(
        self, redis_client, tmp_path, monkeypatch
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr(replaying.time, "monotonic", lambda: clock[0])

        class Stop(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                clock[0] += timeout or 0
                assert clock[0] < 200, "it waits for the false date"
                return False

        writer = TradeWriter(redis_client, Settings(), "test", source="replay", stop=Stop())
        offsets = [0, 500, 90 * 86_400_000, 1_000, 2_000]
        rows = [line(n, event_time_ms=str(1_700_000_000_000 + offset)) for n, offset in enumerate(offsets)]
        result = replay([file_of(tmp_path, rows)], [], 1, writer, is_last=False)
        assert [trade.trade_id for trade in written(redis_client)] == [0, 1, 2, 3, 4]
        assert 101.9 < clock[0] < 102.5
        assert result.event_time_ms == 1_700_000_002_000
        # Its last heartbeat closes the hours of these trades, not of the false date.
        assert entries(redis_client)[-1].heartbeat_ms <= 1_700_000_002_000 + 2 * 3_600_000

    def test_progress_rises_to_the_end(self, redis_client, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(lines, "BLOCK_BYTES", 5_000)
        monkeypatch.setattr(replaying, "PROGRESS_S", 0)
        shown: list[tuple[float, int]] = []

        def show(progress: Progress) -> None:
            shown.append((progress.part, progress.trades))

        play(redis_client, file_of(tmp_path, [line(n) for n in range(2_000)]), on_progress=show)
        assert shown == sorted(shown)
        assert len(shown) > 10
        assert shown[-1] == (1.0, 2_000)


def test_a_replay_that_is_not_the_last_closes_its_own_hours_and_leaves_the_streams_open(
    redis_client, tmp_path
) -> None:
    play(redis_client, file_of(tmp_path, [line(1)]), is_last=False)
    beat = entries(redis_client)[-1].heartbeat_ms
    assert beat % 3_600_000 == 0
    assert 1_700_000_000_001 + 3_600_000 < beat <= 1_700_000_000_001 + 2 * 3_600_000


def test_the_position_is_the_last_written_line(redis_client, tmp_path, monkeypatch) -> None:
    positions = []
    original: Callable[..., None] = TradeWriter.write
    monkeypatch.setattr(
        TradeWriter, "write", lambda self, *args, **o: (positions.append(args[2]), original(self, *args, **o))
    )
    play(redis_client, file_of(tmp_path, [line(1), "bad", line(3)]), file_of(tmp_path, [line(4)], "b.csv"))
    assert positions[:2] == ["0:4", "1:2"]
    assert json.loads(positions[2])["trades"] == 3
