"""The WebSocket endpoint ``/ws/prices/{symbol}``."""

from __future__ import annotations

from dataclasses import replace

from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket

from pipeline.gateway import doors, frames
from pipeline.gateway.client import Client
from pipeline.gateway.endpoint import Endpoint
from pipeline.gateway.fanout import ALL, note, slot_of
from pipeline.gateway.slots import Slot
from pipeline.gateway.wire import Frame
from pipeline.hub import Known
from pipeline.retry import RETRYABLE
from pipeline.update import Position, Update


class Prices(Endpoint):
    """Candles of one symbol, or of ALL, in one interval."""

    def _channel(self, query: QueryParams) -> str:
        doors.since(query)
        return doors.interval(query).value

    def _asked_symbol(self, ask: WebSocket) -> str:
        return str(ask.path_params["symbol"])

    async def _prepare(self, symbol: str, channel: str) -> None:
        await self._gateway.remember(symbol, channel)

    async def _greet(self, client: Client, query: QueryParams) -> None:
        """First frames. What changes meanwhile waits, and comes after them."""
        since = doors.since(query)
        pair = (client.symbol, client.interval)
        hello: list[tuple[Slot, Frame]] = [(note("connection"), frames.connection(*pair))]
        board = self._gateway.fan_out.board
        if since is None or client.symbol == ALL:
            if since is not None:
                hello.append(_gap(client, since, "seq counts by symbol: ALL cannot be resumed."))
            symbols = board.symbols() if client.symbol == ALL else [client.symbol]
            newest = [board.latest(symbol, client.interval) for symbol in symbols]
            client.send([*hello, *(_initial(update) for update in newest if update)])
            return
        client.hold()
        missed = await self._missed(client, since, board.latest(*pair), replace(board.known(pair)))
        client.release([*hello, *missed])

    async def _missed(
        self, client: Client, since: Position, latest: Update | None, known: Known
    ) -> list[tuple[Slot, Frame]]:
        """Frames that bring a client from ``since`` to ``known``, where the board was when it joined."""
        pair = (client.symbol, client.interval)
        fresh = [_initial(latest)] if latest else []
        try:
            missed = await self._gateway.missed.between(pair, since, known)
        except RETRYABLE:
            return [_gap(client, since, "History cannot be read at the moment."), *fresh]
        if missed is None:
            return [_gap(client, since, "History no longer holds all that was missed."), *fresh]
        sending = [
            (update.position, slot_of(update), frames.price_update(update, "history")) for update in missed
        ]
        # Never a candle older than one it has: the newest candle may be of before a closing that it saw.
        if latest and latest.position >= since:
            sending = [one for one in sending if one[0] != latest.position]
            sending.append((latest.position, *_initial(latest)))
        return [(slot, frame) for _, slot, frame in sorted(sending, key=lambda one: one[0])]


def _initial(update: Update) -> tuple[Slot, Frame]:
    return slot_of(update), frames.initial_data(update)


def _gap(client: Client, since: Position, message: str) -> tuple[Slot, Frame]:
    return note("gap"), frames.gap(client.symbol, client.interval, since, message)
