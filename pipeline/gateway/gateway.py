"""The gateway put together: its parts, its routes, its two tasks."""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import Final

import redis
from starlette.routing import BaseRoute, WebSocketRoute

from pipeline.gateway.alerts import Alerts
from pipeline.gateway.api import Api
from pipeline.gateway.client import Client
from pipeline.gateway.fanout import FanOut
from pipeline.gateway.known import KnownSymbols
from pipeline.gateway.limits import Limits
from pipeline.gateway.metrics import Metrics
from pipeline.gateway.prices import Prices
from pipeline.gateway.resume import Missed
from pipeline.hub import Hub
from pipeline.market import Interval
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.update import read_updates

log = logging.getLogger(__name__)

_OTHER_FILES: Final = 256
"""Files and sockets of this process that are not clients."""
_MOST_FILES: Final = 65_536
"""Some systems allow no end of files and then refuse to set that as the limit."""


class Gateway:
    """Serves what ``hub`` hears; reads history from ``redis_url``. Give ``routes`` to an ASGI app.

    ``start`` and ``stop`` belong into the lifespan of that app, in the loop that serves it. Nothing
    is connected before a client asks for history.
    """

    def __init__(self, hub: Hub, redis_url: str, settings: Settings, limits: Limits | None = None) -> None:
        self.hub = hub
        self.settings = settings
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.capacity = settings.max_clients
        """Clients at most: MAX_CLIENTS, or as many as the system allows files."""
        self._client = redis.Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=2)
        self.store = Store(self._client)
        self.known = KnownSymbols(hub, self.store, self.limits.symbols_ask_s)
        self.missed = Missed(self.store, settings.history_limit, self.limits.resume_candles)
        self.fan_out = FanOut(hub, self.limits, self.metrics)
        self._tasks: list[asyncio.Task[None]] = []
        self.routes: list[BaseRoute] = [
            *Api(self).routes(),
            WebSocketRoute("/ws/prices/{symbol}", Prices(self)),
            WebSocketRoute("/ws/alerts", Alerts(self)),
        ]

    @property
    def connections(self) -> int:
        """WebSocket clients now."""
        return len(self.fan_out)

    async def start(self) -> None:
        """Listen to the hub, in the loop that runs this."""
        self.capacity = min(self.settings.max_clients, _allow_files(self.settings.max_clients + _OTHER_FILES))
        self._tasks = [
            asyncio.create_task(self.fan_out.run(), name="gateway fan-out"),
            asyncio.create_task(self.fan_out.keep_alive(), name="gateway keepalive"),
        ]
        for task in self._tasks:
            task.add_done_callback(_report)
        await asyncio.sleep(0)  # they have begun: nothing published from here on is missed

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client.close()

    async def remember(self, symbol: str, interval: str) -> None:
        """Have what Redis keeps of a symbol that was not heard of yet; one of ``retry.RETRYABLE``."""
        if self.hub.has(symbol):
            return
        history = await asyncio.to_thread(self.store.history, symbol, Interval(interval), 1)
        latest = await asyncio.to_thread(self.store.latest_of, [symbol])
        if self.hub.apply(read_updates([text.encode() for text in [*history, *latest]])):
            await self.fan_out.spread()

    def join(self, client: Client) -> None:
        self.fan_out.join(client)
        self.metrics.plain_clients += client.transport is None

    def leave(self, client: Client) -> None:
        self.metrics.plain_clients -= client.transport is None
        self.fan_out.leave(client)
        client.leave()


def _allow_files(wanted: int) -> int:
    """Raise this process's limit of open files towards ``wanted``; how many clients fit into it.

    The usual limit of 1,024 would end the accepting of connections long before MAX_CLIENTS.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reachable = min(wanted, _MOST_FILES if hard == resource.RLIM_INFINITY else hard)
    if soft != resource.RLIM_INFINITY and soft < reachable:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
        soft = reachable
    if soft != resource.RLIM_INFINITY and soft < wanted:
        log.info(
            "MAX_CLIENTS: the system allows %d open files, so at most %d clients", soft, soft - _OTHER_FILES
        )
        return soft - _OTHER_FILES
    return wanted - _OTHER_FILES


def _report(task: asyncio.Task[None]) -> None:
    """A task that ends by itself is a defect: say so at once, not at exit."""
    if not task.cancelled() and task.exception():
        log.critical("%s ended", task.get_name(), exc_info=task.exception())
