"""What a load tells OpenTelemetry: one span with its steps, one event, four metrics.

Names, digests, sizes and durations; of what was refused the rule, the place and the name that was
reached for. Never contents, and no error's message, which may quote some. Whoever installs an SDK
sees it; without one every call here does nothing.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

from mlsecops.errors import MissingExtra, MLSecOpsError, UnsafeContent, UsageError

SCOPE: Final = "mlsecops.loading"
VERSION: Final = "1"
SPAN: Final = "mlsecops.load"
LOADED: Final = "mlsecops.load.loaded"
REFUSED: Final = "mlsecops.load.refused"
WITHDRAWN: Final = "mlsecops.load.withdrawn"
CALLS: Final = "mlsecops.load.calls"
DURATION: Final = "mlsecops.load.duration"
BYTES: Final = "mlsecops.load.bytes"
RECHECKS: Final = "mlsecops.load.rechecks"
_LONGEST: Final = 200
_NAMED: Final = re.compile(r"allow_globals=\['([^']+)'\]")


class Told:
    """What is known of one load so far."""

    def __init__(self, span: Any) -> None:
        self._span = span
        self._facts: dict[str, Any] = {}

    def note(self, **facts: Any) -> None:
        """Keep facts; an underscore in a name stands for a dot."""
        for name, value in facts.items():
            self._facts[f"mlsecops.load.{name.replace('_', '.')}"] = value

    def add(self, name: str, values: Iterable[str]) -> None:
        """Add texts to a fact that is a sorted list."""
        key = f"mlsecops.load.{name}"
        self._facts[key] = sorted({*self._facts.get(key, ()), *values})

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A part of the load, in a span of its own; its seconds become a fact of the whole."""
        start = time.perf_counter()
        with _span(f"{SPAN}.{name}"):
            try:
                yield
            finally:
                key = f"mlsecops.load.{name}.seconds"  # a step may come again, once for each shard
                self._facts[key] = self._facts.get(key, 0.0) + time.perf_counter() - start

    def end(self, event: str, *, seconds: float) -> None:
        """Set the facts on the span, add the event, count the call."""
        outcome = self._facts["mlsecops.load.outcome"]
        kinds = ("outcome", "reason", "format", "tier")
        labels = {
            kind: self._facts[f"mlsecops.load.{kind}"]
            for kind in kinds
            if f"mlsecops.load.{kind}" in self._facts
        }
        with contextlib.suppress(Exception):  # telemetry's own fault must not become the load's
            self._span.set_attributes(self._facts)
            self._span.add_event(event, self._facts)
        with contextlib.suppress(Exception):  # as above
            instruments = _instruments()
            instruments[CALLS].add(1, labels)
            instruments[DURATION].record(seconds, {"outcome": outcome})
            instruments[BYTES].add(self._facts.get("mlsecops.load.bytes", 0), {"outcome": outcome})


@contextlib.contextmanager
def told(name: str) -> Iterator[Told]:
    """Tell of one load, however it ends.

    Args:
        name: The artifact's name, without the folders above it.
    """
    start = time.perf_counter()
    with _span(SPAN) as span:
        load = Told(span)
        load.note(name=name)
        try:
            yield load
        except Exception as error:
            load.note(**refusal_facts(error))
            load.end(REFUSED, seconds=time.perf_counter() - start)
            raise
        load.note(outcome="loaded")
        load.end(LOADED, seconds=time.perf_counter() - start)


def refusal_facts(error: Exception) -> dict[str, str]:
    """Why a load ended without a model, in names that quote nothing of the file but names."""
    fault = isinstance(error, (UsageError, MissingExtra)) or not isinstance(error, MLSecOpsError)
    facts = {"outcome": "error" if fault else "refused", "reason": type(error).__name__}
    if isinstance(error, UnsafeContent):
        facts |= {"rule": error.rule, "where": error.where[:_LONGEST]}
        if reached := _NAMED.search(str(error)):
            facts["global"] = reached[1][:_LONGEST]
    return facts


def tell_recheck(outcome: str, *, digest: str, reason: str | None) -> None:
    """Count a check of a model that is in use; tell when it must not be used any more."""
    with contextlib.suppress(Exception):  # as above
        labels = {"outcome": outcome} | ({} if reason is None else {"reason": reason})
        _instruments()[RECHECKS].add(1, labels)
        if reason is not None:
            with _span(f"{SPAN}.recheck") as span:
                facts = {"mlsecops.load.digest": digest, "mlsecops.load.reason": reason}
                span.add_event(WITHDRAWN, facts)


@contextlib.contextmanager
def _span(name: str) -> Iterator[Any]:
    """A span that records no exception: its message could quote contents."""
    from opentelemetry import trace  # noqa: PLC0415 - scanning alone needs no OpenTelemetry

    manager = trace.get_tracer(SCOPE, VERSION).start_as_current_span(
        name, record_exception=False, set_status_on_exception=False
    )
    span = None
    with contextlib.suppress(Exception):  # as above, at the start and at the end
        span = manager.__enter__()
    try:
        yield span
    finally:
        if span is not None:
            with contextlib.suppress(Exception):
                manager.__exit__(None, None, None)


@cache
def _instruments() -> dict[str, Any]:
    """Made once: instruments of one name that are made twice lose data."""
    from opentelemetry import metrics  # noqa: PLC0415 - as above

    meter = metrics.get_meter(SCOPE, VERSION)
    return {
        CALLS: meter.create_counter(CALLS, "{load}", "Loads that ended, by outcome and reason."),
        DURATION: meter.create_histogram(DURATION, "s", "How long loads took."),
        BYTES: meter.create_counter(BYTES, "By", "Bytes of models that were held for a load."),
        RECHECKS: meter.create_counter(
            RECHECKS, "{check}", "Checks of models that are in use, by outcome."
        ),
    }
