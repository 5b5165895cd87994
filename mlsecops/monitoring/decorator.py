"""The decorator: guards before the call, one append after it, and nothing else in between.

Code that cannot be decorated uses a context of the same: `with watching.call(x) as call`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeAlias, TypeVar, overload

from mlsecops._callables import Hooks, called_first, signature_of, wrap
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.rolling_window import Window
from mlsecops.errors import CallRefused, UsageError
from mlsecops.findings import Sink
from mlsecops.monitoring.alerts.rules import DEFAULT_RULES, AlertRule
from mlsecops.monitoring.call_reader import CallReader
from mlsecops.monitoring.capture import Captured, Captures
from mlsecops.monitoring.controls import controls_of
from mlsecops.monitoring.guards.guards import Guard
from mlsecops.monitoring.monitor import Monitor
from mlsecops.monitoring.recorder import Pending, Recorder, Taps
from mlsecops.provenance.digest import Digest
from mlsecops.readings import Detector

__all__ = ["Monitored", "WatchedCall", "Watching", "monitored"]

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
Fallback: TypeAlias = Callable[[CallRefused], Any]


class Monitored(Protocol[P, R_co]):
    """A function that is watched; called like the original.

    Attributes:
        monitor: Its state and control.
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
    """A class method that is watched, before it is bound to its class."""

    monitor: Monitor

    def __call__(self, cls: type[S_contra], /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function."""

    def __get__(self, instance: object, owner: type[S_contra], /) -> Monitored[P, R_co]: ...


@called_first('@monitored("NAME")')
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
    content: bool = True,
    capture: int = 0,
    redact: Callable[[Captured], Captured | None] | None = None,
    spans: float = 0.0,
    digest: Digest | str | None = None,
    clock: Callable[[], float] = time.time,
) -> Watching:
    """Watch a prediction function: its calls, inputs, answers and clients.

    The function keeps its kind, signature, result, exceptions and context. Guards run on the
    caller's thread and may refuse; the rest happens in the background, and what fails there is
    swallowed and counted. Inputs and answers wait as copies in the ring; afterwards only counts
    and sketches remain, unless `capture` asks for more.

    Args:
        name: Value of the `monitor` attribute in every metric and alert.
        baseline: Normal traffic; with it, drift, anomalies and confidence are judged.
        client: Takes the call's arguments, gives who calls.
        request_id: Takes the call's arguments, gives the id under which a label may arrive, or a
            list with an id for each row.
        inputs: Takes the call's arguments, gives the model's input: `(d,)` or `(n, …)`; by
            default the first argument that is not `self` or `cls`.
        probabilities: Takes the result (what a generator returns), gives `(k,)` or `(n, k)`;
            by default the result itself, if it is that.
        guards: May refuse a call, in this order.
        fallback: Takes the refusal and gives what a refused call answers (of a generator:
            the items it yields); by default the refusal is raised.
        detectors: Detectors besides those that the baseline brings.
        rules: When to raise an alert; `DEFAULT_RULES` by default.
        sinks: Callables that are told of each alert, off the caller's thread.
        capacity: Most calls that may wait; more are dropped, counted and alerted.
        window: Which rows count as recent, by number and by age; the last 256 by default.
        content: Whether inputs and answers are looked at; without, only counts, durations,
            refusals and clients' rates are known, and nothing of a call is copied.
        capture: How many of the newest calls are kept as they were (`monitor.captured`).
        redact: Takes what is about to be kept and gives what may be kept of it, or None.
        spans: Share of the calls that become OpenTelemetry spans, 0 to 1.
        digest: The model's digest, for alerts.
        clock: Unix time in seconds.

    Raises:
        UsageError: The name is empty, a number is out of its range, or what is decorated is no
            function.
    """
    if not name:
        raise UsageError("monitored: expected a name, got ''")
    if not 0 <= spans <= 1:
        raise UsageError(f"spans: expected a share between 0 and 1, got {spans}")
    # A digest given as text is parsed, so that an alert never carries one that cannot be looked up.
    known = Digest.parse(digest) if isinstance(digest, str) else digest
    watching = tuple(guards)
    capturing = Captures(capture, redact)

    def recorder(first: Callable[..., Any]) -> Recorder:
        monitor = Monitor(
            name,
            baseline=baseline,
            reader=CallReader(baseline, probabilities),
            detectors=tuple(detectors or ()),
            rules=tuple(DEFAULT_RULES if rules is None else rules),
            sinks=tuple(sinks),
            capacity=capacity,
            digest=None if known is None else str(known),
            clock=clock,
            controls=controls_of(
                guards=watching, detectors=detectors or (), baseline=baseline, labels=request_id
            ),
            captures=capturing.fresh(),
            window=window,
        )
        return Recorder(
            monitor,
            taps=Taps(client=client, request_id=request_id, inputs=inputs or first),
            guards=watching,
            clock=clock,
            spans=spans,
            content=content,
        )

    return Watching(recorder, fallback)


class Watching:
    """What `monitored` gives: a decorator, and a context for code that cannot be decorated.

    Args:
        recorder: Makes what records the calls of one function.
        fallback: Gives what a refused call of a decorated function answers.
    """

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
        """Watch a function; each has a monitor of its own.

        Raises:
            UsageError: It is no function.
        """
        return wrap(function, self._hooks, decorator="monitored")

    def _hooks(self, function: Callable[..., Any]) -> Hooks:
        recorder = self._make(_first_argument(function))
        refused = {} if self._fallback is None else {"refused": self._fallback}
        return Hooks(
            before=recorder.admit,
            before_steps=recorder.admit_steps,
            after=recorder.ended,
            failed=recorder.failed,
            attributes={"monitor": recorder.monitor},
            **refused,
        )

    @property
    def monitor(self) -> Monitor:
        """The monitor of the calls that `call` watches."""
        return self._recorder.monitor

    @property
    def _recorder(self) -> Recorder:
        if self._own is None:
            self._own = self._make(_no_argument)
        return self._own

    def call(
        self, inputs: Any = None, *, client: Any = None, request_id: Any = None
    ) -> WatchedCall:
        """A context around code that calls the model; guards run as it is entered.

        Args:
            inputs: What the model is about to see.
            client: Who calls.
            request_id: Under which id a label may arrive.
        """
        return WatchedCall(self._recorder, (client, request_id, inputs))


class WatchedCall:
    """One call of the model in code that cannot be decorated; good for one `with`.

    Attributes:
        result: What the model answered; set it inside the context.

    Args:
        recorder: Records the call.
        facts: Client, request id and inputs.
    """

    def __init__(self, recorder: Recorder, facts: tuple[Any, Any, Any]) -> None:
        self._recorder = recorder
        self._facts = facts
        self._pending: Pending | None = None
        self.result: Any = None

    def __enter__(self) -> Self:
        """Begin the call.

        Raises:
            CallRefused: A guard refused.
            UsageError: It was entered before.
        """
        if self._pending is not None:
            raise UsageError("this call was entered before: make one with call() for each")
        self._pending = self._recorder.begin(*self._facts)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pending is None:
            return
        if error is None:
            self._recorder.ended(self._pending, self.result)
        else:
            self._recorder.failed(self._pending, error)


def _first_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Takes the first argument that is not the instance or class."""
    signature = signature_of(function)
    names = [] if signature is None else list(signature.parameters)
    place = 1 if names[:1] in (["self"], ["cls"]) else 0
    name = names[place] if len(names) > place else ""

    def first(*args: Any, **kwargs: Any) -> Any:
        return args[place] if len(args) > place else kwargs.get(name)

    return first


def _no_argument(*_: Any, **__: Any) -> None:
    """The inputs of a context are given, not taken from arguments."""
