"""What happens in live traffic: guards before the model, detectors behind it, alerts from rules.

The caller's thread runs the guards and leaves one event in a ring (`monitored`, `kinds`,
`recorder`, `guards`, `quotas`, `ring`). A background thread drains it (`worker`), turns
events into tables (`batching`, `traffic`), compares them with the baseline (`watch` over
`baseline`, `drift`, `anomalies`, `profile`, `sketch`, `changes`), asks further
detectors (`extraction` over `evidence`, `trails`, `sharing` and `resemblance`; `prada`;
`features`) and matches late labels (`performance`, `accuracy`); `calibration` and
`losses` say what to expect before there are any. All of them give readings; `alerting` turns
readings into alerts by `rules`, and `sinks` deliver them. Counts leave the process through
`instruments`, under the names of the one table in `telemetry`. `outputs` makes
answers tell less to whoever would copy the model.
"""

from __future__ import annotations

from mlsecops.drift.baseline import Baseline
from mlsecops.drift.change_detection import Adwin, ChangeDetector, Cusum, PageHinkley
from mlsecops.drift.feature_outliers import FeatureAnomalies
from mlsecops.drift.histograms import Layout, Profile
from mlsecops.drift.joint_drift import JointDrift
from mlsecops.drift.loss_estimation import LossEstimator
from mlsecops.drift.outliers import Anomalies
from mlsecops.drift.performance_estimation import Calibration, Estimate
from mlsecops.drift.quantile_sketch import Sketch
from mlsecops.drift.rolling_window import Window
from mlsecops.drift.tests import DriftReport, FeatureDrift
from mlsecops.extraction.detector import ExtractionDetector
from mlsecops.extraction.linkage import Resemblance
from mlsecops.extraction.output_perturbation import (
    LabelOnly,
    Output,
    ReverseSigmoid,
    Rounded,
    TopK,
    hardened,
)
from mlsecops.extraction.prada import PradaDetector
from mlsecops.extraction.stores import LocalTrails, RedisTrails, Trails
from mlsecops.monitoring.accuracy import AccuracyChange, AccuracyPoint
from mlsecops.monitoring.alerts.rules import DEFAULT_RULES, Rule
from mlsecops.monitoring.alerts.rules_file import load_rules, rule_from_dict, rule_to_dict
from mlsecops.monitoring.alerts.sinks import AlertmanagerSink, EventSink, LogSink, WebhookSink
from mlsecops.monitoring.capture import Captured
from mlsecops.monitoring.clients import ClientState
from mlsecops.monitoring.decorator import Monitored, WatchedCall, Watching, monitored
from mlsecops.monitoring.guards.guards import Guard, InputGuard, IsolationGuard, RateLimit
from mlsecops.monitoring.guards.quotas import Quota
from mlsecops.monitoring.monitor import Monitor, MonitorState
from mlsecops.monitoring.telemetry.metrics import METRICS
from mlsecops.readings import Detector, Metric, Observed, Reading

__all__ = [
    "DEFAULT_RULES",
    "METRICS",
    "AccuracyChange",
    "AccuracyPoint",
    "Adwin",
    "AlertmanagerSink",
    "Anomalies",
    "Baseline",
    "Calibration",
    "Captured",
    "ChangeDetector",
    "ClientState",
    "Cusum",
    "Detector",
    "DriftReport",
    "Estimate",
    "EventSink",
    "ExtractionDetector",
    "FeatureAnomalies",
    "FeatureDrift",
    "Guard",
    "InputGuard",
    "IsolationGuard",
    "JointDrift",
    "LabelOnly",
    "Layout",
    "LocalTrails",
    "LogSink",
    "LossEstimator",
    "Metric",
    "Monitor",
    "MonitorState",
    "Monitored",
    "Observed",
    "Output",
    "PageHinkley",
    "PradaDetector",
    "Profile",
    "Quota",
    "RateLimit",
    "Reading",
    "RedisTrails",
    "Resemblance",
    "ReverseSigmoid",
    "Rounded",
    "Rule",
    "Sketch",
    "TopK",
    "Trails",
    "WatchedCall",
    "Watching",
    "WebhookSink",
    "Window",
    "hardened",
    "load_rules",
    "monitored",
    "rule_from_dict",
    "rule_to_dict",
]
