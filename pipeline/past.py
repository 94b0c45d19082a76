"""States of the last minute, to go back to when Redis has lost what it had confirmed.

Source and roll-up each keep one, at the same entries, beside their state in Flink. So the job can
return to how it was when it had folded a certain entry, and fold again from there, without Flink
having a checkpoint of just that moment.
"""

from __future__ import annotations

import pickle
from typing import Final, Self

EVERY_S: Final = 5.0
"""How often a state is kept."""
KEPT: Final = 12
"""States kept. A machine that loses power loses what the system had not yet put on its disk: some 30 s."""
BEGINNING: Final = "0-0"
"""Before the first entry: there, nothing needs to be kept."""


def order(entry_id: str) -> tuple[int, int]:
    """Stream ids as numbers, to be compared."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


class Past:
    """The newest states kept, each with the id of the last entry in it."""

    def __init__(self, states: list[tuple[str, bytes]] | None = None) -> None:
        self._states = states or []

    @classmethod
    def load(cls, saved: bytes | None) -> Self:
        """What :meth:`save` gave; an empty one for None."""
        return cls(pickle.loads(saved) if saved else None)  # noqa: S301  our own checkpoint

    def save(self) -> bytes:
        return pickle.dumps(self._states)

    def keep(self, entry_id: str, state: bytes) -> None:
        """Remember ``state`` as that after ``entry_id``."""
        self._states = [*self._states, (entry_id, state)][-KEPT:]

    def back_to(self, entry_id: str) -> tuple[str, bytes | None]:
        """The newest state that holds nothing after ``entry_id``; None for that before the first entry.

        Newer ones are forgotten: they hold what never was.
        """
        limit = order(entry_id)
        self._states = [kept for kept in self._states if order(kept[0]) <= limit]
        return self._states[-1] if self._states else (BEGINNING, None)
