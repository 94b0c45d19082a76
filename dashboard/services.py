"""The process's own things, one of each: settings, hub, subscriber, gateway, and the embedded run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis
import streamlit as st

from dashboard.ending import one_line
from dashboard.meter import Meter
from pipeline.gateway import Gateway
from pipeline.hub import Hub
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.subscriber import Subscriber

if TYPE_CHECKING:
    from pipeline.embedded import Embedded


@dataclass(frozen=True)
class Services:
    """Made once a process; nothing is connected before :meth:`run`."""

    settings: Settings
    redis_url: str
    hub: Hub
    subscriber: Subscriber
    gateway: Gateway
    store: Store
    meter: Meter
    client: redis.Redis
    embedded: Embedded | None
    """Set where no REDIS_URL was given: then we run Redis, feed and job ourselves."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Services:
        embedded = None
        redis_url = settings.redis_url
        if redis_url is None:
            from pipeline.embedded import Embedded  # noqa: PLC0415  (only this kind of run needs it)

            embedded = Embedded(settings)
            redis_url = embedded.redis_url
        hub = Hub()
        client = redis.Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=2)
        return cls(
            settings=settings,
            redis_url=redis_url,
            hub=hub,
            subscriber=Subscriber(redis_url, hub),
            gateway=Gateway(hub, redis_url, settings),
            store=Store(client),
            meter=Meter(hub),
            client=client,
            embedded=embedded,
        )

    def flink_url(self) -> str:
        """Where the job's Flink answers: our own child's, or the cluster's of FLINK_URL."""
        return self.embedded.flink_url if self.embedded else self.settings.flink_url

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Start in the order in which they need each other; stop in the reverse one."""
        if self.embedded:
            with one_line():
                self.embedded.start()
        self.subscriber.start()
        await self.gateway.start()
        try:
            yield
        finally:
            await self.gateway.stop()
            self.subscriber.stop()
            self.client.close()
            if self.embedded:
                self.embedded.stop()


# Held by Streamlit's cache, not by a module global: a hot reload runs this module a second time.
@st.cache_resource(show_spinner=False)
def services() -> Services:
    """The process's services. SettingsError where the environment is wrong."""
    return Services.from_settings(Settings.from_env(os.environ))


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Lifespan of st.App: everything that is started here is stopped here."""
    async with services().run():
        yield
