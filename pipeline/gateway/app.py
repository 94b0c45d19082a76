"""The gateway alone: ``REDIS_URL=redis://… uvicorn pipeline.gateway:app``, as many as wanted.

Each process has one subscription. Without REDIS_URL the server ends at once, saying so.
"""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from pipeline.errors import SettingsError
from pipeline.gateway.gateway import Gateway
from pipeline.gateway.limits import Limits
from pipeline.settings import Settings
from pipeline.subscriber import Hub, Subscriber


def create_app(settings: Settings, limits: Limits | None = None) -> Starlette:
    """An ASGI app with its own hub and subscriber, which live as long as its lifespan."""
    if settings.redis_url is None:
        raise SettingsError("REDIS_URL is not set: the gateway alone needs a Redis that a job writes to")
    hub = Hub()
    subscriber = Subscriber(settings.redis_url, hub)
    gateway = Gateway(hub, settings.redis_url, settings, limits)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        subscriber.start()
        await gateway.start()
        try:
            yield
        finally:
            await gateway.stop()
            subscriber.stop()

    return Starlette(routes=gateway.routes, lifespan=lifespan)


@functools.cache
def _from_environment() -> Starlette:
    return create_app(Settings.from_env(os.environ))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Made at the first call: importing this module reads no environment."""
    try:
        served = _from_environment()
    except SettingsError as error:
        if scope["type"] != "lifespan":
            raise
        # Raised, it would count as "this app has no lifespan", and the server would go on without.
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await served(scope, receive, send)
