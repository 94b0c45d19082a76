"""From the hub to every client: one wake-up of the loop a batch, one encoding a frame.

Two threads meet in the :class:`Inbox`; everything else lives in the loop's. The fan-out keeps its
own copy of the newest candles, the ``board``, which moves on exactly when frames are sent: a client
that joins is given the board's candle and then every revision after it, none twice and none older.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from pipeline.gateway import frames
from pipeline.gateway.client import Client, Sending
from pipeline.gateway.limits import Limits
from pipeline.gateway.metrics import Metrics
from pipeline.gateway.slots import Slot, Slots
from pipeline.gateway.wire import Frame
from pipeline.hub import Gap, Hub
from pipeline.update import Pair, Update

ALL: Final = "ALL"
_WHEEL: Final = 30
"""Keepalives go out in so many portions, not to everyone at once."""


def slot_of(update: Update) -> Slot:
    return Slot(update.symbol, update.interval, update.open_time_ms, update.is_closed)


def note(kind: str, number: int = 0) -> Slot:
    """Slot of a frame that is no candle; a newer one of the same kind and number supersedes it."""
    return Slot("", kind, number, False)


class Inbox:
    """What the subscriber's thread leaves for the loop: bounded by the number of open windows."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        self._loop = loop
        self._metrics = metrics
        self._lock = threading.Lock()
        self._slots: Slots[Update | Gap] = Slots()
        self._superseded = 0
        self.filled = asyncio.Event()

    def put(self, items: Sequence[Update | Gap]) -> None:
        """Called in the subscriber's thread."""
        with self._lock:
            wake = not self._slots
            for item in items:
                slot = (
                    slot_of(item) if isinstance(item, Update) else Slot(item.symbol, item.interval, -1, False)
                )
                self._superseded += len(self._slots.put(slot, item))
        if wake:
            # The loop may be closed while the process ends; then nobody waits for this.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.filled.set)

    def take(self) -> list[Update | Gap]:
        with self._lock:
            self.filled.clear()
            items = [item for _, item in self._slots.take()]
            self._metrics.frames_superseded += self._superseded
            self._superseded = 0
        return items


class FanOut:
    """Clients by symbol (or ALL) and interval, and the two tasks that write to them."""

    def __init__(self, hub: Hub, limits: Limits, metrics: Metrics) -> None:
        self._hub = hub
        self._limits = limits
        self._metrics = metrics
        self._groups: defaultdict[Pair, dict[Client, None]] = defaultdict(dict)
        self._wheel: list[dict[Client, None]] = [{} for _ in range(_WHEEL)]
        self._spoke = 0
        self._spokes: dict[Client, int] = {}
        self._spread_done = asyncio.Event()
        self.board = Hub()

    def __len__(self) -> int:
        return len(self._spokes)

    def by_symbol(self) -> dict[str, int]:
        """Clients by the symbol they asked for; ALL is one."""
        counts: Counter[str] = Counter()
        for (symbol, _), clients in self._groups.items():
            counts[symbol] += len(clients)
        return dict(sorted(counts.items()))

    def join(self, client: Client) -> None:
        self._groups[client.symbol, client.interval][client] = None
        self._wheel[self._spoke][client] = None
        self._spokes[client] = self._spoke

    def leave(self, client: Client) -> None:
        pair = (client.symbol, client.interval)
        self._groups[pair].pop(client, None)
        if not self._groups[pair]:
            del self._groups[pair]
        self._wheel[self._spokes.pop(client)].pop(client)

    async def run(self) -> None:
        """Until cancelled: listen to the hub, write to the clients."""
        inbox = Inbox(asyncio.get_running_loop(), self._metrics)
        stop_listening = self._hub.listen(inbox.put), self._hub.listen_gaps(inbox.put)
        self.board.apply(self._hub.snapshot())
        try:
            while True:
                await inbox.filled.wait()
                await self._spread(inbox.take())
                self._spread_done.set()
        finally:
            for stop in stop_listening:
                stop()

    async def spread(self) -> None:
        """Wait until what the hub has told by now is on the board and sent."""
        self._spread_done.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._spread_done.wait(), 1)

    async def keep_alive(self) -> None:
        """Until cancelled: a keepalive to each client, a portion at a time."""
        while True:
            await asyncio.sleep(self._limits.keepalive_s / _WHEEL)
            self._spoke = (self._spoke + 1) % _WHEEL
            portion = self._wheel[self._spoke]
            if portion:
                keepalive = [(note("keepalive"), frames.keepalive())]
                await self._write(tuple(portion), keepalive, check=True)

    async def _spread(self, items: Sequence[Update | Gap]) -> None:
        """Send ``items`` to whoever wants them. Who joins meanwhile has the board's state already."""
        lists: dict[Pair, list[tuple[Slot, Frame]]] = defaultdict(list)
        updates: list[Update] = []
        for item in items:
            if isinstance(item, Gap):
                self.board.forget((item.symbol, item.interval))
                since = (max(0, item.since[0]), max(0, item.since[1]))
                frame = frames.gap(item.symbol, item.interval, since, "Closed candles may be missing.")
                slot = Slot(item.symbol, item.interval, -1, False)
            elif self.board.apply([item]):
                updates.append(item)
                frame, slot = None, slot_of(item)
            else:
                continue
            for group in ((item.symbol, item.interval), (ALL, item.interval)):
                if group in self._groups:
                    frame = frame or frames.price_update(item)  # type: ignore[arg-type]
                    lists[group].append((slot, frame))
        plan = [(tuple(self._groups[group]), sending) for group, sending in lists.items()]
        for clients, sending in plan:
            await self._write(clients, sending)
        now = frames.now_ms()
        for update in updates:
            self._metrics.publish_to_send.observe((now - update.published_at_ms) / 1000)

    async def _write(self, clients: Sequence[Client], sending: Sending, *, check: bool = False) -> None:
        """The same bytes to many, in portions: others share this loop."""
        wire = b"".join([frame.wire for _, frame in sending])
        portion = self._limits.writes_at_once
        for first in range(0, len(clients), portion):
            if first:
                await asyncio.sleep(0)
            for client in clients[first : first + portion]:
                if check:
                    client.check()
                if client.write(wire):
                    self._metrics.frames_sent += len(sending)
                else:
                    client.keep(sending)
