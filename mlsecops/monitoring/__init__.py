"""What happens in live traffic: guards before the model, detectors behind it, alerts from rules.

The caller's thread runs the guards and leaves one event in a ring (``monitored``, ``kinds``,
``recorder``, ``guards``, ``quotas``, ``ring``). A background thread drains it (``worker``), turns
events into tables (``batching``, ``traffic``), compares them with the baseline (``watch`` over
``baseline``, ``drift``, ``anomalies``, ``profile``, ``sketch``, ``changes``), asks further
detectors (``extraction`` over ``evidence``, ``trails``, ``sharing`` and ``resemblance``; ``prada``;
``features``) and matches late labels (``performance``, ``accuracy``); ``calibration`` and
``losses`` say what to expect before there are any. All of them give readings; ``alerting`` turns
readings into alerts by ``rules``, and ``sinks`` deliver them. Counts leave the process through
``instruments``, under the names of the one table in ``telemetry``. ``outputs`` makes
answers tell less to whoever would copy the model.
"""

from __future__ import annotations

from mlsecops.monitoring.accuracy import AccuracyChange, AccuracyPoint
from mlsecops.monitoring.alerting import DEFAULT_RULES, Rule
from mlsecops.monitoring.anomalies import Anomalies
from mlsecops.monitoring.baseline import Baseline
from mlsecops.monitoring.calibration import Calibration, Estimate
from mlsecops.monitoring.captured import Captured
from mlsecops.monitoring.changes import Adwin, ChangeDetector, Cusum, PageHinkley
from mlsecops.monitoring.clients import ClientState
from mlsecops.monitoring.drift import DriftReport, FeatureDrift
from mlsecops.monitoring.embedding import JointDrift
from mlsecops.monitoring.extraction import ExtractionDetector
from mlsecops.monitoring.features import FeatureAnomalies
from mlsecops.monitoring.guards import Guard, InputGuard, IsolationGuard, RateLimit
from mlsecops.monitoring.losses import LossEstimator
from mlsecops.monitoring.monitor import Monitor, MonitorState
from mlsecops.monitoring.monitored import Monitored, WatchedCall, Watching, monitored
from mlsecops.monitoring.outputs import LabelOnly, Output, ReverseSigmoid, Rounded, TopK, hardened
from mlsecops.monitoring.prada import PradaDetector
from mlsecops.monitoring.profile import Layout, Profile
from mlsecops.monitoring.quotas import Quota
from mlsecops.monitoring.readings import Detector, Observed, Reading
from mlsecops.monitoring.recent import Window
from mlsecops.monitoring.resemblance import Resemblance
from mlsecops.monitoring.rules import load_rules, rule_from_dict, rule_to_dict
from mlsecops.monitoring.sharing import LocalTrails, RedisTrails, Trails
from mlsecops.monitoring.sinks import AlertmanagerSink, EventSink, LogSink, WebhookSink
from mlsecops.monitoring.sketch import Sketch
from mlsecops.monitoring.telemetry import METRICS, Metric

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
