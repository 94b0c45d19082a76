"""What a live feed has to tell beside its trades: what it could not read, and what it missed."""

from __future__ import annotations

import logging
from typing import Any

from pipeline.errors import InvalidTrade
from pipeline.feed.exchange.markets import Market
from pipeline.feed.stream import Rejected
from pipeline.gap import Gap

log = logging.getLogger(__name__)


class Reports:
    """Filled by all who find something; emptied by the one who writes."""

    def __init__(self) -> None:
        self.rejected: list[Rejected] = []
        self.gaps: list[Gap] = []

    def bad_trade(self, market: Market, error: InvalidTrade, trade: Any) -> None:
        """A trade of ``market`` that cannot be one."""
        record = trade.get("info", trade) if isinstance(trade, dict) else trade
        self.rejected.append(Rejected(error.reason, market.key, _text(record)))

    def bad_frame(self, exchange: str, error: Exception, frame: Any) -> None:
        """A message of ``exchange`` that could not be read."""
        self.rejected.append(
            Rejected("frame could not be read", f"{exchange} {type(error).__name__}", _text(frame))
        )

    def gap(self, gap: Gap) -> None:
        """Trades that are missing, and will not be fetched any more."""
        log.warning("gap in %s from %d to %d: %s", *gap[:4])
        self.gaps.append(gap)

    def take(self) -> Reports:
        """All there is, leaving nothing."""
        taken = Reports()
        taken.rejected, self.rejected = self.rejected, taken.rejected
        taken.gaps, self.gaps = self.gaps, taken.gaps
        return taken


def _text(record: Any) -> str:
    return repr(record)[:1_000]
