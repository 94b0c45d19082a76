"""Which feed runs: named exchanges, FEED=auto, the simulator, and what one leaves to the next."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline import keys
from pipeline.cli import main
from pipeline.errors import SettingsError
from pipeline.feed import feeds
from pipeline.feed.exchange import auto, recorder
from pipeline.feed.exchange.auto import Choice, probe
from pipeline.feed.patience import FeedStopped
from pipeline.feed.replay import replay
from pipeline.feed.stream import TradeWriter
from pipeline.feed.takeover import wipe_simulated
from pipeline.settings import Settings
from pipeline.store import Store
from tests.candles import candle, publish, wait_until
from tests.exchange.exchanges import Coinbase, CoinbaseExchange
from tests.exchange.running import Running, heard, recorded_exchange, told
from tests.exchange.server import Relay
from tests.feeding import written


class Process:
    """What ``run`` would run, in a thread."""

    def __init__(self, make: Callable[[threading.Event], Callable[[], None]]) -> None:
        self.stop = threading.Event()
        self._make = make
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with contextlib.suppress(FeedStopped):
            self._make(self.stop)()

    def __enter__(self) -> Process:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(20)


def test_auto_takes_the_first_exchange_that_answers(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange, trades = recorded_exchange("binance", shared_data)
    exchange.happen(trades[:10], heard=False)
    monkeypatch.setattr(auto, "ANSWER_WITHIN_S", 60.0)  # a loaded machine takes its time
    # In a thread: browser tests of the same run leave an event loop in this one.
    with Relay(exchange) as relay, ThreadPoolExecutor(1) as thread:
        choice = thread.submit(auto.choose_exchange, relay.url).result()
    assert choice.exchange == "binance"
    assert [reason.partition(":")[0] for reason in choice.reasons] == ["coinbase", "kraken"]


def test_auto_gives_up_within_its_time_and_says_what_each_exchange_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXCHANGE_RELAY", "http://127.0.0.1:9")
    began_s = time.monotonic()
    choice = probe()
    assert choice.exchange is None
    assert choice.reasons
    assert time.monotonic() - began_s < 3 * auto.END_AFTER_S, "whoever waits for an exchange waits for ever"


def test_auto_falls_back_to_the_simulator_with_its_reason_in_words(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "probe", lambda: Choice(None, ("coinbase: refused", "kraken: refused")))
    settings = replace(Settings(), feed="auto", symbols=("BTC",), simulator_history_minutes=1)
    with Process(lambda stop: feeds.auto_feed(settings, redis_client, stop)):
        feed = wait_until(lambda: (found := Store(redis_client).feed()).get("trades", "0") != "0" and found)
    assert (feed["source"], feed["simulated"]) == ("simulator", "1")
    assert feed["detail"].startswith("No exchange could be reached, showing a simulated market")
    assert "FEED=exchange:coinbase" in feed["detail"]


def test_auto_goes_on_with_the_exchange_whose_candles_are_here(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "probe", lambda: pytest.fail("there is nothing to choose"))
    redis_client.set(keys.feed_state("exchange"), '{"kraken BTC/USD": [1, 1], "kraken ETH/USD": [2, 2]}')
    redis_client.set(keys.feed_position("exchange"), "1")
    settings = replace(Settings(), feed="auto", exchange_relay="http://127.0.0.1:9")
    with Process(lambda stop: feeds.auto_feed(settings, redis_client, stop)):
        feed = wait_until(lambda: (found := Store(redis_client).feed()).get("state") and found, 60)
    assert (feed["source"], feed["simulated"]) == ("kraken", "0")
    assert "kraken: " in feed["state"]


def test_a_simulator_refuses_a_redis_with_real_candles(redis_client: redis.Redis) -> None:
    redis_client.set(keys.feed_position("exchange"), "1")
    with pytest.raises(SettingsError, match="STATE_DIR=simulated"):
        feeds.simulator_feed(Settings(), redis_client, threading.Event())


def test_a_real_feed_wipes_a_simulated_market_and_names_the_database_anew(redis_client: redis.Redis) -> None:
    stop = threading.Event()
    settings = replace(Settings(), symbols=("BTC",), simulator_history_minutes=1)
    with Process(lambda stop: feeds.simulator_feed(settings, redis_client, stop)):
        wait_until(lambda: int(Store(redis_client).feed().get("trades", 0)))
    publish(redis_client, candle(is_closed=True))
    before = Store(redis_client).instance()

    assert wipe_simulated(redis_client, stop) is True
    store = Store(redis_client)
    assert store.instance() not in {None, before}
    assert store.symbols() == [] and store.latest("BTC") is None
    assert written(redis_client) == []
    assert {key.decode() for key in redis_client.keys("*")} == {keys.INSTANCE, keys.FEED}
    assert store.feed()["simulated"] == "1", "not real before real trades come"


def test_candles_of_a_real_feed_are_never_wiped(redis_client: redis.Redis) -> None:
    redis_client.hset(keys.FEED, mapping={"simulated": 0})
    publish(redis_client, candle(is_closed=True))
    assert wipe_simulated(redis_client, threading.Event()) is False
    assert Store(redis_client).symbols() == ["BTC"]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"FEED": "exchange:coinbsae"}, "no such exchange; near it: coinbase"),
        ({"FEED": "exchange:"}, "FEED='exchange:': must be auto, simulator, exchange:NAME"),
        ({"FEED": "exchange:Coinbase"}, "must be auto"),
        ({"QUOTE": "$"}, "QUOTE='\\$': must be a currency"),
    ],
)
def test_a_wrong_exchange_is_named_with_its_neighbours(
    environment: dict[str, str], words: str, redis_client: redis.Redis
) -> None:
    def start() -> None:
        settings = Settings.from_env(environment)
        feeds.exchange_feed(settings, redis_client, threading.Event(), settings.feed.split(":")[-1].split(","))

    with pytest.raises(SettingsError, match=words):
        start()


def test_several_exchanges_fold_into_one_symbol_and_one_of_them_into_its_own(
    shared_data: Path, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.feed.exchange.clock.LEAST_MARGIN_MS", 3_600_000)
    monkeypatch.setattr("pipeline.feed.exchange.clock.MOST_MARGIN_MS", 3_600_000)
    # The same market told by two exchanges: the second one's trades are the first one's, a day's ids on.
    one = CoinbaseExchange()
    two, _ = recorded_exchange("coinbase", shared_data)
    assert isinstance(two, Coinbase)
    _, trades = recorded_exchange("coinbaseexchange", shared_data)
    btc = [trade for trade in trades if trade.market == "BTC-USD"]
    minute = btc[-1].time_ms // 60_000 * 60_000
    btc = [trade for trade in btc if trade.time_ms >= minute]
    both = [*btc[:30], *btc[30:60]]
    one.happen(both[:1], heard=False)
    two.happen(both[:1], heard=False)
    with (
        Relay(one, two) as relay,
        Running(redis_client, relay, ["coinbaseexchange", "coinbase"], ["BTC", "BTC@COINBASE"], quote="USD"),
    ):
        wait_until(lambda: one.subscribed() and two.subscribed(), 60)
        wait_until(lambda: int(redis_client.hget(keys.FEED, "trades") or 0) >= 3, 60)
        one.happen(both[1:])
        two.happen(both[1:], heard=False)
        two.send_raw(two_frame(two, both[1:]))
        wait_until(lambda: int(redis_client.hget(keys.FEED, "trades") or 0) >= 3 * len(both), 60)
    found = written(redis_client)
    folded = [trade for trade in found if trade.symbol == "BTC"]
    alone = [trade for trade in found if trade.symbol == "BTC@COINBASE"]
    assert len(folded) == 2 * len(both), "each exchange's trade counts, though their ids are alike"
    assert len({trade.trade_id for trade in folded}) == len(folded), "and no two ids are the same"
    assert sorted(trade.price for trade in alone) == sorted(trade.price for trade in told(both))


def two_frame(exchange: Coinbase, trades: list[Any]) -> str:
    newest_first = [exchange._rest(trade) for trade in reversed(trades)]
    return json.dumps({"channel": "market_trades", "events": [{"type": "update", "trades": newest_first}]})


@pytest.mark.parametrize("name", ["trades.csv", "trades.csv.gz"])
def test_a_recording_plays_back_as_the_trades_that_were_heard(
    name: str, shared_data: Path, redis_client: redis.Redis, tmp_path: Path
) -> None:
    exchange, trades = recorded_exchange("coinbaseexchange", shared_data)
    minute = trades[250].time_ms // 60_000 * 60_000
    begun = [trade for trade in trades[:250] if trade.time_ms >= minute]
    exchange.happen(trades[:250], heard=False)
    path, stop, lines = tmp_path / name, threading.Event(), []
    results: list[recorder.Recorded] = []
    with Relay(exchange) as relay:
        settings = replace(Settings(), symbols=("BTC", "ETH"), exchange_relay=relay.url)

        def run() -> None:
            results.append(
                recorder.record(settings, ["coinbaseexchange"], path, stop, lines.append, relay.now_ms)
            )

        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: f"{len(begun):,} trades" in lines, 60)
        stop.set()
        thread.join(60)

    assert results == [(len(begun), 0, 2)]
    assert "coinbaseexchange: connected" in lines
    assert sum("began here" in line for line in lines) == 2
    replay([path], (), None, TradeWriter(redis_client, settings, "played", source="replay"))
    assert heard(redis_client) == told(begun)


def test_the_command_line_names_what_cannot_be_recorded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "old.csv").touch()
    assert main(["record", "--source", "simulator", "--out", str(tmp_path / "x.csv")]) == 2
    assert "only exchange:NAME can be recorded" in capsys.readouterr().err
    assert main(["record", "--source", "exchange:kraken", "--out", str(tmp_path / "old.csv")]) == 2
    assert "not written over" in capsys.readouterr().err
    assert main(["record", "--source", "exchange:kraken", "--out", str(tmp_path / "no" / "x.csv")]) == 2
    assert "no folder" in capsys.readouterr().err
