"""Which calls are kept as they were: none unless asked, the newest few, redacted first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlsecops.errors import UsageError
from mlsecops.monitoring.queue import CallRecord

__all__ = ["Captured", "Captures"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captured:
    """One call as it was.

    Attributes:
        at: Unix time in seconds when it ended.
        client: Who called, or None.
        request_id: Its id, or None.
        inputs: A copy of what the model saw.
        result: A copy of what it answered.
    """

    at: float
    client: Any
    request_id: Any
    inputs: Any
    result: Any


class Captures:
    """The newest calls, for whoever investigates.

    Args:
        capacity: How many; 0 keeps none.
        redact: Gives what may be kept of a call, or None; if it fails, nothing of the call is kept.
    """

    def __init__(
        self, capacity: int = 0, redact: Callable[[Captured], Captured | None] | None = None
    ) -> None:
        if capacity < 0:
            raise UsageError(f"capture: expected a number of calls, got {capacity}")
        if redact is not None and not capacity:
            raise UsageError("redact: nothing is kept; say how many calls with capture=…")
        self._redact = redact
        self._kept: deque[Captured] = deque(maxlen=capacity)

    def fresh(self) -> Captures:
        """The same, with nothing in it."""
        return Captures(self._kept.maxlen or 0, self._redact)

    @property
    def wanted(self) -> bool:
        """Whether anything is kept."""
        return bool(self._kept.maxlen)

    @property
    def kept(self) -> tuple[Captured, ...]:
        """What is kept, oldest first."""
        return tuple(self._kept)

    def take(self, event: CallRecord) -> None:
        """Keep a call that gave a result, after redaction."""
        if not self.wanted or event.outcome != "ok":
            return
        whole = Captured(
            at=event.at,
            client=event.client,
            request_id=event.request_id,
            inputs=event.inputs,
            result=event.result,
        )
        kept = whole if self._redact is None else self._redact(whole)
        if kept is not None:
            self._kept.append(kept)
