"""The live feed through the real ccxt client, against a loopback server that speaks recorded frames."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline import keys
from pipeline.errors import SettingsError
from pipeline.feed.exchange import client, clock, mending, pulse, session
from pipeline.market import Interval
from pipeline.store import Store
from tests.candles import wait_until
from tests.exchange.exchanges import iso
from tests.exchange.running import (
    OURS,
    Running,
    folded_candles,
    gaps,
    heard,
    recorded_exchange,
    state,
    told,
    true_candles,
    wait_for,
)
from tests.exchange.server import RawTrade, Relay
from tests.feeding import counts, rejected, written

EXCHANGES = ("coinbaseexchange", "coinbase", "binance")
MINUTE = 60_000


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits, and no heartbeats between trades that a slow test lets happen in bursts."""
    monkeypatch.setattr(session, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(clock, "LEAST_MARGIN_MS", 3_600_000)
    monkeypatch.setattr(clock, "MOST_MARGIN_MS", 3_600_000)
    monkeypatch.setattr(client, "PING_MS", 60_000)


@pytest.fixture
def heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "LEAST_MARGIN_MS", 1_000)
    monkeypatch.setattr(clock, "MOST_MARGIN_MS", 10_000)
    monkeypatch.setattr(client, "PING_MS", 500)
    monkeypatch.setattr(client, "MISSED_PINGS", 60)


class Scene:
    """One recorded exchange: ``past`` has happened when the feed comes, ``trades`` are still to happen.

    They begin with the first full minute, so that whatever the feed begins with is told in full.
    """

    def __init__(self, name: str, folder: Path, client: redis.Redis) -> None:
        self.name = name
        self.client = client
        self.exchange, recorded = recorded_exchange(name, folder)
        self.symbols = sorted({OURS[trade.market] for trade in recorded})
        recorded = recorded[:1_500]
        at = len(recorded) // 3
        if name == "coinbase":  # what the snapshots told of both markets
            at = sum(1 for trade in recorded if '"snapshot"' in trade.frame)
        self.past, self.trades = recorded[:at], recorded[at:]
        minute = max(trade.time_ms for trade in self.past) // MINUTE * MINUTE
        self.begun = [trade for trade in self.past if trade.time_ms >= minute]
        """The open minute: what the feed fetches when it comes."""
        self.exchange.happen(self.past, heard=False)

    def wait_until_heard(self) -> None:
        wait_until(self.exchange.subscribed, 20)
        wait_for(self.client, self.begun)

    def check(self, missing: list[RawTrade] | None = None) -> None:
        """Everything from the first minute on is in the stream once, and makes the true candles."""
        all_trades = [one for one in self.begun + self.trades if one not in (missing or [])]
        wait_for(self.client, all_trades)
        assert heard(self.client) == told(all_trades)
        for interval in (Interval.S1, Interval.M1):
            candles, late = folded_candles(self.client, interval)
            assert late == 0
            assert candles == true_candles(all_trades, interval)


@pytest.fixture
def scene(request: pytest.FixtureRequest, shared_data: Path, redis_client: redis.Redis) -> Scene:
    return Scene(request.param, shared_data, redis_client)


every_exchange = pytest.mark.parametrize("scene", EXCHANGES, indirect=True)
one_exchange = pytest.mark.parametrize("scene", ["coinbaseexchange"], indirect=True)


