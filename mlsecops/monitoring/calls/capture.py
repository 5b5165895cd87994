"""Captured calls: the newest calls with their inputs and results, redacted; none by default."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlsecops._repr import concise_repr
from mlsecops.monitoring.queue import CallRecord


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captured:
    """One call with its inputs and result.

    Attributes:
        at: Unix time in seconds when it ended.
        client: Name of the caller, or None.
        request_id: Id of the request, or None.
        inputs: A copy of the model's inputs.
        result: A copy of its answer.
    """

    at: float
    client: Any
    request_id: Any
    inputs: Any
    result: Any


class Captures:
    """The newest calls, up to `capacity`, for an investigation.

    `redact` returns what may be kept of a call, or None; if it raises, nothing is kept.
    """

    def __init__(self, capacity: int, redact: Callable[[Captured], Captured | None] | None) -> None:
        self._redact = redact
        self._kept: deque[Captured] = deque(maxlen=capacity)

    @property
    def wanted(self) -> bool:
        """Whether calls are captured."""
        return bool(self._kept.maxlen)

    @property
    def kept(self) -> tuple[Captured, ...]:
        """The captured calls, oldest first."""
        return tuple(self._kept)

    def take(self, event: CallRecord) -> None:
        """Redact and keep a call that gave a result."""
        if not self.wanted or event.outcome != "ok":
            return
        whole = Captured(**{name: getattr(event, name) for name in Captured.__slots__})
        kept = whole if self._redact is None else self._redact(whole)
        if kept is not None:
            self._kept.append(kept)
