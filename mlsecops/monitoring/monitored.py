"""The decorator: guards before the call, one append after it, and nothing else in between.

Each kind of callable (plain, async, generator, async generator) has a branch of its own, so that
the wrapped function is of the same kind as the original.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast, overload

from mlsecops.errors import CallRefused, UsageError
from mlsecops.findings import Sink
from mlsecops.monitoring.alerting import DEFAULT_RULES, Rule
from mlsecops.monitoring.baseline import Baseline
from mlsecops.monitoring.controls import controls_of
from mlsecops.monitoring.guards import Guard
from mlsecops.monitoring.monitor import Monitor
from mlsecops.monitoring.readings import Detector
from mlsecops.monitoring.ring import Event, held_bytes
from mlsecops.monitoring.traffic import Reader
from mlsecops.provenance.digest import Digest

__all__ = ["Monitored", "monitored"]

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

_NANO: Final = 1e-9


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


def monitored(
    name: str,
    *,
    baseline: Baseline | None = None,
    client: Callable[..., Any] | None = None,
    request_id: Callable[..., Any] | None = None,
    inputs: Callable[..., Any] | None = None,
    probabilities: Callable[[Any], Any] | None = None,
    guards: Iterable[Guard] = (),
    detectors: Sequence[Detector] | None = None,
    rules: Iterable[Rule] | None = None,
    sinks: Iterable[Sink] = (),
    capacity: int = 65_536,
    digest: Digest | str | None = None,
    clock: Callable[[], float] = time.time,
) -> Callable[[Callable[P, R]], Monitored[P, R]]:
    """Watch a prediction function: its calls, inputs, answers and clients.

    The function keeps its kind, signature, result, exceptions and context. Guards run on the
    caller's thread and may refuse; the rest happens in the background, and what fails there is
    swallowed and counted. Inputs and answers wait as copies in the ring; afterwards only counts
    and sketches remain.

    Args:
        name: Value of the ``monitor`` attribute in every metric and alert.
        baseline: Normal traffic; with it, drift, anomalies and confidence are judged.
        client: Takes the call's arguments, gives who calls.
        request_id: Takes the call's arguments, gives the id under which a label may arrive, or a
            list with an id for each row.
        inputs: Takes the call's arguments, gives the model's input: ``(d,)`` or ``(n, …)``; by
            default the first argument that is not ``self`` or ``cls``.
        probabilities: Takes the result (what a generator returns), gives ``(k,)`` or ``(n, k)``;
            by default the result itself, if it is that.
        guards: May refuse a call, in this order.
        detectors: Detectors besides those that the baseline brings.
        rules: When to raise an alert; ``DEFAULT_RULES`` by default.
        sinks: Callables that are told of each alert, off the caller's thread.
        capacity: Most calls that may wait; more are dropped, counted and alerted.
        digest: The model's digest, for alerts.
        clock: Unix time in seconds.

    Raises:
        UsageError: The name is empty, or what is decorated is no function.
    """
    if not name:
        raise UsageError("monitored: expected a name, got ''")
    # A digest given as text is parsed, so that an alert never carries one that cannot be looked up.
    known = Digest.parse(digest) if isinstance(digest, str) else digest
    watching = tuple(guards)

    def decorate(function: Callable[P, R]) -> Monitored[P, R]:
        if isinstance(function, (staticmethod, classmethod)):
            return cast("Monitored[P, R]", type(function)(decorate(function.__func__)))
        if not callable(function):
            raise UsageError(f"monitored: expected a function, got {type(function).__name__}")
        monitor = Monitor(
            name,
            baseline=baseline,
            reader=Reader(baseline, probabilities),
            detectors=tuple(detectors or ()),
            rules=tuple(DEFAULT_RULES if rules is None else rules),
            sinks=tuple(sinks),
            capacity=capacity,
            digest=None if known is None else str(known),
            clock=clock,
            controls=controls_of(
                guards=watching, detectors=detectors or (), baseline=baseline, labels=request_id
            ),
        )
        taps = _Taps(client, request_id, inputs or _first_argument(function))
        return _wrap(function, _Recorder(monitor, taps, watching, clock))

    return decorate


class _Taps:
    """Callables that take facts out of a call's arguments."""

    __slots__ = ("client", "inputs", "request_id")

    def __init__(
        self,
        client: Callable[..., Any] | None,
        request_id: Callable[..., Any] | None,
        inputs: Callable[..., Any],
    ) -> None:
        self.client = client
        self.request_id = request_id
        self.inputs = inputs


