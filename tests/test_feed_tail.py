"""Binary entries as lines for people."""

from __future__ import annotations

import contextlib
import io
import threading
from decimal import Decimal

from pipeline import keys
from pipeline.entry import END_OF_STREAM, RECORD, records
from pipeline.feed.stream import NO_TRADES, TradeWriter
from pipeline.feed.tail import lines, tail
from pipeline.market import Side, Trade
from pipeline.settings import Settings

TRADES = [
    Trade("BTCUSDT", 17, 1_680_652_799_999, Decimal("28165.47"), Decimal("0.00056"), Side.SELL),
    Trade("DOGE", 3, 1_680_652_800_004, Decimal("0.0000000001"), Decimal(92_000_000_000), Side.BUY),
]


def writer_for(client) -> TradeWriter:
    writer = TradeWriter(client, Settings(), "test", source="test")
    writer.resume()
    return writer


def test_each_trade_is_a_line_with_its_exact_numbers_and_utc_time(redis_client) -> None:
    writer = writer_for(redis_client)
    writer.write(*records(TRADES), "1", heartbeat_ms=1_680_652_801_000)
    writer.end_of_stream()
    out = io.StringIO()
    tail(redis_client, 0, follow=False, out=out)
    first, second, beat, end = (line.split()[1:] for line in out.getvalue().splitlines())
    assert first == ["2023-04-04", "23:59:59.999", "BTCUSDT", "sell", "28165.47", "0.00056", "id", "17"]
    assert second == ["2023-04-05", "00:00:00.004", "DOGE", "buy", "0.0000000001", "92000000000", "id", "3"]
    assert beat == ["2023-04-05", "00:00:01.000", "heartbeat"]
    assert end == ["end", "of", "the", "stream"]


def test_only_the_newest_entries_are_printed(redis_client) -> None:
    writer = writer_for(redis_client)
    for number in range(20):
        writer.write((), NO_TRADES, str(number), heartbeat_ms=1_680_652_801_000 + number)
    out = io.StringIO()
    tail(redis_client, 0, follow=False, last=2, out=out)
    assert [line.split()[2] for line in out.getvalue().splitlines()] == ["00:00:01.018", "00:00:01.019"]


def test_followed_a_stream_goes_on_as_entries_come(redis_client, redis_url) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            if self.getvalue().count("\n") >= 3:
                raise BrokenPipeError

    writer = writer_for(redis_client)
    writer.write(*records(TRADES[:1]), "1")
    out, ended = Closed(), threading.Event()

    def follow() -> None:
        try:
            tail(redis_client, 0, follow=True, out=out)
        except BrokenPipeError:
            ended.set()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    writer.write(*records(TRADES), "2")
    assert ended.wait(10)
    assert [line.split()[3] for line in out.getvalue().splitlines()] == ["BTCUSDT", "BTCUSDT", "DOGE"]


def test_followed_from_now_on_it_prints_nothing_old(redis_client) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            if self.getvalue():
                raise BrokenPipeError
            writer.write(*records(TRADES[1:]), "2") if not writer.stop.is_set() else None
            writer.stop.set()

    writer = writer_for(redis_client)
    writer.write(*records(TRADES[:1]), "1")
    out = Closed()
    with contextlib.suppress(BrokenPipeError):
        tail(redis_client, 0, follow=True, last=0, out=out)
    assert [line.split()[3] for line in out.getvalue().splitlines()] == ["DOGE"]


def test_an_empty_stream_prints_nothing(redis_client) -> None:
    out = io.StringIO()
    tail(redis_client, 5, follow=False, out=out)
    assert out.getvalue() == ""


def test_what_cannot_be_read_is_said_and_stops_nothing() -> None:
    (torn,) = lines(b"1-0", {b"trades": b"xyz", b"symbols": b"BTC"})
    assert torn.startswith("1-0  torn entry")
    trades = records(TRADES[:1])[1].astype(RECORD)
    trades["side"], trades["event_time_ms"] = 9, 2**62
    (odd,) = lines(b"1-0", {b"trades": trades.tobytes(), b"symbols": b"BTC"})
    assert f"{2**62}  BTC" in odd and "side 9" in odd


def test_the_end_of_the_stream_is_no_date() -> None:
    assert list(lines(b"1-0", {b"heartbeat": str(END_OF_STREAM).encode()})) == ["1-0  end of the stream"]
    assert keys.trades_stream(0) == "crypto:trades:0"
