"""Alert rules as data.

    reading → AlertRule.breached; `alerting` turns breaches into alerts

The same rules become Prometheus alerts through `AlertRule.expression`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from mlsecops._choices import number, of_type, one_of, several
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.findings import Severity
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.readings import Reading

_ID: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_TAKEN: Final = {"alertname", "monitor", "rule", "severity", "atlas", "client"}


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
        cooldown: Seconds for which the reading must keep to the threshold before the alert is
            resolved; until then the rule does not fire again.
        per: Scope of an alert: `"client"` or `"monitor"`, for all its clients.
        pending: Seconds for which the threshold must be exceeded before the rule fires (`for:` in
            Prometheus); 0 by default, since a reading covers a window already.
        labels: Further labels of its alerts, such as those of the team on call.
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
    pending: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if _ID.fullmatch(of_type("id", self.id, str, "text")) is None:
            raise UsageError(f"rule {self.id[:40]!r}: expected an id in kebab-case")
        one_of(f"rule {self.id}: comparison", self.comparison, (">", "<"))
        one_of(f"rule {self.id}: per", self.per, ("client", "monitor"))
        number(f"rule {self.id}: threshold", self.threshold, "a number", lambda _: True)
        number(f"rule {self.id}: window", self.window, "seconds above 0", lambda span: span > 0)
        for delay in ("cooldown", "pending"):
            span = getattr(self, delay)
            number(f"rule {self.id}: {delay}", span, "seconds from 0 on", lambda span: span >= 0)
        checked_labels(f"rule {self.id}: labels", self.labels)
        known = {each.name for each in telemetry.METRICS if each.kind != "histogram"}
        for name in (self.metric, self.relative_to):
            if name is not None and name not in known:
                raise UsageError(
                    f"rule {self.id}: expected a metric of METRICS that is no histogram, "
                    f"got {name!r}"
                )

    def limit(self, reading: Reading) -> float | None:
        """The threshold for a reading, or None if its value or its reference is unknown (NaN too).

        It is never closer than what chance explains at the declared rate of false alarms.
        """
        limit = self.threshold
        if math.isnan(reading.value):
            return None
        if self.relative_to is not None:
            if reading.reference is None or math.isnan(reading.reference):
                return None
            limit *= reading.reference
        if reading.chance is None:
            return limit
        return (max if self.comparison == ">" else min)(limit, reading.chance)

    def breached(self, reading: Reading) -> bool:
        """Whether the rule fires on a reading."""
        limit = self.limit(reading)
        if limit is None or reading.metric.name != self.metric:
            return False
        return reading.value > limit if self.comparison == ">" else reading.value < limit

    def expression(self, window: str | None = None, *, keep: Sequence[str] = ()) -> str:
        """The rule in PromQL, with another window (`"15s"`) than the rule's if one is given.

        The replica that is furthest beyond the threshold decides, in the rule's own direction.
        Increases of counters add up over replicas, unless the rule looks for too small ones.

        Args:
            window: Time window of a counter.
            keep: Labels of the scrape that distinguish services with one monitor name, such as
                `namespace`.
        """
        read = telemetry.metric(self.metric)
        limit = f"{self.comparison} {self.threshold:g}"
        worst = (
            f"{'max' if self.comparison == '>' else 'min'} by ({', '.join((*self._labels, *keep))})"
        )
        if read.kind == "counter":
            increase = f"increase({read.prometheus}[{window or f'{self.window:.0f}s'}])"
            if self.comparison == ">":
                return f"sum by ({', '.join(('monitor', *keep))}) ({increase}) {limit}"
            own = ", ".join(read.labels[1:])
            return f"{worst} (sum without ({own}) ({increase})) {limit}"
        chance = telemetry.LIMITS.get(self.metric)
        if self.relative_to is None and chance is None:
            return f"{worst} ({read.prometheus}) {limit}"
        # Compared replica by replica: each may have a baseline of its own.
        beyond = f"{read.prometheus} {limit}"
        if self.relative_to is not None:
            beyond += f" * {telemetry.metric(self.relative_to).prometheus}"
        if chance is not None:
            beyond += f" and {read.prometheus} {self.comparison} {chance.prometheus}"
        return f"{worst} ({beyond})"

    @property
    def _labels(self) -> tuple[str, ...]:
        """Labels of its alerts: of a gauge all of its own, so that they say what it is about."""
        read = telemetry.metric(self.metric)
        return read.labels if read.kind == "gauge" else read.labels[:1]


def checked_names(name: str, labels: Iterable[str]) -> tuple[str, ...]:
    """Names of labels, as Prometheus accepts them.

    Raises:
        UsageError: They are a single text, or one is malformed or one that alerts have already.
    """
    names = several(name, labels, "names", str)
    for label in names:
        if _LABEL.fullmatch(label) is None or label in _TAKEN:
            raise UsageError(f"{name}: expected names such as team, got {label[:40]!r}")
    return names


def checked_labels(name: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Labels of alerts, as Prometheus and Alertmanager accept them.

    Raises:
        UsageError: They are no mapping, a name is malformed or one that alerts have already, or a
            value is no text.
    """
    if not isinstance(labels, Mapping):
        raise UsageError(f"{name}: expected names and texts, got {type(labels).__name__}")
    checked_names(name, tuple(labels))
    for label, value in labels.items():
        if not isinstance(value, str):
            raise UsageError(f"{name}: expected text as {label}, got {type(value).__name__}")
    return dict(labels)


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
    AlertRule(id="unread", metric=telemetry.UNREAD.name, comparison=">", threshold=0.05,
        severity=Severity.MEDIUM,
        message="Inputs or answers of another form than the baseline's arrive, and nothing watches "
        "them: fit the baseline to what the model gets and gives (predictions= for answers that "
        "are no probabilities), or pass inputs= and probabilities= to monitored."),
    AlertRule(id="dropped", metric=telemetry.DROPPED.name, comparison=">", threshold=0,
        severity=Severity.HIGH,
        message="Calls went unobserved because the queue was full: raise its capacity, or find out "
        "who floods the model to blind its monitoring."),
)
# fmt: on
