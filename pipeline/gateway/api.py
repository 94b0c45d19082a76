"""The HTTP routes: candles and symbols as JSON, statistics, health, metrics, the test page."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipeline import wall_clock
from pipeline.gateway import doors
from pipeline.gateway.alerts import search
from pipeline.gateway.fanout import ALL
from pipeline.gateway.frames import MODE
from pipeline.gateway.metrics import counter, gauge, histogram, labelled
from pipeline.retry import RETRYABLE

if TYPE_CHECKING:
    from pipeline.gateway.gateway import Gateway

_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_NOTHING_FOREIGN: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'self'"
)


class Api:
    """Answers from the hub where it can, from Redis where it must."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        return [
            Route("/ws/stats", self.stats),
            Route("/ws/test", self.page),
            Route("/api/symbols", self.symbols),
            Route("/api/candles/{symbol}", self.candles),
            Route("/api/alerts", self.alerts),
            Route("/healthz", self.health),
            Route("/metrics", self.metrics),
        ]

    async def stats(self, _: Request) -> Response:
        fan_out = self._gateway.fan_out
        return _json(
            {
                "total_connections": len(fan_out),
                "connections_by_symbol": fan_out.by_symbol(),
                "pubsub_active": self._gateway.hub.connected,
                "mode": MODE,
            }
        )

    async def symbols(self, _: Request) -> Response:
        return _json({"symbols": await self._gateway.known.all()})

    async def candles(self, request: Request) -> Response:
        """Closed candles, oldest first, and the forming one. ``before`` is an open time in ms, exclusive."""
        gateway = self._gateway
        symbol = doors.symbol(request.path_params["symbol"])
        try:
            interval = doors.interval(request.query_params)
            limit = doors.limit(request.query_params, gateway.limits.api_candles)
            before = doors.before(request.query_params)
            if symbol is None or not await gateway.known.has(symbol):
                return _json({"error": "unknown symbol"}, 404)
            closed = await asyncio.to_thread(gateway.store.history, symbol, interval, limit, before)
        except doors.OutOfRange as error:
            return _json(error.body(), 422)
        except RETRYABLE:
            return _json({"error": "history cannot be read at the moment"}, 503)
        latest = gateway.hub.latest(symbol, interval.value)
        forming = latest.payload if latest and not latest.is_closed else "null"
        # Put together as text: no number of a candle passes through a float.
        body = (
            f'{{"symbol":"{symbol}","interval":"{interval.value}","candles":[{",".join(closed)}],'
            f'"forming":{forming}}}'
        )
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    async def alerts(self, request: Request) -> Response:
        """The newest alerts that Redis keeps, newest first. ``since`` is a time in ms, inclusive."""
        gateway, query = self._gateway, request.query_params
        symbol = doors.symbol(query.get("symbol", ALL))
        try:
            alert_type, since_ms = doors.alert_type(query), doors.since_ms(query)
            limit = doors.limit(query, gateway.limits.api_alerts)
            if symbol is None or (symbol != ALL and not await gateway.known.has(symbol)):
                return _json({"error": "unknown symbol"}, 404)
            wanted = None if symbol == ALL else symbol
            found = await search(gateway.store, wanted, alert_type, since_ms, limit)
        except doors.OutOfRange as error:
            return _json(error.body(), 422)
        except RETRYABLE:
            return _json({"error": "alerts cannot be read at the moment"}, 503)
        body = f'{{"alerts":[{",".join(found)}]}}'
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    async def health(self, _: Request) -> Response:
        """200 while candles can arrive, 503 while the subscription is down."""
        active = self._gateway.hub.connected
        body = {"status": "ok" if active else "no subscription", "pubsub_active": active}
        return _json(body, 200 if active else 503)

    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse("\n".join(self._metrics()) + "\n", media_type=_PROMETHEUS)

    async def page(self, _: Request) -> Response:
        return HTMLResponse(_page(), headers={"content-security-policy": _NOTHING_FOREIGN})

    def _metrics(self) -> Iterator[str]:
        hub, fan_out, counts = self._gateway.hub, self._gateway.fan_out, self._gateway.metrics
        name = "candlecast_{}".format
        age_s = (
            (wall_clock.now_ms() - hub.last_message_at_ms) / 1000 if hub.last_message_at_ms else float("nan")
        )
        yield from labelled(
            name("clients"), "WebSocket clients now.", "gauge", "symbol", fan_out.by_symbol().items()
        )
        yield from gauge(
            name("clients_plain"), "Clients served without the server's transport.", counts.plain_clients
        )
        yield from gauge(name("clients_limit"), "WebSocket clients at most.", self._gateway.capacity)
        yield from gauge(name("pubsub_active"), "1 while the Redis subscription is up.", int(hub.connected))
        yield from gauge(name("last_message_age_seconds"), "Since the newest message from Redis.", age_s)
        yield from counter(name("messages_total"), "Messages from Redis.", hub.messages)
        yield from counter(
            name("messages_malformed_total"), "Messages that are neither candles nor alerts.", hub.malformed
        )
        yield from counter(name("revisions_repeated_total"), "Revisions heard twice, or late.", hub.repeated)
        yield from counter(name("reconnects_total"), "Times the subscription came back.", hub.reconnects)
        yield from counter(name("frames_sent_total"), "Frames written to clients.", counts.frames_sent)
        yield from counter(
            name("frames_superseded_total"),
            "Frames overtaken by a newer revision before they were sent.",
            counts.frames_superseded,
        )
        yield from counter(
            name("evictions_total"), "Clients closed because they read too slowly.", counts.evictions
        )
        yield from labelled(
            name("rejections_total"), "Clients turned away or closed for what they did.", "counter", "reason",
            sorted(counts.rejections.items()),
        )  # fmt: skip
        yield from histogram(
            name("publish_to_send_seconds"),
            "From publishing to the last client's write.",
            counts.publish_to_send,
        )


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(body, status, headers={"cache-control": "no-store"})


@functools.cache
def _page() -> str:
    return Path(__file__).with_name("test_page.html").read_text("utf-8")
