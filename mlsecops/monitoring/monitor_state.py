"""State of a monitor at one moment, as `fn.monitor.snapshot()` returns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mlsecops._repr import concise_repr
from mlsecops.drift.histograms import Profile
from mlsecops.drift.tests import DriftReport
from mlsecops.findings import Alert
from mlsecops.monitoring.accuracy import AccuracyChange, AccuracyPoint
from mlsecops.monitoring.clients import ClientState


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorState:
    """State of a monitor at one moment.

    Attributes:
        calls: Calls that ended, refused ones included.
        processed: Calls that were aggregated.
        dropped: Calls that were not, because the queue was full or the monitor closed.
        failures: Failures of the monitoring, which were swallowed.
        confidence: Mean confidence of the recent predictions, or None without probabilities.
        anomaly: Share of the recent rows that are anomalous, or None without a baseline.
        drift: Latest comparison with the baseline, or None before the first.
        clients: Traffic of each client that is remembered.
        accuracy: Accuracy over the recent labels, or None without labels.
        alerts: The newest alerts, oldest first.
        profile: Distribution of all inputs so far, or None without a baseline.
        confidences: Upper bound → predictions with a confidence between it and the bound before.
        anomalies: Detector → rows over its threshold.
        expected_accuracy: Estimate from confidence, or None without labels in the baseline.
        accuracy_change: The latest change of accuracy, or None.
        accuracy_points: Accuracy over time, one point for fifty labels, oldest first.
        expected_loss: Estimated loss of recent answers that are no classes, or None.
        prediction_drift: Latest comparison of the answers with the baseline, or None.
        unread_inputs: Calls whose inputs the baseline could not read.
        unread_answers: Calls whose answers could not be read or compared.
    """

    calls: int
    processed: int
    dropped: int
    failures: int
    confidence: float | None
    anomaly: float | None
    drift: DriftReport | None
    clients: Mapping[str, ClientState]
    accuracy: float | None
    alerts: tuple[Alert, ...]
    profile: Profile | None
    confidences: Mapping[str, int] = field(default_factory=dict)
    anomalies: Mapping[str, int] = field(default_factory=dict)
    expected_accuracy: float | None = None
    accuracy_change: AccuracyChange | None = None
    accuracy_points: tuple[AccuracyPoint, ...] = ()
    expected_loss: float | None = None
    prediction_drift: DriftReport | None = None
    unread_inputs: int = 0
    unread_answers: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        change, profile, moved = self.accuracy_change, self.profile, self.prediction_drift
        return plain | {
            "drift": None if self.drift is None else self.drift.to_dict(),
            "prediction_drift": None if moved is None else moved.to_dict(),
            "clients": {name: asdict(each) for name, each in self.clients.items()},
            "accuracy_change": None if change is None else asdict(change),
            "accuracy_points": [asdict(each) for each in self.accuracy_points],
            "alerts": [alert.to_dict() for alert in self.alerts],
            "profile": None if profile is None else {"rows": profile.count},
            "confidences": dict(self.confidences),
            "anomalies": dict(self.anomalies),
        }
