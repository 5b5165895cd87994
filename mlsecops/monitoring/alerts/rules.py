"""Alert rules as data, and the evaluation of readings against them.

    readings → AlertRule.breached → cooldown per rule and client → Alert → sinks

The same rules become Prometheus alerts through `AlertRule.expression`.
"""

from __future__ import annotations

import math
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from mlsecops._choices import one_of
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity, Sink
from mlsecops.monitoring.alerts.delivery import QueuedSink
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.readings import Reading

_REMEMBERED: Final = 10_000  # cooldowns; chosen: as many as clients are remembered
_KEPT: Final = 256  # alerts in a state; chosen: bounds its memory
_ID: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """A condition on one metric.

    Attributes:
        id: Stable id in kebab-case.
        metric: Name of a metric of `monitoring.METRICS`.
        comparison: `">"` or `"<"`: side of the threshold on which the rule fires.
        threshold: Limit of the reading (of a counter: of its increase).
        relative_to: Name of a metric that the threshold is multiplied by, or None.
        window: Seconds over which a counter's increase is measured; detectors state a window of
            their readings.
        severity: Severity of its alerts.
        atlas: MITRE ATLAS technique id, or None.
        message: One sentence for the person on call.
        cooldown: Seconds without further alerts after the rule fired.
        per: Scope of the cooldown: `"client"` or `"monitor"`, for all its clients.
    """

    id: str
    metric: str
    comparison: Literal[">", "<"]
    threshold: float
    severity: Severity
    message: str
    relative_to: str | None = None
    window: float = 300.0
    atlas: str | None = None
    cooldown: float = 300.0
    per: Literal["client", "monitor"] = "client"

    def __post_init__(self) -> None:
        if _ID.fullmatch(self.id) is None:
            raise UsageError(f"rule {self.id[:40]!r}: expected an id in kebab-case")
        one_of(f"rule {self.id}: comparison", self.comparison, (">", "<"))
        one_of(f"rule {self.id}: per", self.per, ("client", "monitor"))
        if not (math.isfinite(self.threshold) and self.window > 0 and self.cooldown >= 0):
            raise UsageError(
                f"rule {self.id}: expected a number as threshold, a window above 0 and a "
                f"cooldown of at least 0, got {self.threshold}, {self.window}, {self.cooldown}"
            )
        for name in (self.metric, self.relative_to):
            if name is not None and all(name != each.name for each in telemetry.METRICS):
                raise UsageError(f"rule {self.id}: expected a metric of METRICS, got {name!r}")

    def limit(self, reading: Reading) -> float | None:
        """The threshold for a reading, or None if its reference is unknown."""
        if self.relative_to is None:
            return self.threshold
        return None if reading.reference is None else self.threshold * reading.reference

    def breached(self, reading: Reading) -> bool:
        """Whether the rule fires on a reading."""
        limit = self.limit(reading)
        if limit is None or reading.metric.name != self.metric:
            return False
        return reading.value > limit if self.comparison == ">" else reading.value < limit

    def expression(self, window: str | None = None) -> str:
        """The rule in PromQL, with another window (`"15s"`) than the rule's if one is given."""
        read = telemetry.metric(self.metric)
        if read.kind == "counter":
            increase = f"increase({read.prometheus}[{window or f'{self.window:.0f}s'}])"
            return f"sum by (monitor) ({increase}) {self.comparison} {self.threshold:g}"
        value = f"max by (monitor) ({read.prometheus})"
        if self.relative_to is None:
            return f"{value} {self.comparison} {self.threshold:g}"
        reference = f"max by (monitor) ({telemetry.metric(self.relative_to).prometheus})"
        return f"{value} {self.comparison} {self.threshold:g} * {reference}"


def alert_name(rule: str) -> str:
    """Name of a rule's alert in Prometheus and Alertmanager (`"MlsecopsAccuracyDrop"`)."""
    return "Mlsecops" + "".join(word.capitalize() for word in rule.split("-"))


