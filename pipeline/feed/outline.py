"""The simulated market's further past in outline: the same market, told in four trades a minute.

A day of every trade is 17 million of them, and nobody looks at their seconds any more. So a minute
long past has the trades that make its candle: at its first and last price, and at its highest and
lowest, in the order in which they came. All four happen in one second of it, for every second with
a trade is one more candle to write. Prices, volumes and moods are those of ``market_model``, drawn
minute by minute, so candles look alike on both sides of where the outline ends; what differs is
``trade_count``, and that spikes are rarer. Arithmetic and a seed: no clock, no I/O.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from pipeline.entry import RECORD, Records
from pipeline.feed import market_model as model
from pipeline.feed import spikes
from pipeline.feed.market_model import STEP_MS, Floats, Integers, Market, State, Step

MINUTE: Final = 60
"""Steps of a minute."""
TRADES_A_MINUTE: Final = 4
SPIKES_RARER: Final = 6
"""Live there is a spike an hour for whoever watches. Two days of that would be a chart of little else."""
_MEAN_USD: Final = model.MEDIAN_USD * math.exp(model.SIZE_SIGMA**2 / 2)
_SIZE_VARIANCE: Final = math.exp(model.SIZE_SIGMA**2) - 1
"""Of one trade's size, by the square of the mean."""


class _Moods(NamedTuple):
    """By minute: the market's two moods and its news, shape (minutes,); the coins' own, (coins, minutes)."""

    slow: Floats
    fast: Floats
    news: Floats
    own: Floats


