"""What is remembered of each client: bounded in number and in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeVar

__all__ = ["ClientState", "Rate"]

K = TypeVar("K")
V = TypeVar("V")

_SLOTS: Final = 12
_SLOT: Final = 5.0


@dataclass(slots=True)
class Rate:
    """Rows a second over the last minute, in slots of five seconds."""

    slots: dict[int, int] = field(default_factory=dict)

    def add(self, rows: int, now: float) -> float:
        """Count rows and give the rate.

        Args:
            rows: Number of rows.
            now: Unix time in seconds.
        """
        slot = int(now // _SLOT)
        self.slots[slot] = self.slots.get(slot, 0) + rows
        for old in [each for each in self.slots if each <= slot - _SLOTS]:
            del self.slots[old]
        return sum(self.slots.values()) / (_SLOTS * _SLOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """What a monitor knows about one client.

    Attributes:
        rows: Rows it sent since it was first remembered.
        rate: Rows a second over the last minute it was active.
    """

    rows: int
    rate: float
