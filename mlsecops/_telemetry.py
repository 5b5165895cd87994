"""OpenTelemetry tracers, meters and instruments, created once; failures are swallowed.

a room's table of instruments → Telemetry → spans, events, measurements → the SDK that is installed

Without an SDK every call here does nothing. OpenTelemetry is imported at the first use, so that
importing a room does not need it.

Source: OpenTelemetry specification, Metrics SDK, "Duplicate instrument registration": instruments
of one name that are created twice lose data.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "histogram", "observable counter", "observable gauge"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One row of a room's table; the unit is in UCUM (`"s"`, `"By"`, `"{call}"`).

    `bounds` are the upper bounds of a histogram's buckets; the SDK's own by default.
    """

    kind: Kind
    unit: str
    description: str
    bounds: tuple[float, ...] = ()


class Telemetry:
    """Spans, events and measurements of one instrumentation scope.

    Attributes:
        swallowed: Context that swallows an exception and numbers it in `failures`: a failure of
            telemetry must not become the caller's.

    Examples:
        >>> calls = Telemetry("example", "1", {"calls": Instrument("counter", "{call}", "Calls.")})
        >>> calls.measure("calls", 1, {"outcome": "ok"})
        >>> calls.failures
        0
    """

    def __init__(
        self, scope: str, version: str, instruments: Mapping[str, Instrument] | None = None
    ) -> None:
        self._scope = scope, version
        self._table = instruments or {}
        self._lock = threading.Lock()
        self._tracer: Any = None
        self._instruments: dict[str, Any] = {}
        self.swallowed = _Swallowed()

    @property
    def failures(self) -> int:
        """Failures of telemetry so far."""
        return self.swallowed.count

    def tracer(self) -> Any:
        """The scope's tracer."""
        if self._tracer is None:
            from opentelemetry import trace  # noqa: PLC0415 - imported at the first use

            self._tracer = trace.get_tracer(*self._scope)
        return self._tracer

    def measure(self, name: str, value: float, attributes: Mapping[str, str]) -> None:
        """Add to a counter, or record in a histogram; attributes have few values each."""
        with self.swallowed:
            instrument = self._instrument(name)
            record = instrument.add if self._table[name].kind == "counter" else instrument.record
            record(value, dict(attributes))

    def record(self, name: str, values: Iterable[float], attributes: Mapping[str, str]) -> None:
        """Record many values in a histogram; without an SDK nothing is done for each of them."""
        with self.swallowed:
            from opentelemetry import metrics  # noqa: PLC0415 - imported at the first use

            provider = metrics.get_meter_provider()
            if type(provider).__module__.startswith(metrics.__name__):
                return  # the API's own, which discards values
            record = self._instrument(name).record
            for value in values:
                record(value, attributes)

    def observe(self, name: str, callback: Callable[[Any], Any]) -> None:
        """Create an observable instrument; `callback` gives its observations."""
        with self.swallowed:
            self._instrument(name, callbacks=[callback])

    def event(self, name: str, attributes: Mapping[str, Any], *, span: Any = None) -> None:
        """Add an event to a span, by default to the current one."""
        with self.swallowed:
            from opentelemetry import trace  # noqa: PLC0415 - imported at the first use

            (span or trace.get_current_span()).add_event(name, dict(attributes))

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[Any]:
        """A current span, or None; it records no exception, whose message could quote contents."""
        manager: Any = None
        span = None
        with self.swallowed:
            manager = self.tracer().start_as_current_span(
                name, record_exception=False, set_status_on_exception=False
            )
            span = manager.__enter__()
        try:
            yield span
        finally:
            if span is not None:
                with self.swallowed:
                    manager.__exit__(None, None, None)

    def forget(self) -> None:
        """Create tracer and instruments anew at the next use, from the provider of that moment."""
        self._tracer, self._instruments = None, {}

    def _instrument(self, name: str, **options: Any) -> Any:
        if name in self._instruments:
            return self._instruments[name]
        with self._lock:
            if name not in self._instruments:
                from opentelemetry import metrics  # noqa: PLC0415 - imported at the first use

                row = self._table[name]
                meter = metrics.get_meter(*self._scope)
                create = getattr(meter, f"create_{row.kind.replace(' ', '_')}")
                if row.bounds:
                    options["explicit_bucket_boundaries_advisory"] = list(row.bounds)
                self._instruments[name] = create(
                    name, unit=row.unit, description=row.description, **options
                )
            return self._instruments[name]


class _Swallowed:
    """Reusable context that swallows exceptions and keeps their number."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: object, _trace: object) -> bool:
        swallowed = isinstance(error, Exception)
        self.count += swallowed
        return swallowed
