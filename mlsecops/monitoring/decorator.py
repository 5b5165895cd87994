"""Decorator and context manager that monitor a prediction function.

call → guards → model → bounded queue → worker thread (aggregation, rules, sinks)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeAlias, TypeVar, overload

from mlsecops._callables import Hooks, called_first, signature_of, wrap
from mlsecops._choices import checked, number, whole
from mlsecops._repr import concise_repr
from mlsecops.drift.alarms.alarm_rate import AlarmRate
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.rolling_window import Window
from mlsecops.errors import CallRefused, UsageError
from mlsecops.findings import Sink
from mlsecops.monitoring.alerts.rules import DEFAULT_RULES, AlertRule
from mlsecops.monitoring.calls.call_reader import CallReader
from mlsecops.monitoring.calls.capture import Captured, Captures
from mlsecops.monitoring.controls import controls_of
from mlsecops.monitoring.guards.guards import Guard
from mlsecops.monitoring.monitor import Monitor
from mlsecops.monitoring.recorder import Pending, Recorder, Taps
from mlsecops.provenance.digest import Digest
from mlsecops.readings import Detector

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
Fallback: TypeAlias = Callable[[CallRefused], Any]


class Monitored(Protocol[P, R_co]):
    """A monitored function, called like the original.

    Attributes:
        monitor: State and control of the monitoring.
    """

    monitor: Monitor

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function."""

    @overload
    def __get__(self, instance: None, owner: type, /) -> Monitored[P, R_co]: ...
    @overload
    def __get__(
        self: Monitored[Concatenate[S, Q], R_co], instance: S, owner: type | None = None, /
    ) -> Monitored[Q, R_co]: ...


