"""What a live feed can tell of a trade besides what the trade says: when it was received."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.entry import IN_FUTURE, Records
from pipeline.errors import InvalidTrade

FUTURE_MS: Final = 10_000
"""How far the exchange's clock may run ahead of ours before a trade is one that cannot be."""


def check_received(event_time_ms: int, received_ms: int) -> int:
    """``event_time_ms`` itself, or InvalidTrade if the trade was received before it can have happened.

    One such trade would push the watermark and make all that follow late. ``received_ms`` is our
    clock at receipt plus what is known of the exchange's offset: a machine whose clock runs a minute
    behind must not reject everything.
    """
    if event_time_ms > received_ms + FUTURE_MS:
        raise InvalidTrade(IN_FUTURE, event_time_ms)
    return event_time_ms


def in_future(trades: Records, received_ms: int) -> npt.NDArray[np.bool_]:
    """The same for many: mask, shape (n,), of the trades to reject with the reason IN_FUTURE."""
    mask: npt.NDArray[np.bool_] = trades["event_time_ms"] > received_ms + FUTURE_MS
    return mask
