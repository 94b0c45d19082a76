"""A believable market, made of arithmetic and a seed: no clock, no I/O.

One second is one step. ``Market.advance`` gives the trades of a second and the state after it, and
always the same for the same state: a restart that knows the state goes on as if it never stopped.

* Coins move with the market (their beta) and on their own.
* Volatility clusters: its logarithm wanders slowly (half-life 23 minutes) and fast (34 seconds).
* Now and then news: volatility and the number of trades jump and die down within half a minute.
* Takers push: a rising price comes with buyers. An order fills in one or several trades of the
  same millisecond, all at the first one's price or those after it a tick further.
* Sizes are lognormal: many small ones, few very large ones.
* Where it is asked for, a coin jumps now and then (see ``spikes``).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.entry import RECORD, Records
from pipeline.feed import spikes
from pipeline.feed.profiles import profile

STEP_MS: Final = 1_000
_SUBSTEPS: Final = 10
"""Moves of the price within a step."""
_YEAR_S: Final = 31_557_600
MARKET_VOLATILITY: Final = 0.45 / math.sqrt(_YEAR_S)
PULL: Final = 2e-7
"""Share of the way back to the profile's price a second: no coin drifts off within weeks."""

SLOW, SLOW_SD = 0.9995, 0.45
FAST, FAST_SD = 0.98, 0.45
OWN, OWN_SD = 0.995, 0.25
MARKET_VARIANCE: Final = SLOW_SD**2 + FAST_SD**2

NEWS_CHANCE, NEWS_MOST, NEWS_STAYS = 0.003, 4.0, 0.95
NEWS_TRADES: Final = 4.0
_NEWS_MEAN: Final = NEWS_CHANCE * (1 - math.exp(-NEWS_MOST)) / (1 - NEWS_STAYS)
CALM_TRADES: Final = 0.8
"""Power of the volatility that the number of trades follows."""
MEAN_ACTIVITY: Final = math.exp(CALM_TRADES**2 * MARKET_VARIANCE / 2) * (1 + NEWS_TRADES * _NEWS_MEAN)

_SWEEPS: Final = 0.3
"""Share of the orders that take more than the best price has, a tick further then."""
_LAST_FILL: Final = 0.6
"""Chance that a fill is its order's last: 1.67 trades an order."""
PUSH: Final = 0.35
_HALF_SPREAD: Final = 2e-5
MEDIAN_USD, SIZE_SIGMA = 120.0, 1.5

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class State:
    """The market between two steps. ``step`` is the next second since 1970; arrays are by symbol."""

    step: int
    slow: float
    fast: float
    news: float
    log_price: Floats
    own: Floats
    next_id: Integers
    welcome: int = 0
    """Second of a first spike beside the usual ones, for who has just come; 0: none."""

    @property
    def time_ms(self) -> int:
        return self.step * STEP_MS


class Step(NamedTuple):
    """The trades of one second, in the order of their event times, and the state after it."""

    trades: Records
    after: State


