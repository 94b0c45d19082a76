"""How much of what was written the job has still to fold: what a bulk feed waits for."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import redis

from pipeline import keys
from pipeline.settings import Settings


class _Unread(NamedTuple):
    entry_id: tuple[int, int]
    trades: int


class Backlog:
    """Entries of each shard past the job's position.

    Goes by the job's position, not by its count of trades: the count would stay behind for ever
    once entries were trimmed before they were read. The caller owns ``client``.
    """

    def __init__(self, client: redis.Redis, settings: Settings, max_trades: int) -> None:
        self._client = client
        self._max_trades = max_trades
        self._max_entries = settings.stream_max_entries // 2
        self._unread: list[deque[_Unread]] = [deque() for _ in range(settings.shards)]
        self._trades = [0] * settings.shards

    def wrote(self, shard: int, entry_id: bytes, trades: int) -> None:
        """Count an entry just written. Entries without trades end no wait: leave them out."""
        if trades:
            unread = self._unread[shard]
            unread.append(_Unread(_parsed(entry_id), trades))
            self._trades[shard] += trades
            if len(unread) > self._max_entries + 1:
                # Too long already. A live feed never asks, and runs for months: let the oldest two be one.
                oldest = unread.popleft()
                unread[0] = _Unread(unread[0].entry_id, unread[0].trades + oldest.trades)

    def look_again(self) -> None:
        """Forget what was counted and look at the streams: an unknown backlog counts as too long."""
        for shard, unread in enumerate(self._unread):
            newest: Any = self._client.xrevrange(keys.trades_stream(shard), count=1)
            unread.clear()
            self._trades[shard] = 0
            if newest:
                self.wrote(shard, newest[0][0], self._max_trades + 1)

    def too_long(self) -> bool:
        """Whether one shard has more trades, or more entries, unread than it may have."""
        if not self._exceeds():
            return False  # no need to ask how far the job is
        for shard, unread in enumerate(self._unread):
            folded: Any = self._client.hget(keys.progress(shard), "position")
            while folded and unread and unread[0].entry_id <= _parsed(folded):
                self._trades[shard] -= unread.popleft().trades
        return self._exceeds()

    def _exceeds(self) -> bool:
        return max(self._trades) > self._max_trades or max(map(len, self._unread)) > self._max_entries


def _parsed(entry_id: bytes) -> tuple[int, int]:
    ms, _, number = entry_id.partition(b"-")
    return int(ms), int(number or 0)
