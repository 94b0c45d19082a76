"""What each simulated coin is like. Invented figures of a believable size, no one's data."""

from __future__ import annotations

import math
import zlib
from typing import Final, NamedTuple

from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS


class Profile(NamedTuple):
    """A coin: prices in USD, volatilities a year, exchange steps as decimal digits."""

    price: float
    price_digits: int
    """Decimals of a price: 2 means a tick of 0.01."""
    quantity_digits: int
    weight: float
    """Share of the market's trades, relative to the others'."""
    beta: float
    """How far the coin moves when the market moves by one."""
    own_volatility: float
    """Volatility a year of the noise that the coin shares with no other."""

    @property
    def tick(self) -> int:
        """Price step in units of 10**-PRICE_DECIMALS."""
        return int(10 ** (PRICE_DECIMALS - self.price_digits))

    @property
    def lot(self) -> int:
        """Quantity step in units of 10**-QUANTITY_DECIMALS."""
        return int(10 ** (QUANTITY_DECIMALS - self.quantity_digits))


_KNOWN: Final = {
    "BTC": Profile(64_000.0, 2, 5, 0.30, 1.00, 0.15),
    "ETH": Profile(3_100.0, 2, 4, 0.22, 1.25, 0.25),
    "SOL": Profile(150.0, 2, 3, 0.14, 1.50, 0.45),
    "XRP": Profile(0.58, 4, 1, 0.09, 1.20, 0.50),
    "DOGE": Profile(0.125, 5, 0, 0.09, 1.55, 0.55),
    "ADA": Profile(0.41, 4, 1, 0.06, 1.35, 0.45),
    "AVAX": Profile(27.0, 2, 2, 0.05, 1.50, 0.50),
    "LINK": Profile(13.5, 3, 2, 0.05, 1.35, 0.50),
}


def profile(symbol: str) -> Profile:
    """The coin's profile; a made-up one, always the same for the same name, where it is unknown."""
    return _KNOWN.get(symbol) or _made_up(symbol)


def _made_up(symbol: str) -> Profile:
    dice = zlib.crc32(symbol.encode())
    price = 10 ** (-2 + 5 * (dice % 1_000) / 1_000)  # 0.01 to 1,000 USD
    magnitude = math.floor(math.log10(price))
    return Profile(
        price=price,
        price_digits=min(PRICE_DECIMALS, max(2, 4 - magnitude)),
        quantity_digits=min(5, max(0, magnitude + 1)),
        weight=0.01 + 0.03 * (dice // 1_000 % 100) / 100,
        beta=1.0 + 0.8 * (dice // 100_000 % 100) / 100,
        own_volatility=0.4 + 0.5 * (dice // 10_000_000 % 100) / 100,
    )
