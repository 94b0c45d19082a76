"""Which symbols exist: those that were heard of, and those that Redis knows."""

from __future__ import annotations

import asyncio
import time

import redis

from pipeline.hub import Hub
from pipeline.retry import RETRYABLE
from pipeline.store import Store


class KnownSymbols:
    """Redis is asked at most once in ``ask_s`` seconds, and only for what was not heard of."""

    def __init__(self, hub: Hub, store: Store, ask_s: float) -> None:
        self._hub = hub
        self._store = store
        self._ask_s = ask_s
        self._stored: frozenset[str] = frozenset()
        self._asked_at = float("-inf")
        self._failed = False
        self._asking = asyncio.Lock()

    async def has(self, symbol: str) -> bool:
        """Whether ``symbol`` exists; one of ``retry.RETRYABLE`` if only Redis could tell, and is away."""
        return self._hub.has(symbol) or symbol in await self._ask()

    async def all(self) -> list[str]:
        """Every known symbol, in order; only those that were heard of while Redis is away."""
        try:
            stored = await self._ask()
        except RETRYABLE:
            stored = self._stored
        return sorted({*self._hub.symbols(), *stored})

    async def _ask(self) -> frozenset[str]:
        async with self._asking:
            if time.monotonic() - self._asked_at > self._ask_s:
                try:
                    self._stored = frozenset(await asyncio.to_thread(self._store.symbols))
                    self._failed = False
                except RETRYABLE:
                    self._failed = True
                    raise
                finally:
                    self._asked_at = time.monotonic()
            if self._failed:
                raise redis.ConnectionError("Redis did not answer a moment ago")
        return self._stored