def parts(trades: list[RawTrade], count: int) -> list[list[RawTrade]]:
    size = -(-len(trades) // count)
    return [trades[at : at + size] for at in range(0, len(trades), size)]


@every_exchange
def test_what_an_exchange_sent_makes_the_candles_of_the_same_trades(scene: Scene) -> None:
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        for part in parts(scene.trades, 20):
            scene.exchange.happen(part)
        scene.check()
        feed = wait_until(lambda: (found := Store(scene.client).feed()).get("clock_offset_ms") and found)

    assert gaps(scene.client) == []
    assert (feed["source"], feed["simulated"]) == (scene.name, "0")
    assert feed["detail"] == f"Live trades of {scene.name}"
    assert abs(int(feed["clock_offset_ms"])) < 5 * MINUTE
    assert scene.exchange.connections == 1, "one WebSocket for all symbols"


@every_exchange
def test_a_connection_dropped_in_mid_minute_heals_to_the_same_candles(scene: Scene) -> None:
    before, rest = scene.trades[: len(scene.trades) // 3], scene.trades[len(scene.trades) // 3 :]
    away_until = before[-1].time_ms + 10_000
    missed = [trade for trade in rest if trade.time_ms < away_until]
    after = rest[len(missed) :]
    assert missed and after and missed == rest[: len(missed)]
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        scene.exchange.happen(before)
        wait_for(scene.client, scene.begun + before)

        scene.exchange.refuses = True
        scene.exchange.drop()
        wait_until(lambda: "reconnecting" in state(scene.client))
        scene.exchange.happen(missed, heard=False)
        scene.exchange.refuses = False
        wait_until(scene.exchange.subscribed, 30)
        scene.exchange.happen(after)
        scene.check()

    assert gaps(scene.client) == []
    assert scene.exchange.connections == 2


@every_exchange
def test_trades_that_were_skipped_are_fetched_and_come_in_order(scene: Scene) -> None:
    first, second, third = parts(scene.trades, 3)
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        scene.exchange.happen(first)
        scene.exchange.happen(second, heard=False)
        scene.exchange.happen(third)
        scene.check()

    assert gaps(scene.client) == []


@every_exchange
def test_repeated_and_reordered_trades_count_once_and_in_order(scene: Scene) -> None:
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        for part in parts(scene.trades, 10):
            scene.exchange.happen(list(reversed(part)))
            scene.exchange.send(part)
        scene.check()

    assert gaps(scene.client) == []
    order: dict[str, int] = {}
    for trade in written(scene.client):
        assert trade.trade_id > order.get(trade.symbol, 0)
        order[trade.symbol] = trade.trade_id


@one_exchange
def test_what_cannot_be_had_again_is_a_gap_with_its_reason(scene: Scene) -> None:
    btc = [trade for trade in scene.trades if trade.market == "BTC-USD"]
    lost = btc[20:25]
    kept = [trade for trade in scene.trades if trade not in lost]
    scene.exchange.hides = {trade.id for trade in lost}
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        scene.exchange.happen(kept)
        scene.check(missing=lost)

    (gap,) = gaps(scene.client)
    assert gap.symbol == "BTC"
    assert gap.from_ms == btc[19].time_ms and gap.to_ms == btc[25].time_ms
    assert gap.reason == "coinbaseexchange: the exchange does not list them"


@one_exchange
def test_a_market_that_cannot_be_healed_says_why(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.feed.exchange.healing.FIRST_PAUSE_S", 0.01)
    first, second, third = parts(scene.trades, 3)
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        scene.exchange.happen(first)
        wait_for(scene.client, scene.begun + first)
        answer = scene.exchange.answer
        scene.exchange.answer = lambda path, query: None if "trades" in path else answer(path, query)  # type: ignore[method-assign]
        scene.exchange.happen(third)
        scene.check(missing=second)

    found = gaps(scene.client)
    assert {gap.symbol for gap in found} == {"BTC", "ETH"}
    assert all("does not give them" in gap.reason and "NotFound" in gap.reason for gap in found)


@one_exchange
def test_a_feed_that_starts_again_goes_on_from_its_last_trade(scene: Scene) -> None:
    first, second, third = parts(scene.trades, 3)
    with Relay(scene.exchange) as relay:
        with Running(scene.client, relay, [scene.name], scene.symbols):
            scene.wait_until_heard()
            scene.exchange.happen(first)
            wait_for(scene.client, scene.begun + first)
        scene.exchange.happen(second, heard=False)
        with Running(scene.client, relay, [scene.name], scene.symbols):
            wait_until(scene.exchange.subscribed, 20)
            scene.exchange.happen(third)
            scene.check()

    assert gaps(scene.client) == []


@one_exchange
def test_after_a_long_stop_the_feed_begins_with_the_open_minute_and_records_the_rest(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "HEAL_MS", 1_000)
    btc = [trade for trade in scene.trades if trade.market == "BTC-USD"]
    scene.symbols = ["BTC"]
    split = next(n for n, trade in enumerate(btc) if trade.time_ms // MINUTE > btc[0].time_ms // MINUTE)
    with Relay(scene.exchange) as relay:
        with Running(scene.client, relay, [scene.name], ["BTC"]):
            wait_until(scene.exchange.subscribed, 20)
            scene.exchange.happen(btc[:10])
            begun = [trade for trade in scene.begun if trade.market == "BTC-USD"]
            wait_for(scene.client, begun + btc[:10])
        scene.exchange.happen(btc[10 : split + 5], heard=False)
        with Running(scene.client, relay, [scene.name], ["BTC"]):
            wait_for(scene.client, begun + btc[:10] + btc[split : split + 5])
            assert heard(scene.client) == told(begun + btc[:10] + btc[split : split + 5])

    minute = btc[split].time_ms // MINUTE * MINUTE
    (gap,) = gaps(scene.client)
    assert gap.symbol == "BTC" and gap.from_ms == btc[9].time_ms
    assert gap.to_ms == btc[split].time_ms - 1 or gap.to_ms == minute - 1
    assert gap.reason == "coinbaseexchange: the feed was stopped"


@one_exchange
def test_a_beginning_inside_the_hour_is_recorded(scene: Scene) -> None:
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        recorded = wait_until(lambda: Store(scene.client).gaps(10))

    minute = scene.begun[0].time_ms // MINUTE * MINUTE
    hour = minute // 3_600_000 * 3_600_000
    reach = min(trade.time_ms for trade in scene.past)
    for gap in recorded:
        assert gap.reason == "coinbaseexchange: the feed began here"
        assert gap.from_ms == hour and gap.to_ms >= min(minute, reach) - 1


@one_exchange
def test_a_silent_feed_is_connected_again_and_healed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LEAST_S", 0.5)
    monkeypatch.setattr(pulse.Pulse.__init__, "__defaults__", (0.5,))
    first, second, third = parts(scene.trades, 3)
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        scene.exchange.happen(first)
        scene.exchange.is_mute = True
        scene.exchange.happen(second)
        wait_until(lambda: scene.exchange.connections > 1, 30)
        scene.exchange.is_mute = False
        scene.exchange.happen(third)
        scene.check()

    assert gaps(scene.client) == []


@one_exchange
def test_thousands_of_frames_at_once_do_not_stall_the_connection(scene: Scene) -> None:
    # aiohttp counts the bytes in its queue, and stops reading at 4 MB: a count that leaks shows late.
    noise = json.dumps({"type": "heartbeat", "product_id": "BTC-USD", "padding": "x" * 2_000})
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        for _ in range(40):
            scene.exchange.send_raw(noise, 250)
        scene.exchange.happen(scene.trades)
        scene.check()
    assert scene.exchange.connections == 1


@one_exchange
def test_a_trade_from_the_future_and_one_that_is_none_are_rejected_with_their_origin(scene: Scene) -> None:
    first, rest = scene.trades[:50], scene.trades[50:]
    frame = json.loads(rest[0].frame)
    future = frame | {"trade_id": frame["trade_id"] + 10**6, "time": iso(4_000_000_000_000)}
    worthless = frame | {"price": "0", "trade_id": frame["trade_id"] + 10**6}
    nameless = frame | {"trade_id": "abc"}
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        scene.exchange.happen(first)
        for strange in (future, worthless, nameless):
            scene.exchange.send_raw(json.dumps(strange))
        scene.exchange.send_raw('{"broken')
        scene.exchange.happen(rest)
        scene.check()
        wait_until(lambda: len(rejected(scene.client)) >= 4)

    origin = f"coinbaseexchange {frame['product_id'].replace('-', '/')}"
    told_of = {record["reason"]: record for record in rejected(scene.client)}
    assert told_of["event time is in the future"]["origin"] == origin
    assert "2096" in told_of["event time is in the future"]["record"]
    assert told_of["price: not above zero"]["origin"] == origin
    assert told_of["trade id is not a number"]["origin"] == origin
    assert told_of["frame could not be read"]["origin"] == "coinbaseexchange JSONDecodeError"
    assert scene.exchange.connections == 1, "a frame that nobody can read ends no connection"
    assert counts(scene.client)["event time is in the future"] == 1


@one_exchange
def test_a_symbol_that_the_exchange_has_not_is_named_with_its_neighbours(scene: Scene) -> None:
    with (
        Relay(scene.exchange) as relay,
        Running(scene.client, relay, [scene.name], ["BTC", "ETG"]) as running,
    ):
        error = running.ended()

    assert isinstance(error, SettingsError)
    assert str(error).startswith("SYMBOLS=ETG: coinbaseexchange has no market ETG/USD (QUOTE=unset); near it:")
    assert "ETH/USD" in str(error)


def newest_heartbeat(client: redis.Redis) -> int:
    found = client.xrange(keys.trades_stream(0))
    return max((int(fields.get(b"heartbeat", 0)) for _, fields in found), default=0)


@pytest.mark.usefixtures("heartbeats")
@one_exchange
def test_an_idle_market_closes_its_candles_by_heartbeats_of_the_exchanges_clock(scene: Scene) -> None:
    ours_ms = scene.exchange.now_ms() + 86_400_000
    began_s = time.monotonic()

    def day_ahead() -> int:
        return ours_ms + int(1_000 * (time.monotonic() - began_s))

    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols, day_ahead):
        scene.wait_until_heard()
        scene.exchange.happen(scene.trades[:1])
        wait_for(scene.client, [*scene.begun, *scene.trades[:1]])
        first = wait_until(lambda: newest_heartbeat(scene.client))
        wait_until(lambda: newest_heartbeat(scene.client) > first)

    elapsed_ms = 1_000 * (time.monotonic() - began_s)
    assert newest_heartbeat(scene.client) < scene.trades[0].time_ms + elapsed_ms


@pytest.mark.usefixtures("heartbeats")
@one_exchange
def test_nothing_outruns_a_trade_that_is_being_fetched(scene: Scene) -> None:
    armed, asked, go_on = threading.Event(), threading.Event(), threading.Event()
    answer = scene.exchange.answer

    def slow(path: str, query: dict[str, str]) -> Any:
        if armed.is_set() and "trades" in path:
            asked.set()
            go_on.wait(60)
        return answer(path, query)

    scene.exchange.answer = slow  # type: ignore[method-assign]
    eth = [trade for trade in scene.trades if trade.market == "ETH-USD"][:3]
    btc = [trade for trade in scene.trades if trade.market == "BTC-USD"][:40]
    scene.trades = eth + btc
    with Relay(scene.exchange) as relay, Running(scene.client, relay, [scene.name], scene.symbols):
        scene.wait_until_heard()
        scene.exchange.happen(eth[:1])
        wait_for(scene.client, [*scene.begun, eth[0]])
        armed.set()
        scene.exchange.happen(eth[1:2], heard=False)
        scene.exchange.happen(eth[2:3])
        wait_until(asked.is_set, 60)
        told_before = newest_heartbeat(scene.client)
        scene.exchange.happen(btc)
        limit_ms = max(told_before, *(trade.event_time_ms for trade in written(scene.client)))
        for _ in range(2):
            told_at = Store(scene.client).feed()["updated_at_ms"]
            wait_until(lambda told_at=told_at: Store(scene.client).feed()["updated_at_ms"] > told_at, 60)
        assert newest_heartbeat(scene.client) <= limit_ms
        assert all(trade.event_time_ms <= limit_ms for trade in written(scene.client))
        assert any(trade.time_ms > limit_ms for trade in btc), "there was something to hold back"
        go_on.set()
        wait_for(scene.client, scene.begun + scene.trades)
        assert heard(scene.client) == told(scene.begun + scene.trades)