@dataclass(frozen=True)
class Market:
    """The market of one seed, one mean rate (trades a second) and one list of symbols.

    About every ``spike_minutes`` one of them jumps; 0: never.
    """

    seed: int
    rate: float
    symbols: tuple[str, ...]
    spike_minutes: int = 0

    def first_state(self, step: int, welcome: int = 0) -> State:
        """The market before its first second ``step``."""
        none = np.zeros(len(self.symbols))
        ids = none.astype(np.int64) + 1
        return State(step, 0.0, 0.0, 0.0, self.coins.log_price.copy(), none, ids, welcome)

    def advance(self, state: State) -> Step:
        """The second ``state.step``."""
        rng = np.random.default_rng([self.seed, state.step])
        coins = self.coins
        mood = rng.standard_normal(2)
        slow = SLOW * state.slow + SLOW_SD * math.sqrt(1 - SLOW**2) * float(mood[0])
        fast = FAST * state.fast + FAST_SD * math.sqrt(1 - FAST**2) * float(mood[1])
        own = OWN * state.own + OWN_SD * math.sqrt(1 - OWN**2) * rng.standard_normal(len(state.own))
        kick = min(rng.exponential(), NEWS_MOST) if rng.random() < NEWS_CHANCE else 0.0
        news = NEWS_STAYS * state.news + kick

        loudness = math.exp(slow + fast - MARKET_VARIANCE) * (1 + news)
        deviation = coins.own_volatility * np.exp(own - OWN_SD**2) * (1 + news)
        root = math.sqrt(1 / _SUBSTEPS)
        moves = root * (
            np.outer(coins.beta, MARKET_VOLATILITY * loudness * rng.standard_normal(_SUBSTEPS))
            + deviation[:, None] * rng.standard_normal((len(self.symbols), _SUBSTEPS))
        )
        usual = root * np.hypot(coins.beta * MARKET_VOLATILITY * loudness, deviation)

        crowd = np.ones(len(self.symbols))
        for spike in spikes.active(self.seed, self.spike_minutes, len(self.symbols), state.step, state.welcome):
            moves[spike.coin] += spike.moves(state.step, _SUBSTEPS)
            crowd[spike.coin] += spike.crowd(state.step)

        activity = math.exp(CALM_TRADES * (slow + fast)) * (1 + NEWS_TRADES * news) / MEAN_ACTIVITY
        orders = rng.poisson(self.rate * _LAST_FILL * activity * coins.share * crowd)
        trades = self._trades(rng, state, orders, moves, usual)
        return Step(
            trades,
            replace(
                state,
                step=state.step + 1,
                slow=slow,
                fast=fast,
                news=news,
                own=own,
                log_price=state.log_price + moves.sum(axis=1) + PULL * (coins.log_price - state.log_price),
                next_id=state.next_id + np.bincount(trades["symbol"], minlength=len(self.symbols)),
            ),
        )

    def _trades(
        self, rng: np.random.Generator, state: State, orders: Integers, moves: Floats, usual: Floats
    ) -> Records:
        coins = self.coins
        coin = np.repeat(np.arange(len(orders)), orders)
        when = rng.random(len(coin))
        when = when[np.lexsort((when, coin))]
        part = (when * _SUBSTEPS).astype(np.intp)
        move = moves[coin, part]
        before = np.cumsum(moves, axis=1)[coin, part] - move
        price = np.exp(state.log_price[coin] + before + move * (when * _SUBSTEPS - part))
        buys = rng.random(len(coin)) < 0.5 + PUSH * np.tanh(move / usual[coin])
        way = np.where(buys, 1, -1)

        # Each order becomes one or more fills; from here on arrays are by fill.
        fills = rng.geometric(_LAST_FILL, len(coin))
        order = np.repeat(np.arange(len(coin)), fills)
        nth = np.arange(len(order)) - np.repeat(np.cumsum(fills) - fills, fills)
        coin, way = coin[order], way[order]
        further = way * np.minimum(nth, 1) * (rng.random(len(fills)) < _SWEEPS)[order]
        quote = price[order] * (1 + way * _HALF_SPREAD) / coins.tick_usd[coin]
        ticks = np.where(way > 0, np.ceil(quote), np.floor(quote)).astype(np.int64) + further
        usd = MEDIAN_USD * np.exp(SIZE_SIGMA * rng.standard_normal(len(order)))
        lots = np.rint(usd / (price[order] * coins.lot_size[coin])).astype(np.int64)

        trades = np.empty(len(order), RECORD)
        trades["event_time_ms"] = state.time_ms + (when[order] * STEP_MS).astype(np.int64)
        first = np.searchsorted(coin, np.arange(len(orders)))
        trades["trade_id"] = state.next_id[coin] + np.arange(len(order)) - first[coin]
        trades["price"] = np.maximum(ticks, 1) * coins.tick[coin]
        trades["quantity"] = np.maximum(lots, 1) * coins.lot[coin]
        trades["symbol"] = coin
        trades["side"] = way > 0
        return trades[np.argsort(trades["event_time_ms"], kind="stable")]

    def save(self, state: State) -> str:
        """``state`` with all that :func:`load` needs, as JSON. Floats come back bit by bit."""
        coins = zip(state.log_price.tolist(), state.own.tolist(), state.next_id.tolist(), strict=True)
        return json.dumps(
            {
                "seed": self.seed,
                "rate": self.rate,
                "spikes": self.spike_minutes,
                "welcome": state.welcome,
                "step": state.step,
                "mood": [state.slow, state.fast, state.news],
                "coins": dict(zip(self.symbols, coins, strict=True)),
            },
            separators=(",", ":"),
        )

    def adopt(self, other: Market, state: State) -> State:
        """``other``'s state as this market's: coins that both have go on, new ones begin."""
        mine = self.first_state(state.step)
        for here, symbol in enumerate(self.symbols):
            if symbol in other.symbols:
                there = other.symbols.index(symbol)
                for name in ("log_price", "own", "next_id"):
                    getattr(mine, name)[here] = getattr(state, name)[there]
        return replace(mine, slow=state.slow, fast=state.fast, news=state.news, welcome=state.welcome)

    @cached_property
    def coins(self) -> Coins:
        """The profiles of its symbols."""
        profiles = [profile(symbol) for symbol in self.symbols]
        weight = np.array([coin.weight for coin in profiles])
        tick = np.array([coin.tick for coin in profiles], np.int64)
        lot = np.array([coin.lot for coin in profiles], np.int64)
        return Coins(
            log_price=np.log([coin.price for coin in profiles]),
            share=weight / weight.sum(),
            beta=np.array([coin.beta for coin in profiles]),
            own_volatility=np.array([coin.own_volatility for coin in profiles]) / math.sqrt(_YEAR_S),
            tick=tick,
            tick_usd=np.array([10.0**-coin.price_digits for coin in profiles]),
            lot=lot,
            lot_size=np.array([10.0**-coin.quantity_digits for coin in profiles]),
        )


class Coins(NamedTuple):
    """The profiles as arrays by symbol."""

    log_price: Floats
    share: Floats
    beta: Floats
    own_volatility: Floats
    tick: Integers
    tick_usd: Floats
    lot: Integers
    lot_size: Floats


def load(text: str) -> tuple[Market, State]:
    """What :meth:`Market.save` wrote."""
    saved = json.loads(text)
    log_price, own, next_id = zip(*saved["coins"].values(), strict=True)
    # A state of before there were spikes has none of them.
    market = Market(saved["seed"], saved["rate"], tuple(saved["coins"]), saved.get("spikes", 0))
    slow, fast, news = saved["mood"]
    ids = np.array(next_id, np.int64)
    welcome = saved.get("welcome", 0)
    return market, State(saved["step"], slow, fast, news, np.array(log_price), np.array(own), ids, welcome)