class _Recorder:
    """What happens around a call, on the caller's thread."""

    __slots__ = ("_clock", "_guards", "_monitor", "_taps")

    def __init__(
        self,
        monitor: Monitor,
        taps: _Taps,
        guards: tuple[Guard, ...],
        clock: Callable[[], float],
    ) -> None:
        self._monitor = monitor
        self._taps = taps
        self._guards = guards
        self._clock = clock

    @property
    def monitor(self) -> Monitor:
        return self._monitor

    def admit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        """Take the facts out of a call's arguments, and let guards refuse it."""
        taps = self._taps
        client = None if taps.client is None else self._tap(taps.client, args, kwargs)
        request_id = None if taps.request_id is None else self._tap(taps.request_id, args, kwargs)
        inputs = self._tap(taps.inputs, args, kwargs)
        for guard in self._guards:
            try:
                guard.check(client, inputs)
            except CallRefused:
                self._record(("refused", type(guard).__name__), 0.0, (client, None, None), None)
                raise
            except Exception as error:
                self._record(("refused", type(guard).__name__), 0.0, (client, None, None), None)
                raise CallRefused(
                    f"{type(guard).__name__} failed, so the call is refused: {error}"
                ) from error
        return (client, request_id, self._keep(inputs)), time.perf_counter_ns()

    def _tap(self, tap: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a tap gives, or None if it fails."""
        try:
            return tap(*args, **kwargs)
        except Exception:  # noqa: BLE001 - a tap is the user's, and must not refuse a call
            self._monitor.failed()
            return None

    def ended(self, call: _Call, result: Any) -> None:
        """Leave a call that gave a result."""
        facts, start = call
        seconds = (time.perf_counter_ns() - start) * _NANO
        self._record(("ok", ""), seconds, facts, self._keep(result))

    def failed(self, call: _Call, error: BaseException) -> None:
        """Leave a call that raised."""
        facts, start = call
        seconds = (time.perf_counter_ns() - start) * _NANO
        self._record(("error", type(error).__name__), seconds, facts, None)

    def _record(
        self, outcome: tuple[str, str], seconds: float, facts: tuple[Any, Any, Any], result: Any
    ) -> None:
        try:
            size = held_bytes(facts[2]) + held_bytes(result)
            self._monitor.record(Event(self._clock(), seconds, *outcome, *facts, result), size)
        except Exception:  # noqa: BLE001 - telemetry never changes what the caller sees
            self._monitor.failed()

    def _keep(self, value: Any) -> Any:
        """A copy where the caller could change the original before the worker reads it."""
        try:
            if hasattr(value, "detach"):
                return value.detach().clone()
            copy = getattr(value, "copy", None)
            return value if copy is None else copy()
        except Exception:  # noqa: BLE001 - an object of the user's may refuse to be copied
            self._monitor.failed()
            return None


_Call = tuple[tuple[Any, Any, Any], int]


def _wrap(function: Callable[P, R], recorder: _Recorder) -> Monitored[P, R]:
    """The watched function, of the same kind as the original."""
    wrapped: Any
    if inspect.isasyncgenfunction(function):
        wrapped = _async_generator(function, recorder)
    elif inspect.isgeneratorfunction(function):
        wrapped = _generator(function, recorder)
    elif inspect.iscoroutinefunction(function):
        wrapped = _coroutine(function, recorder)
    else:
        wrapped = _plain(function, recorder)
    functools.update_wrapper(wrapped, function)
    wrapped.monitor = recorder.monitor
    return cast("Monitored[P, R]", wrapped)


def _plain(function: Callable[..., Any], recorder: _Recorder) -> Callable[..., Any]:
    admit, ended, failed = recorder.admit, recorder.ended, recorder.failed

    def call(*args: Any, **kwargs: Any) -> Any:
        pending = admit(args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            failed(pending, error)
            raise
        ended(pending, result)
        return result

    return call


def _coroutine(function: Callable[..., Any], recorder: _Recorder) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        pending = recorder.admit(args, kwargs)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            recorder.failed(pending, error)
            raise
        recorder.ended(pending, result)
        return result

    return call


def _generator(function: Callable[..., Any], recorder: _Recorder) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        pending = recorder.admit(args, kwargs)
        try:
            result = yield from function(*args, **kwargs)
        except GeneratorExit:
            recorder.ended(pending, None)
            raise
        except BaseException as error:
            recorder.failed(pending, error)
            raise
        recorder.ended(pending, result)
        return result

    return call


def _async_generator(function: Callable[..., Any], recorder: _Recorder) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        pending = recorder.admit(args, kwargs)
        source = function(*args, **kwargs)
        step: Callable[[], Any] = source.__anext__
        try:
            while True:
                item = await step()
                try:
                    step = functools.partial(source.asend, (yield item))
                except GeneratorExit:
                    await source.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in by the consumer; the original decides
                    step = functools.partial(source.athrow, error)
        except StopAsyncIteration:
            recorder.ended(pending, None)
        except GeneratorExit:
            recorder.ended(pending, None)
            raise
        except BaseException as error:
            recorder.failed(pending, error)
            raise

    return call


def _first_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Takes the first argument that is not the instance or class."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    place = 1 if names[:1] in (["self"], ["cls"]) else 0
    name = names[place] if len(names) > place else ""

    def first(*args: Any, **kwargs: Any) -> Any:
        return args[place] if len(args) > place else kwargs.get(name)

    return first
