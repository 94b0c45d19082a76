"""The gateway's parts that need no server: slots, frames on the wire, doors, the rate."""

from __future__ import annotations

import json
from collections.abc import Generator

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers, QueryParams
from websockets.frames import Frame as ParsedFrame
from websockets.frames import Opcode
from websockets.streams import StreamReader

from pipeline.errors import SettingsError
from pipeline.gateway import doors, frames
from pipeline.gateway.endpoint import Rate
from pipeline.gateway.metrics import Histogram
from pipeline.gateway.slots import Slot, Slots
from pipeline.gateway.wire import Frame
from pipeline.settings import Settings
from tests.candles import candle, update

revisions = st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 4), st.booleans()), max_size=40)


@given(revisions)
def test_slots_keep_all_closed_candles_and_the_newest_forming_ones_in_order(
    sent: list[tuple[str, int, bool]],
) -> None:
    slots: Slots[int] = Slots()
    superseded: list[int] = []
    for seq, (symbol, open_time_ms, is_closed) in enumerate(sent):
        superseded += slots.put(Slot(symbol, "1m", open_time_ms, is_closed), seq)
    kept = slots.take()

    assert sorted([*superseded, *(seq for _, seq in kept)]) == list(range(len(sent))), "none is lost uncounted"
    assert [seq for _, seq in kept] == sorted(seq for _, seq in kept), "in the order of their coming"
    newest_closed = {window[:2]: seq for seq, window in enumerate(sent) if window[2]}
    assert newest_closed == {slot[0:3:2]: seq for slot, seq in kept if slot.is_closed}
    for slot, seq in kept:
        if not slot.is_closed:
            later = [n for n, window in enumerate(sent) if window[:2] == slot[0:3:2] and n > seq]
            assert later == [], "a forming candle that waits is its window's newest revision"
    assert len(slots) == 0


def test_slots_pop_what_waits_longest() -> None:
    slots: Slots[str] = Slots()
    slots.put(Slot("A", "1m", 0, False), "old")
    slots.put(Slot("B", "1m", 0, False), "second")
    slots.put(Slot("A", "1m", 0, False), "new")
    assert [slots.pop(), slots.pop()] == ["second", "new"]
    with pytest.raises(KeyError):
        slots.pop()


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_frame_on_the_wire_is_what_another_library_reads(length: int) -> None:
    frame = Frame(b"x" * length)
    reader = StreamReader()
    reader.feed_data(frame.wire)
    parsing: Generator[None, None, ParsedFrame] = ParsedFrame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    parsed: ParsedFrame = done.value.value
    assert (parsed.opcode, parsed.fin, bytes(parsed.data)) == (Opcode.TEXT, True, frame.payload)


def test_every_frame_that_can_be_made_has_a_schema_and_fits_it() -> None:
    one = update(seq=3)
    made = [
        frames.connection("BTC", "1m"), frames.connection("ALL", "1h"), frames.initial_data(one),
        frames.price_update(one), frames.price_update(one, "history"), frames.gap("BTC", "1m", (1, 2), "x"),
        frames.keepalive(), frames.pong(), frames.error("x"),
    ]  # fmt: skip
    kinds = set()
    for frame in made:
        read = json.loads(frame.text)
        kinds.add(read["type"])
        jsonschema.validate(read, frames.FRAME_SCHEMAS[read["type"]])
    assert kinds == set(frames.FRAME_SCHEMAS)
    for schema in (*frames.FRAME_SCHEMAS.values(), frames.CANDLES_SCHEMA, frames.STATS_SCHEMA):
        jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"type": "ping"}, frames.CLIENT_FRAME_SCHEMA)


def test_the_candles_schema_is_the_candle_that_is_published() -> None:
    assert list(json.loads(candle())) == frames.CANDLE_SCHEMA["required"]


@pytest.mark.parametrize(
    ("origin", "host", "answer"),
    [
        ("http://localhost:8501", "localhost:8501", True),
        ("https://charts.example", "charts.example", True),
        ("https://charts.example:443", "charts.example", True),
        ("http://charts.example", "charts.example:80", True),
        ("HTTP://LOCALHOST:8501", "localhost:8501", True),
        ("http://localhost:8502", "localhost:8501", False),
        ("http://localhost", "localhost:8501", False),
        ("http://localhost:8501.evil.example", "localhost:8501", False),
        ("null", "localhost:8501", False),
        ("null", "", False),
        ("", "", False),
        ("http://", "", False),
        ("chrome-extension://abc", "abc", False),
    ],
)
def test_an_origin_is_ours_if_scheme_host_and_port_are(origin: str, host: str, answer: bool) -> None:
    assert doors.origin_allowed(Headers({"origin": origin, "host": host}), ()) is answer


@given(st.text(max_size=60), st.text(max_size=30))
def test_no_origin_of_another_host_is_ours(origin: str, host: str) -> None:
    headers = Headers(raw=[(b"origin", origin.encode("utf-8")), (b"host", host.encode("utf-8"))])
    if doors.origin_allowed(headers, ()):
        assert host.lower().encode() in origin.lower().encode()


@given(st.text(max_size=40))
def test_since_is_two_numbers_or_out_of_range(text: str) -> None:
    try:
        found = doors.since(QueryParams({"since": text}))
    except doors.OutOfRange as error:
        jsonschema.validate(error.body(), frames.OUT_OF_RANGE_SCHEMA)
    else:
        assert found and ":".join(map(str, found)) == ":".join(
            part.lstrip("0") or "0" for part in text.split(":")
        )


def test_more_than_the_rate_within_any_second_is_too_many() -> None:
    rate = Rate(3)
    assert [rate.exceeded(at) for at in (0, 0.9, 0.95, 1.0)] == [False, False, False, False]
    assert rate.exceeded(1.5), "0.9, 0.95, 1.0 and 1.5 lie within one second"
    assert not rate.exceeded(9)


def test_a_histogram_counts_up_to_each_bound() -> None:
    measured = Histogram()
    for seconds in (-1, 0.001, 0.002, 5):
        measured.observe(seconds)
    lines = list(measured.lines("x"))
    assert lines[:3] == ['x_bucket{le="0.001"} 2', 'x_bucket{le="0.0025"} 3', 'x_bucket{le="0.005"} 3']
    assert lines[-3:] == ['x_bucket{le="+Inf"} 4', "x_sum 5.003000", "x_count 4"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ALLOWED_ORIGINS", "example.org"), ("ALLOWED_ORIGINS", "https://a/b"), ("MAX_CLIENTS", "0")],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_value(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}='{value}'"):
        Settings.from_env({variable: value})


def test_a_token_is_never_shown_not_even_a_wrong_one() -> None:
    with pytest.raises(SettingsError, match="WS_TOKEN=\\(secret\\): must be 16 to 256") as caught:
        Settings.from_env({"WS_TOKEN": "short!"})
    assert "short" not in str(caught.value)
    assert "battery" not in repr(Settings(ws_token="correct-horse-battery"))