# fmt: off
DEFAULT_RULES: Final[tuple[AlertRule, ...]] = (
    AlertRule(id="confidence-low", metric=telemetry.CONFIDENCE.name, comparison="<", threshold=0.9,
        relative_to=telemetry.CONFIDENCE_BASELINE.name, severity=Severity.HIGH, atlas="AML.T0043",
        message="Mean confidence fell below nine tenths of the baseline's: the inputs are not what "
        "the model was trained on, or somebody crafts them."),
    AlertRule(id="drift", metric=telemetry.DRIFTED_FEATURES.name, comparison=">", threshold=0,
        severity=Severity.MEDIUM, atlas="AML.T0020",
        message="The distribution of the inputs has moved away from the baseline: do not retrain "
        "on this traffic before it is screened."),
    AlertRule(id="input-anomaly", metric=telemetry.ANOMALY_RATIO.name, comparison=">",
        threshold=0.15, severity=Severity.HIGH, atlas="AML.T0043",
        message="Many inputs lie outside what the model was built for: they may be adversarial."),
    AlertRule(id="extraction", metric=telemetry.EXTRACTION.name, comparison=">", threshold=1.0,
        severity=Severity.CRITICAL, atlas="AML.T0024.002", cooldown=3600.0,
        message="A client queries as one does to copy the model."),
    AlertRule(id="accuracy-drop", metric=telemetry.ACCURACY.name, comparison="<", threshold=0.9,
        relative_to=telemetry.REFERENCE_ACCURACY.name, severity=Severity.HIGH, atlas="AML.T0020",
        message="Accuracy on late labels fell below nine tenths of what it was: the world has "
        "changed, or the model or its data was tampered with."),
    AlertRule(id="accuracy-slide", metric=telemetry.ACCURACY_SLIDE.name, comparison=">",
        threshold=0.05, severity=Severity.MEDIUM, atlas="AML.T0020", cooldown=3600.0,
        message="Accuracy on late labels has been falling slowly: the world changes, or somebody "
        "changes the data bit by bit. Screen recent data before retraining on it."),
    AlertRule(id="prediction-drift", metric=telemetry.DRIFTED_PREDICTIONS.name, comparison=">",
        threshold=0, severity=Severity.MEDIUM, atlas="AML.T0043",
        message="Confidence or the mix of predicted classes has moved away from the baseline's. "
        "Surer than usual is as strange as less sure: adversarial inputs are often answered with "
        "certainty."),
    AlertRule(id="query-rate", metric=telemetry.CLIENT_RATE.name, comparison=">", threshold=100.0,
        window=60.0, severity=Severity.MEDIUM, atlas="AML.T0034",
        message="A client sends more than a hundred rows a second: limit its rate."),
    AlertRule(id="dropped", metric=telemetry.DROPPED.name, comparison=">", threshold=0,
        severity=Severity.HIGH,
        message="Calls went unobserved because the queue was full: raise its capacity, or find out "
        "who floods the model to blind its monitoring."),
)
# fmt: on


class Alerting:
    """Evaluates rules on the worker thread, and passes alerts to the sinks.

    Exceptions of sinks are swallowed, and reported by `failed`. `clock` is Unix time in seconds.
    """

    def __init__(
        self,
        rules: Iterable[AlertRule],
        sinks: Iterable[Sink],
        *,
        monitor: str,
        digest: str | None,
        clock: Callable[[], float],
        failed: Callable[[], None],
    ) -> None:
        self._rules: dict[str, list[AlertRule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.metric, []).append(rule)
        self._sinks = tuple(sinks)
        self._monitor = monitor
        self._digest = digest
        self._clock = clock
        self._failed = failed
        self._fired: OrderedDict[tuple[str, str | None], float] = OrderedDict()
        self._alerts: deque[Alert] = deque(maxlen=_KEPT)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The newest alerts, oldest first."""
        return tuple(self._alerts)

    def consider(self, readings: Iterable[Reading]) -> list[Alert]:
        """Evaluate readings against the rules about their metrics; returns the new alerts."""
        return self.judge(
            (rule, reading)
            for reading in readings
            for rule in self._rules.get(reading.metric.name, ())
        )

    def judge(self, pairs: Iterable[tuple[AlertRule, Reading]]) -> list[Alert]:
        """Evaluate each reading against its rule; returns the new alerts."""
        raised = [
            self._alert(rule, reading)
            for rule, reading in pairs
            if rule.breached(reading) and not self._cooling(rule, reading.client)
        ]
        for alert in raised:
            self._alerts.append(alert)
            self._notify(alert)
        return raised

    def _cooling(self, rule: AlertRule, client: str | None) -> bool:
        """Whether the rule fired recently for this client; if not, the cooldown begins."""
        key, now = (rule.id, client if rule.per == "client" else None), self._clock()
        last = self._fired.get(key)
        if last is not None and 0 <= now - last < rule.cooldown:
            return True
        self._fired[key] = now
        self._fired.move_to_end(key)
        if len(self._fired) > _REMEMBERED:
            self._fired.popitem(last=False)
        return False

    def _alert(self, rule: AlertRule, reading: Reading) -> Alert:
        return Alert(
            rule=rule.id,
            monitor=self._monitor,
            client=reading.client,
            digest=self._digest,
            reading=reading.value,
            threshold=rule.limit(reading) or 0.0,
            window=reading.window,
            severity=rule.severity,
            atlas=rule.atlas,
            message=rule.message,
            at=datetime.fromtimestamp(self._clock(), UTC),
        )

    def deliver(self, timeout: float) -> bool:
        """Wait for at most `timeout` seconds; returns whether all sinks have delivered."""
        deadline = time.monotonic() + timeout
        couriers = [sink for sink in self._sinks if isinstance(sink, QueuedSink)]
        done = [each.flush(max(0.0, deadline - time.monotonic())) for each in couriers]
        return all(done)

    def _notify(self, alert: Alert) -> None:
        for sink in self._sinks:
            try:
                sink(alert)
            except Exception:  # noqa: BLE001 - a sink's failure must not stop the others
                self._failed()