def advance(market: Market, state: State, until: int) -> Step:
    """The steps from ``state.step`` to before ``until``, both at the beginning of a minute (ValueError).

    Memory: 1 KB a coin and minute.
    """
    if state.step % MINUTE or until % MINUTE or until <= state.step:
        raise ValueError(f"no whole minutes: from {state.step} to {until}")
    rng = np.random.default_rng([market.seed, state.step, until])
    moods = _moods(rng, market, state, (until - state.step) // MINUTE)
    moves, crowd = _moves(rng, market, state, moods)
    moved = np.cumsum(moves.reshape(len(moves), -1), axis=1).reshape(moves.shape)
    path = state.log_price[:, None, None] + moved
    trades = _trades(rng, market, state, moods, crowd, path)
    after = replace(
        state,
        step=until,
        slow=float(moods.slow[-1]),
        fast=float(moods.fast[-1]),
        news=0.0,
        own=moods.own[:, -1].copy(),
        log_price=path[:, -1, -1].copy(),
        next_id=state.next_id + TRADES_A_MINUTE * moods.own.shape[1],
    )
    return Step(trades, after)


def _moods(rng: np.random.Generator, market: Market, state: State, minutes: int) -> _Moods:
    """As after each minute's steps of ``Market.advance``; the news of a minute are its mean."""
    slow, fast = model.SLOW**MINUTE, model.FAST**MINUTE
    stays = np.array([slow, fast, *(model.OWN**MINUTE for _ in market.symbols)])
    spread = np.array([model.SLOW_SD, model.FAST_SD, *(model.OWN_SD for _ in market.symbols)])
    dice = rng.standard_normal((minutes, len(stays))) * spread * np.sqrt(1 - stays**2)
    mood, found = np.array([state.slow, state.fast, *state.own]), np.empty_like(dice)
    for minute in range(minutes):
        found[minute] = mood = stays * mood + dice[minute]
    kicks = rng.poisson(MINUTE * model.NEWS_CHANCE, minutes) * np.minimum(
        rng.exponential(size=minutes), model.NEWS_MOST
    )
    return _Moods(found[:, 0], found[:, 1], kicks / (1 - model.NEWS_STAYS) / MINUTE, found[:, 2:].T)


def _moves(rng: np.random.Generator, market: Market, state: State, moods: _Moods) -> tuple[Floats, Floats]:
    """The logarithms of the price's moves, (coins, minutes, MINUTE), and ``Spike.crowd``, (coins, minutes)."""
    coins, (count, minutes) = market.coins, moods.own.shape
    loudness = np.exp(moods.slow + moods.fast - model.MARKET_VARIANCE) * (1 + moods.news)
    deviation = coins.own_volatility[:, None] * np.exp(moods.own - model.OWN_SD**2) * (1 + moods.news)
    together = model.MARKET_VOLATILITY * loudness[:, None] * rng.standard_normal((minutes, MINUTE))
    moves: Floats = deviation[:, :, None] * rng.standard_normal((count, minutes, MINUTE))
    moves += coins.beta[:, None, None] * together
    moves += (model.PULL * (coins.log_price - state.log_price))[:, None, None]
    crowd = np.zeros((count, minutes))
    end = state.step + minutes * MINUTE
    every = SPIKES_RARER * market.spike_minutes
    for spike in spikes.between(market.seed, every, count, state.step, end, state.welcome):
        for second in range(max(spike.begin, state.step), min(spike.end, end)):
            minute, place = divmod(second - state.step, MINUTE)
            moves[spike.coin, minute, place] += spike.moves(second, 1)[0]
            crowd[spike.coin, minute] += spike.crowd(second) / MINUTE
    return moves, crowd


def _trades(
    rng: np.random.Generator, market: Market, state: State, moods: _Moods, crowd: Floats, path: Floats
) -> Records:
    coins, (count, minutes) = market.coins, moods.own.shape
    each = (count, minutes, TRADES_A_MINUTE)
    log_price = np.take_along_axis(path, _turns(path), axis=2)
    usual = np.hypot(coins.beta * model.MARKET_VOLATILITY, coins.own_volatility) * math.sqrt(MINUTE)
    pushed = np.tanh((path[:, :, -1] - path[:, :, 0]) / usual[:, None])[:, :, None]
    price = np.exp(log_price)
    usd = _usd(rng, market, moods, crowd)
    shares = rng.exponential(size=each)
    shares /= shares.sum(axis=2, keepdims=True)
    lots = usd[:, :, None] * shares / (price * coins.lot_size[:, None, None])

    second = rng.integers(0, MINUTE, (count, minutes))
    within = np.sort(rng.integers(0, STEP_MS, each), axis=2)
    starts = state.time_ms + STEP_MS * MINUTE * np.arange(minutes)
    number = np.arange(TRADES_A_MINUTE * minutes).reshape(minutes, TRADES_A_MINUTE)
    ticks = np.rint(price / coins.tick_usd[:, None, None]).astype(np.int64)
    trades = np.empty(each, RECORD)
    trades["event_time_ms"] = (starts + STEP_MS * second)[:, :, None] + within
    trades["trade_id"] = state.next_id[:, None, None] + number
    trades["price"] = np.maximum(ticks, 1) * coins.tick[:, None, None]
    trades["quantity"] = np.maximum(np.rint(lots).astype(np.int64), 1) * coins.lot[:, None, None]
    trades["symbol"] = np.arange(count)[:, None, None]
    trades["side"] = rng.random(each) < 0.5 + model.PUSH * pushed
    trades = trades.reshape(-1)
    return trades[np.argsort(trades["event_time_ms"], kind="stable")]


def _turns(path: Floats) -> Integers:
    """Seconds of each minute, (…, 4): its first, its last, where it was highest, lowest; in order."""
    first = np.zeros(path.shape[:2], np.int64)
    found = [first, path.argmax(axis=2), path.argmin(axis=2), first + MINUTE - 1]
    return np.sort(np.stack(found, axis=2), axis=2)


def _usd(rng: np.random.Generator, market: Market, moods: _Moods, crowd: Floats) -> Floats:
    """What each coin trades in each minute: as much, and as unevenly, as its trades one by one would."""
    activity = np.exp(model.CALM_TRADES * (moods.slow + moods.fast)) / model.MEAN_ACTIVITY
    busy = activity * (1 + model.NEWS_TRADES * moods.news)
    trades = MINUTE * market.rate * market.coins.share[:, None] * busy * (1 + crowd)
    variance = np.log1p(_SIZE_VARIANCE / np.maximum(trades, 1))
    uneven = np.exp(np.sqrt(variance) * rng.standard_normal(crowd.shape) - variance / 2)
    usd: Floats = _MEAN_USD * trades * uneven
    return usd
