"""Traffic of each client: rows so far and rows a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mlsecops._repr import concise_repr
from mlsecops.monitoring.service.state import hashed

_SLOTS: Final = 12  # slots in the window of a rate
_SLOT: Final = 5.0  # seconds; chosen: a minute in 12 slots


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """Traffic of one client.

    Attributes:
        rows: Rows since the client was first seen.
        rate: Rows a second over the last minute in which it was active.
    """

    rows: int
    rate: float


@dataclass(slots=True)
class ClientTraffic:
    """Counter of one client's rows, in slots of five seconds; `number` is made of its name."""

    rows: int = 0
    rate: float = 0.0
    slots: dict[int, int] = field(default_factory=dict)
    number: int | None = None

    def add(self, rows: int, now: float) -> float:
        """Add rows at a Unix time in seconds; returns the rate."""
        slot = int(now // _SLOT)
        self.slots[slot] = self.slots.get(slot, 0) + rows
        self.rows += rows
        self.rate = self.current(now)
        return self.rate

    def current(self, now: float) -> float:
        """Rows a second over the minute before a Unix time in seconds."""
        slot = int(now // _SLOT)
        # Slots to come are of a clock that was set back; one is of calls that overtook each other.
        for old in [each for each in list(self.slots) if not slot - _SLOTS < each <= slot + 1]:
            self.slots.pop(old, None)  # a reader on another thread may have been faster
        return sum(list(self.slots.values())) / (_SLOTS * _SLOT)


def numbered(name: str, client: ClientTraffic) -> int:
    """The number that stands for a client among processes; it is computed once."""
    if client.number is None:
        client.number = hashed(name)
    return client.number
