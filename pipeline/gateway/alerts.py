"""Alerts for clients: the WebSocket endpoint ``/ws/alerts``, and a search of what Redis keeps."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket

from pipeline.alert import Alert, AlertType
from pipeline.errors import InvalidAlert
from pipeline.gateway import doors, frames
from pipeline.gateway.client import Client
from pipeline.gateway.endpoint import Endpoint
from pipeline.gateway.fanout import ALL, alerts_channel, note
from pipeline.store import Store

INITIAL: Final = 50
"""Alerts in ``initial_data``."""
_READ_AT_ONCE: Final = 500


class Alerts(Endpoint):
    """Alerts of one symbol, or of ALL, of at least one severity."""

    def _channel(self, query: QueryParams) -> str:
        return alerts_channel(doors.severity(query))

    def _asked_symbol(self, ask: WebSocket) -> str:
        return ask.query_params.get("symbol", ALL)

    async def _greet(self, client: Client, query: QueryParams) -> None:
        # The board's alerts, not the hub's: those move on exactly when frames are sent.
        severity = doors.severity(query)
        newest = [
            alert
            for alert in self._gateway.fan_out.board.alerts()
            if client.symbol in {ALL, alert.symbol} and alert.severity >= severity
        ]
        client.send(
            [
                (note("connection"), frames.alerts_connection(client.symbol, severity)),
                (note("initial_data"), frames.alerts_initial_data(client.symbol, newest[:INITIAL])),
            ]
        )


async def search(
    store: Store, symbol: str | None, alert_type: AlertType | None, since_ms: int, limit: int
) -> list[str]:
    """JSON of the newest ``limit`` alerts that fit, newest first; one of ``retry.RETRYABLE``."""
    found: list[str] = []
    before = "+"
    while len(found) < limit:
        records = await asyncio.to_thread(store.alerts_before, before, _READ_AT_ONCE)
        for record in records:
            text = record.get("alert", "")
            if _fits(text, symbol, alert_type, since_ms):
                found.append(text)
        if len(records) < _READ_AT_ONCE:
            break
        before = records[-1]["id"]
    return found[:limit]


def _fits(text: str, symbol: str | None, alert_type: AlertType | None, since_ms: int) -> bool:
    """Whether it is an alert at all, for it goes into our answer as it is, and one that was asked for."""
    try:
        alert = Alert.from_json(text)
    except InvalidAlert:
        return False
    return (
        symbol in {None, alert.symbol}
        and alert_type in {None, alert.alert_type}
        and alert.triggered_at_ms >= since_ms
    )
