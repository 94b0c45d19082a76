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

from pipeline import wall_clock
from pipeline.alert import Alert, Severity
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


def alerts_channel(severity: Severity) -> str:
    """Takes the place of the interval in a client's group: alerts of at least ``severity``."""
    return f"alerts from {severity.name}"


Item = Update | Gap | Alert


def _slot_of(item: Item) -> Slot:
    """Where any item waits. No alert supersedes another."""
    match item:
        case Alert():
            return note(f"alert {item.id}")
        case Gap():
            return Slot(item.symbol, item.interval, -1, False)
        case _:
            return slot_of(item)


class Inbox:
    """What the subscriber's thread leaves for the loop: bounded by the open windows, and alerts are few."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        self._loop = loop
        self._metrics = metrics
        self._lock = threading.Lock()
        self._slots: Slots[Item] = Slots()
        self._superseded = 0
        self.filled = asyncio.Event()

    def put(self, items: Sequence[Item]) -> None:
        """Called in the subscriber's thread."""
        with self._lock:
            wake = not self._slots
            for item in items:
                self._superseded += len(self._slots.put(_slot_of(item), item))
        if wake:
            # The loop may be closed while the process ends; then nobody waits for this.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.filled.set)

    def take(self) -> list[Item]:
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
        hub = self._hub
        stop_listening = hub.listen(inbox.put), hub.listen_gaps(inbox.put), hub.listen_alerts(inbox.put)
        self.board.apply(hub.snapshot())
        self.board.apply_alerts(reversed(hub.alerts()))
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

    async def _spread(self, items: Sequence[Item]) -> None:
        """Send ``items`` to whoever wants them. Who joins meanwhile has the board's state already."""
        lists: dict[Pair, list[tuple[Slot, Frame]]] = defaultdict(list)
        updates: list[Update] = []
        for item in items:
            if isinstance(item, Update):
                if not self.board.apply([item]):
                    continue
                updates.append(item)
            elif isinstance(item, Gap):
                self.board.forget((item.symbol, item.interval))
            elif not self.board.apply_alerts([item]):
                continue
            groups = [group for group in _groups_of(item) if group in self._groups]
            if groups:
                slot, frame = _slot_of(item), _frame_of(item)
                for group in groups:
                    lists[group].append((slot, frame))
        plan = [(tuple(self._groups[group]), sending) for group, sending in lists.items()]
        for clients, sending in plan:
            await self._write(clients, sending)
        now = wall_clock.now_ms()
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


def _groups_of(item: Item) -> list[Pair]:
    """Whoever wants ``item``."""
    if isinstance(item, Alert):
        channels = [alerts_channel(severity) for severity in Severity if severity <= item.severity]
    else:
        channels = [item.interval]
    return [(symbol, channel) for symbol in (item.symbol, ALL) for channel in channels]


def _frame_of(item: Item) -> Frame:
    match item:
        case Alert():
            return frames.alert(item)
        case Gap():
            since = (max(0, item.since[0]), max(0, item.since[1]))
            return frames.gap(item.symbol, item.interval, since, "Closed candles may be missing.")
        case _:
            return frames.price_update(item)
