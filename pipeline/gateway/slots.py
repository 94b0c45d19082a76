"""The newest revision of each window: what waits, for a client or for the loop, never a backlog."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar


class Slot(NamedTuple):
    """Where a thing waits. Frames that are no candles have an empty symbol."""

    symbol: str
    interval: str
    open_time_ms: int
    is_closed: bool


Item = TypeVar("Item")


class Slots(Generic[Item]):
    """Items in the order in which they are to be sent, one a slot.

    A newer revision takes the place of the one before it, at the end of the order. A closed candle
    also takes the place of its window's forming one; nothing but its own kind replaces a closed one.
    """

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[Slot, Item] = {}

    def __len__(self) -> int:
        return len(self._items)

    def put(self, slot: Slot, item: Item) -> list[Item]:
        """Add ``item``; returns what it superseded."""
        items = self._items
        superseded = []
        if (before := items.pop(slot, None)) is not None:
            superseded.append(before)
        if slot.is_closed and (forming := items.pop(slot._replace(is_closed=False), None)) is not None:
            superseded.append(forming)
        items[slot] = item
        return superseded

    def pop(self) -> Item:
        """Take the one that waits longest; KeyError if there is none."""
        for slot in self._items:
            return self._items.pop(slot)
        raise KeyError("nothing waits")

    def take(self) -> list[tuple[Slot, Item]]:
        """Take all, in order."""
        items, self._items = self._items, {}
        return list(items.items())
