"""Recorder of calls on the caller's thread: facts, guards, a span, one append to the queue.

admit → model → ended or failed; a failure in the recorder never reaches the caller
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mlsecops.errors import CallRefused
from mlsecops.monitoring.guards.guards import Guard
from mlsecops.monitoring.identifier_length import bounded
from mlsecops.monitoring.monitor import Monitor
from mlsecops.monitoring.queue import CallRecord, held_bytes
from mlsecops.monitoring.telemetry.spans import Spanned, start_span

_NANO: Final = 1e-9  # seconds in a nanosecond

Facts: TypeAlias = tuple[Any, Any, Any]
Pending: TypeAlias = tuple[Facts, Spanned | None, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """Functions of a call's arguments; None where there are no clients or no request ids."""

    client: Callable[..., Any] | None
    request_id: Callable[..., Any] | None
    inputs: Callable[..., Any]


class Recorder:
    """Recorder of the calls of one monitored function; the arguments are those of `monitored`."""

    __slots__ = ("_clock", "_content", "_guards", "_spans", "_taps", "monitor")

    def __init__(
        self,
        monitor: Monitor,
        *,
        taps: Taps,
        guards: Sequence[Guard],
        clock: Callable[[], float],
        spans: float,
        content: bool,
    ) -> None:
        self.monitor = monitor
        self._taps = taps
        self._guards = tuple(guards)
        self._clock = clock
        self._spans = spans
        self._content = content
        for guard in self._guards:
            monitor.guarded(type(guard).__name__)

    def admit(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, current: bool = True
    ) -> Pending:
        """Take the facts out of a call's arguments, and let guards refuse the call.

        `current` makes its span the parent of spans inside the call.
        """
        taps = self._taps
        client = None if taps.client is None else self._tap(taps.client, args, kwargs)
        request_id = None if taps.request_id is None else self._tap(taps.request_id, args, kwargs)
        inputs = self._tap(taps.inputs, args, kwargs)
        return self.begin(client, request_id, inputs, current=current)

    def admit_steps(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pending:
        """As `admit`, for a generator: between its steps other code runs in the same context."""
        return self.admit(args, kwargs, current=False)

    def begin(self, client: Any, request_id: Any, inputs: Any, *, current: bool = True) -> Pending:
        """Begin a call whose facts are known, unless a guard refuses it (`CallRefused`)."""
        client, request_id = bounded(client), bounded(request_id)
        if self._guards:
            self._ask(client, inputs)
        kept = self._keep(inputs) if self._content else None
        span = self._span(current=current) if random.random() < self._spans else None  # noqa: S311 - a sample, no secret
        return (client, request_id, kept), span, time.perf_counter_ns()

    def ended(self, call: Pending, result: Any) -> Any:
        """Record a call that returned, and return its result."""
        facts, span, start = call
        seconds = (time.perf_counter_ns() - start) * _NANO
        if span is not None:
            self._finish(span, "ok", "")
        kept = self._keep(result) if self._content else None
        self._record(("ok", ""), seconds, facts, kept)
        return result

    def failed(self, call: Pending, error: BaseException) -> None:
        """Record a call that raised."""
        facts, span, start = call
        seconds = (time.perf_counter_ns() - start) * _NANO
        kind = type(error).__name__
        if span is not None:
            self._finish(span, "error", kind)
        self._record(("error", kind), seconds, facts, None)

    def _ask(self, client: Any, inputs: Any) -> None:
        """Ask each guard; a guard that fails refuses the call too."""
        for guard in self._guards:
            try:
                guard.check(client, inputs)
            except CallRefused:
                self._refused(guard, client)
                raise
            except Exception as error:
                self._refused(guard, client)
                raise CallRefused(
                    f"{type(guard).__name__} failed, so the call is refused: {error}"
                ) from error

    def _refused(self, guard: Guard, client: Any) -> None:
        self._record(("refused", type(guard).__name__), 0.0, (client, None, None), None)

    def _tap(self, tap: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return tap(*args, **kwargs)
        except Exception:  # noqa: BLE001 - a tap is user code, and must not refuse a call
            self.monitor.failed()
            return None

    def _span(self, *, current: bool) -> Spanned | None:
        try:
            return start_span(self.monitor.name, self.monitor.digest, current=current)
        except Exception:  # noqa: BLE001 - telemetry never changes what the caller sees
            self.monitor.failed()
            return None

    def _finish(self, span: Spanned, outcome: str, error: str) -> None:
        try:
            span.end(outcome, error)
        except Exception:  # noqa: BLE001 - as above
            self.monitor.failed()

    def _record(self, outcome: tuple[str, str], seconds: float, facts: Facts, result: Any) -> None:
        try:
            size = held_bytes(facts[1]) + held_bytes(facts[2]) + held_bytes(result)
            self.monitor.record(CallRecord(self._clock(), seconds, *outcome, *facts, result), size)
        except Exception:  # noqa: BLE001 - as above
            self.monitor.failed()

    def _keep(self, value: Any) -> Any:
        """A copy where the caller could change the original before the worker reads it."""
        try:
            if hasattr(value, "detach"):
                return value.detach().to("cpu", copy=True)
            if hasattr(value, "__array__") or isinstance(value, (list, dict)):
                copy = getattr(value, "copy", None)
                return value if copy is None else copy()
        except Exception:  # noqa: BLE001 - a user object may refuse to be copied
            self.monitor.failed()
            return None
        return value
