"""The whole way in small: a Redis and the real job, an app over them, and trades put in by hand."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import redis

from pipeline import entry, keys
from pipeline.embedded import COMMANDS, Embedded
from pipeline.market import Side, Trade
from pipeline.settings import Settings
from pipeline.wall_clock import now_ms
from tests.browser.running import AppServer, wait_until


class Whole:
    """Redis, job and app; ``inject`` is the feed. The job's event time is what the trades say."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(state_dir=folder / "state")
        self._embedded = Embedded(self.settings, {"job": COMMANDS["job"]})
        self.client = redis.Redis.from_url(self._embedded.redis_url)
        self.app = AppServer(self._embedded.redis_url, folder / "app.log")
        self._trade_id = 0

    @property
    def url(self) -> str:
        return self.app.url

    def start(self, first_ms: int) -> None:
        """Returns when the job folds and the app answers; trades may come from ``first_ms`` on."""
        self._embedded.start()
        wait_until(self._answers, "redis-server to answer")
        self.client.set(keys.INSTANCE, "whole")
        wait_until(lambda: self._folds(first_ms - 60_000), "the job to fold", within_s=90)
        self.app.start()

    def stop(self) -> None:
        self.app.stop()
        self.client.close()
        self._embedded.stop()

    def inject(self, symbol: str, price: str, event_time_ms: int) -> int:
        """Put one trade into the stream; answers when, in ms, just before."""
        self._trade_id += 1
        trade = Trade(
            symbol=symbol, price=Decimal(price), quantity=Decimal("0.5"), event_time_ms=event_time_ms,
            trade_id=self._trade_id, side=Side.BUY,
        )  # fmt: skip
        fields = entry.encode(*entry.records([trade]))
        began_ms = now_ms()
        self.client.xadd(keys.trades_stream(0), fields)  # type: ignore[arg-type]
        return began_ms

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def _folds(self, before_ms: int) -> bool:
        """Whether the job has answered a heartbeat of the past; puts another one in."""
        time.sleep(0.2)
        heartbeat = entry.encode([], np.empty(0, entry.RECORD), before_ms)
        self.client.xadd(keys.trades_stream(0), heartbeat)  # type: ignore[arg-type]
        return bool(self.client.exists(keys.progress(0)))
