"""OpenTelemetry signals of a load: one span with its steps, one event, four metrics.

start, steps and outcome of a load → LoadRecord → span, event and measurements

Recorded are names, digests, sizes and durations; of a refusal the rule, the place and the refused
global. Contents are never recorded, nor the message of an error, which may quote some.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from mlsecops._telemetry import Instrument, Telemetry
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
_LONGEST: Final = 200  # characters of an attribute; chosen: enough for a name, too few for contents
_NAMED: Final = re.compile(r"allow_globals=\['([^']+)'\]")

_telemetry: Final = Telemetry(
    SCOPE,
    VERSION,
    {
        CALLS: Instrument("counter", "{load}", "Loads that ended, by outcome and reason."),
        DURATION: Instrument("histogram", "s", "How long loads took."),
        BYTES: Instrument("counter", "By", "Bytes of models that were held for a load."),
        RECHECKS: Instrument("counter", "{check}", "Checks of models that are in use, by outcome."),
    },
)


class LoadRecord:
    """Facts of one load, collected until it ends.

    Args:
        span: The load's span, or None.
    """

    def __init__(self, span: Any) -> None:
        self._span = span
        self._facts: dict[str, Any] = {}

    def note(self, **facts: Any) -> None:
        """Keep facts; an underscore in a name becomes a dot."""
        for name, value in facts.items():
            self._facts[f"mlsecops.load.{name.replace('_', '.')}"] = value

    def add(self, name: str, values: Iterable[str]) -> None:
        """Add texts to a fact that is a sorted list."""
        key = f"mlsecops.load.{name}"
        self._facts[key] = sorted({*self._facts.get(key, ()), *values})

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step of the load, in a child span; its seconds are added to the load's facts."""
        start = time.perf_counter()
        with _telemetry.span(f"{SPAN}.{name}"):
            try:
                yield
            finally:
                key = f"mlsecops.load.{name}.seconds"  # a sharded model repeats steps
                self._facts[key] = self._facts.get(key, 0.0) + time.perf_counter() - start

    def end(self, event: str, *, seconds: float) -> None:
        """Set the facts on the span, add the event, and measure the load."""
        outcome = {"outcome": self._facts["mlsecops.load.outcome"]}
        kinds = ("outcome", "reason", "format", "tier")
        labels = {
            kind: self._facts[f"mlsecops.load.{kind}"]
            for kind in kinds
            if f"mlsecops.load.{kind}" in self._facts
        }
        if self._span is not None:
            with _telemetry.swallowed:
                self._span.set_attributes(self._facts)
            _telemetry.event(event, self._facts, span=self._span)
        _telemetry.measure(CALLS, 1, labels)
        _telemetry.measure(DURATION, seconds, outcome)
        _telemetry.measure(BYTES, self._facts.get("mlsecops.load.bytes", 0), outcome)


@contextlib.contextmanager
def recorded(name: str) -> Iterator[LoadRecord]:
    """Record one load, however it ends.

    Args:
        name: The artifact's name, without the folders above it.
    """
    start = time.perf_counter()
    with _telemetry.span(SPAN) as span:
        load = LoadRecord(span)
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
    """Reason why a load failed: kind of error, rule, place and refused global, and no contents.

    Examples:
        >>> refusal_facts(UsageError("no such file"))
        {'outcome': 'error', 'reason': 'UsageError'}
    """
    fault = isinstance(error, (UsageError, MissingExtra)) or not isinstance(error, MLSecOpsError)
    facts = {"outcome": "error" if fault else "refused", "reason": type(error).__name__}
    if isinstance(error, UnsafeContent):
        facts |= {"rule": error.rule, "where": error.where[:_LONGEST]}
        if reached := _NAMED.search(str(error)):
            facts["global"] = reached[1][:_LONGEST]
    return facts


def record_recheck(outcome: str, *, digest: str, reason: str | None) -> None:
    """Count a check of a model in use, and add an event when the model must not be used any more.

    Args:
        outcome: `"usable"` or `"withdrawn"`.
        digest: The model's root digest.
        reason: Name of the error, or None.
    """
    labels = {"outcome": outcome} | ({} if reason is None else {"reason": reason})
    _telemetry.measure(RECHECKS, 1, labels)
    if reason is not None:
        with _telemetry.span(f"{SPAN}.recheck") as span:
            facts = {"mlsecops.load.digest": digest, "mlsecops.load.reason": reason}
            _telemetry.event(WITHDRAWN, facts, span=span)
