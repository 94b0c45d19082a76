"""The simulated market's spikes: now and then a coin jumps by more than five percent within a minute.

Pure arithmetic of a seed. Each stretch of ``every`` minutes has one spike, in a minute and of a size
drawn for it. The coins take turns in an order that is drawn anew each round, and every other time one
takes back what the last one did, so that none drifts away. A spike rises for half a minute with many
trades, then a third of it is given back over minutes. They are part of a market that is labelled as
simulated, wherever it is shown.
"""

from __future__ import annotations

import functools
import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

_LEAST, _MOST = 0.075, 0.14
"""How far the price rises at its peak. Of the least, 6 % are left when its minute is over."""
_GIVEN_BACK, _BACK_S = 0.30, 45.0
_CROWD, _CROWD_LEAVES_S = 20.0, 40.0
"""So many times its usual trades a coin has more at the peak, and how fast they become fewer."""
_LASTS_S: Final = 300
"""After so long there is nothing left to see of it."""
_WELCOME, _TURNS, _SIZES, _MINUTES = range(4)
"""What a seed is used for."""


class Spike(NamedTuple):
    """One jump: of which coin, from which second since 1970, for how long, how far (as a logarithm)."""

    coin: int
    begin: int
    rise_s: int
    size: float

    @property
    def end(self) -> int:
        """From this second on nothing of it is left to see."""
        return self.begin + _LASTS_S

    def level(self, second: float) -> float:
        """What it adds to the logarithm of the price."""
        part = (second - self.begin) / self.rise_s
        if part <= 0:
            return 0.0
        if part < 1:
            return self.size * part * part * (3 - 2 * part)
        after_s = second - self.begin - self.rise_s
        return self.size * (1 - _GIVEN_BACK * (1 - math.exp(-after_s / _BACK_S)))

    def moves(self, second: int, parts: int) -> npt.NDArray[np.float64]:
        """What it adds to the price's moves in ``parts`` equal parts of a second."""
        levels = [self.level(second + part / parts) for part in range(parts + 1)]
        return np.diff(levels)

    def crowd(self, second: int) -> float:
        """How many times the usual number of trades come beside the usual ones."""
        after_s = second - self.begin - self.rise_s
        if second < self.begin:
            return 0.0
        return _CROWD * (1.0 if after_s < 0 else math.exp(-after_s / _CROWD_LEAVES_S))


def active(seed: int, every: int, coins: int, second: int, welcome: int) -> list[Spike]:
    """Spikes that are under way in ``second``; ``welcome`` is the begin of an additional one, or 0."""
    return between(seed, every, coins, second, second + 1, welcome)


def between(seed: int, every: int, coins: int, begin: int, end: int, welcome: int) -> list[Spike]:
    """Spikes that are under way in any of the seconds from ``begin`` to before ``end``."""
    if not every:
        return []
    stretches = range((begin - _LASTS_S) // (60 * every), (end - 1) // (60 * every) + 1)
    found = [_of_stretch(seed, every, coins, stretch) for stretch in stretches]
    if welcome:
        found.append(_welcome(seed, coins, welcome))
    return [spike for spike in found if spike.begin < end and begin < spike.end]


@functools.lru_cache(maxsize=64)
def _of_stretch(seed: int, every: int, coins: int, stretch: int) -> Spike:
    turn, place = divmod(stretch, coins)
    coin = int(np.random.default_rng([seed, _TURNS, turn]).permutation(coins)[place])
    minute = stretch * every + int(np.random.default_rng([seed, _MINUTES, stretch]).integers(every))
    pair = np.random.default_rng([seed, _SIZES, turn // 2, coin])
    return _spike(pair, coin, 60 * minute, is_up=(turn + coin) % 2 == 0)


@functools.lru_cache(maxsize=4)
def _welcome(seed: int, coins: int, begin: int) -> Spike:
    dice = np.random.default_rng([seed, _WELCOME, begin])
    return _spike(dice, int(dice.integers(coins)), begin, is_up=True)


def _spike(dice: np.random.Generator, coin: int, minute_s: int, *, is_up: bool) -> Spike:
    """One that begins soon after its minute does, so that its rise is over within it."""
    size = math.log1p(dice.uniform(_LEAST, _MOST))
    return Spike(
        coin=coin,
        begin=minute_s + int(dice.integers(2, 10)),
        rise_s=int(dice.integers(20, 31)),
        size=size if is_up else -size,
    )
