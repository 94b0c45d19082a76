"""Two gateways as they are often written, small on purpose: what ours is measured against.

* ``send_json``: an asyncio Redis listener, and ``await websocket.send_json`` for each client;
* ``new_loop``: a thread that listens to Redis and makes a new event loop for each message.

Both decode each candle and let every send encode the frame again.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import redis
import redis.asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline import keys


class Manager:
    """The clients, and the loop over them."""

    def __init__(self) -> None:
        self.active: list[WebSocket] = []

    async def endpoint(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.active.append(websocket)
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            self.active.remove(websocket)

    async def broadcast(self, data: bytes) -> None:
        frame: dict[str, Any] = {"type": "price_update", "data": json.loads(data), "source": "redis_pubsub"}
        for websocket in list(self.active):
            with suppress(Exception):  # a client that has left must not end the others' messages
                await websocket.send_json(frame)

    async def stats(self, _: Request) -> JSONResponse:
        return JSONResponse({"total_connections": len(self.active), "pubsub_active": True})


def send_json(url: str) -> Starlette:
    manager = Manager()

    async def listen() -> None:
        pubsub = redis.asyncio.Redis.from_url(url).pubsub()
        await pubsub.subscribe(keys.UPDATES_CHANNEL)
        async for message in pubsub.listen():
            if message["type"] == "message":
                await manager.broadcast(message["data"])

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(listen())
        yield
        task.cancel()

    return _app(manager, lifespan)


def new_loop(url: str) -> Starlette:
    manager = Manager()

    def listen() -> None:
        pubsub = redis.Redis.from_url(url).pubsub()
        pubsub.subscribe(keys.UPDATES_CHANNEL)
        for message in pubsub.listen():
            if message["type"] == "message":
                loop = asyncio.new_event_loop()
                loop.run_until_complete(manager.broadcast(message["data"]))
                loop.close()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        threading.Thread(target=listen, daemon=True).start()
        yield

    return _app(manager, lifespan)


def _app(manager: Manager, lifespan: Any) -> Starlette:
    routes = [Route("/ws/stats", manager.stats), WebSocketRoute("/ws/prices/{symbol}", manager.endpoint)]
    return Starlette(routes=routes, lifespan=lifespan)