class MonitoredOfClass(Protocol[S_contra, P, R_co]):
    """A monitored class method before it is bound to its class."""

    monitor: Monitor

    def __call__(self, cls: type[S_contra], /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function."""

    def __get__(self, instance: object, owner: type[S_contra], /) -> Monitored[P, R_co]: ...


@called_first('@monitored("NAME")')
@checked
def monitored(
    name: str,
    *,
    baseline: Baseline | None = None,
    client: Callable[..., Any] | None = None,
    request_id: Callable[..., Any] | None = None,
    inputs: Callable[..., Any] | None = None,
    probabilities: Callable[[Any], Any] | None = None,
    guards: Iterable[Guard] = (),
    fallback: Fallback | None = None,
    detectors: Sequence[Detector] | None = None,
    rules: Iterable[AlertRule] | None = None,
    sinks: Iterable[Sink] = (),
    capacity: int = 65_536,
    window: Window | None = None,
    false_alarms: str = "1/week",
    content: bool = True,
    capture: int = 0,
    redact: Callable[[Captured], Captured | None] | None = None,
    spans: float = 0.0,
    digest: Digest | str | None = None,
    clock: Callable[[], float] = time.time,
) -> MonitorDecorator:
    """Monitor a prediction function: its calls, inputs, answers and clients.

    The function keeps its kind, signature, result, exceptions and context. Guards run on the
    caller's thread and may refuse a call. The rest runs in the background; its failures add to a
    metric and never reach the caller. Inputs and answers wait as copies in the queue; after that
    only counts and sketches remain, unless `capture` is set.

    Args:
        name: Value of the `monitor` attribute in every metric and alert.
        baseline: Normal traffic, the reference for drift, anomalies and confidence.
        client: Takes the call's arguments, returns the client.
        request_id: Takes the call's arguments, returns the id under which a label may arrive, or a
            list with an id for each row.
        inputs: Takes the call's arguments, returns the model's input, `(d,)` or `(n, …)`; by
            default the first argument that is not `self` or `cls`.
        probabilities: Takes the result (of a generator: its return value), returns `(k,)` or
            `(n, k)`; by default the result itself if it has that form.
        guards: Checks before a call, in this order.
        fallback: Takes the refusal, returns the answer to a refused call (of a generator: the
            items to yield); by default the refusal is raised.
        detectors: Detectors in addition to those of the baseline.
        rules: Alert rules; `DEFAULT_RULES` by default.
        sinks: Callables that receive each alert, off the caller's thread.
        capacity: Largest number of waiting calls, ≥ 1; others are dropped, with an alert.
        window: Rows that are recent, by number and by age; the last 256 by default.
        false_alarms: Most alerts of each rule that traffic like the baseline's rows, in their
            order, may raise: a number a hour, day, week, month or year.
        content: Whether inputs and answers are read; if not, nothing of a call is copied, and only
            counts, durations, refusals and client rates are known.
        capture: Number of newest calls that are kept whole in `monitor.captured`.
        redact: Takes a call that is about to be kept, returns what may be kept of it, or None.
        spans: Share of the calls that become OpenTelemetry spans, 0 to 1.
        digest: Digest of the model, for alerts.
        clock: Unix time in seconds.

    Returns:
        The decorator, which is also a context for code that cannot be decorated:
        `with watching.call(x) as call`.

    Raises:
        UsageError: An argument is of another type or out of range, or no function is decorated.

    Examples:
        >>> @monitored("doubles")
        ... def predict(x):
        ...     return 2 * x
        >>> predict(2), predict.monitor.name
        (4, 'doubles')
    """
    if not name:
        raise UsageError("name: expected text, got ''")
    number("spans", spans, "a share from 0 to 1", lambda share: 0 <= share <= 1)
    whole("capacity", capacity, "a number of calls from 1 on")
    whole("capture", capture, "a number of calls from 0 on", least=0)
    # A digest given as text is parsed: an alert with another text could not be looked up.
    known = Digest.parse(digest) if isinstance(digest, str) else digest
    if redact is not None and not capture:
        raise UsageError("redact: expected capture= with the number of calls to keep, got none")
    rate = AlarmRate.parse(false_alarms)
    checks, observers = tuple(guards), tuple(detectors or ())

    def recorder(first: Callable[..., Any]) -> Recorder:
        monitor = Monitor(
            name,
            baseline=baseline,
            reader=CallReader(baseline, probabilities),
            detectors=observers,
            rules=tuple(DEFAULT_RULES if rules is None else rules),
            sinks=tuple(sinks),
            capacity=capacity,
            digest=None if known is None else str(known),
            clock=clock,
            controls=controls_of(
                guards=checks, detectors=observers, baseline=baseline, labels=request_id
            ),
            captures=Captures(capture, redact),
            window=window,
            rate=rate,
        )
        return Recorder(
            monitor,
            taps=Taps(client=client, request_id=request_id, inputs=inputs or first),
            guards=checks,
            clock=clock,
            spans=spans,
            content=content,
        )

    return MonitorDecorator(recorder, fallback)


@concise_repr("_fallback")
class MonitorDecorator:
    """Decorator, and context for code that cannot be decorated; `monitored` makes it."""

    def __init__(
        self, recorder: Callable[[Callable[..., Any]], Recorder], fallback: Fallback | None
    ) -> None:
        self._make = recorder
        self._fallback = fallback
        self._own: Recorder | None = None

    @overload
    def __call__(
        self, function: Callable[Concatenate[type[S], P], R], /
    ) -> MonitoredOfClass[S, P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Monitored[P, R]: ...
    def __call__(self, function: Callable[P, R], /) -> Any:
        """Decorate a function; each decorated function has its own monitor."""
        return wrap(function, self._hooks, decorator="monitored")

    def _hooks(self, function: Callable[..., Any]) -> Hooks:
        recorder = self._make(_first_argument(function))
        return Hooks(
            before=recorder.admit,
            before_steps=recorder.admit_steps,
            after=recorder.ended,
            failed=recorder.failed,
            attributes={"monitor": recorder.monitor},
            refused=self._fallback,
        )

    @property
    def monitor(self) -> Monitor:
        """The monitor of the calls in `call` contexts."""
        return self._recorder.monitor

    @property
    def _recorder(self) -> Recorder:
        if self._own is None:
            self._own = self._make(_no_argument)
        return self._own

    def call(
        self, inputs: Any = None, *, client: Any = None, request_id: Any = None
    ) -> MonitoredCall:
        """A context around a call of the model; guards run when it is entered."""
        return MonitoredCall(self._recorder, (client, request_id, inputs))


@concise_repr("result")
class MonitoredCall:
    """One call of the model in code that cannot be decorated, for one `with` statement.

    Attributes:
        result: Answer of the model; set it inside the context.
    """

    def __init__(self, recorder: Recorder, facts: tuple[Any, Any, Any]) -> None:
        self._recorder = recorder
        self._facts = facts
        self._pending: Pending | None = None
        self.result: Any = None

    def __enter__(self) -> Self:
        """Begin the call; a guard may refuse it (`CallRefused`)."""
        if self._pending is not None:
            raise UsageError(
                "call(): expected a new context, got one that was entered; make another"
            )
        self._pending = self._recorder.begin(*self._facts)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._pending is None:
            return
        if error is None:
            self._recorder.ended(self._pending, self.result)
        else:
            self._recorder.failed(self._pending, error)


def _first_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = signature_of(function)
    names = [] if signature is None else list(signature.parameters)
    place = 1 if names[:1] in (["self"], ["cls"]) else 0
    name = names[place] if len(names) > place else ""

    def first(*args: Any, **kwargs: Any) -> Any:
        return args[place] if len(args) > place else kwargs.get(name)

    return first


def _no_argument(*_: Any, **__: Any) -> None:
    """Inputs of a context: they are passed to `call`, not taken from arguments."""
