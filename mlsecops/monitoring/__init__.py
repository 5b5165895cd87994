"""Monitoring of a model in production.

    caller's thread: `decorator` (`calls`) → `guards` → model
                     → `recorder` → `queue`
    worker thread:   `queue` → `worker` → `calls` → `aggregation`
                     → detectors (`baseline_detector`, `mlsecops.drift`, `mlsecops.extraction`)
                     → readings → `alerts`: rules → Alert → sinks
    labels:          `label_matching` → `accuracy` → readings

`monitor` holds the state of one monitored function (`clients`, `controls`); `telemetry` exports it;
`service` joins the processes of one service; `process_end` (`lifespan`, `finish`) ends them well.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.drift.alarms.sensitivity import BaselineReport as BaselineReport
    from mlsecops.drift.alarms.sensitivity import FeatureSensitivity as FeatureSensitivity
    from mlsecops.drift.baseline import Baseline as Baseline
    from mlsecops.drift.change_detection import Adwin as Adwin
    from mlsecops.drift.change_detection import ChangeDetector as ChangeDetector
    from mlsecops.drift.change_detection import Cusum as Cusum
    from mlsecops.drift.change_detection import PageHinkley as PageHinkley
    from mlsecops.drift.feature_outliers import FeatureAnomalies as FeatureAnomalies
    from mlsecops.drift.histograms import Layout as Layout
    from mlsecops.drift.histograms import Profile as Profile
    from mlsecops.drift.joint_drift import JointDrift as JointDrift
    from mlsecops.drift.loss_estimation import LossEstimator as LossEstimator
    from mlsecops.drift.outliers import Anomalies as Anomalies
    from mlsecops.drift.performance_estimation import Calibration as Calibration
    from mlsecops.drift.performance_estimation import Estimate as Estimate
    from mlsecops.drift.quantile_sketch import Sketch as Sketch
    from mlsecops.drift.rolling_window import Window as Window
    from mlsecops.drift.tests import DriftReport as DriftReport
    from mlsecops.drift.tests import FeatureDrift as FeatureDrift
    from mlsecops.extraction.detector import ExtractionDetector as ExtractionDetector
    from mlsecops.extraction.folder_store import FolderHistoryStore as FolderHistoryStore
    from mlsecops.extraction.linkage import Resemblance as Resemblance
    from mlsecops.extraction.output_perturbation import LabelOnly as LabelOnly
    from mlsecops.extraction.output_perturbation import Output as Output
    from mlsecops.extraction.output_perturbation import ReverseSigmoid as ReverseSigmoid
    from mlsecops.extraction.output_perturbation import Rounded as Rounded
    from mlsecops.extraction.output_perturbation import TopK as TopK
    from mlsecops.extraction.output_perturbation import hardened as hardened
    from mlsecops.extraction.prada import PradaDetector as PradaDetector
    from mlsecops.extraction.stores import HistoryStore as HistoryStore
    from mlsecops.extraction.stores import LocalHistoryStore as LocalHistoryStore
    from mlsecops.extraction.stores import RedisHistoryStore as RedisHistoryStore
    from mlsecops.monitoring.accuracy import AccuracyChange as AccuracyChange
    from mlsecops.monitoring.accuracy import AccuracyPoint as AccuracyPoint
    from mlsecops.monitoring.alerts.rules import DEFAULT_RULES as DEFAULT_RULES
    from mlsecops.monitoring.alerts.rules import AlertRule as AlertRule
    from mlsecops.monitoring.alerts.rules_file import load_rules as load_rules
    from mlsecops.monitoring.alerts.rules_file import rule_from_dict as rule_from_dict
    from mlsecops.monitoring.alerts.rules_file import rule_to_dict as rule_to_dict
    from mlsecops.monitoring.alerts.sinks import AlertmanagerSink as AlertmanagerSink
    from mlsecops.monitoring.alerts.sinks import EventSink as EventSink
    from mlsecops.monitoring.alerts.sinks import LogSink as LogSink
    from mlsecops.monitoring.alerts.sinks import WebhookSink as WebhookSink
    from mlsecops.monitoring.calls.capture import Captured as Captured
    from mlsecops.monitoring.clients import ClientState as ClientState
    from mlsecops.monitoring.decorator import MonitorDecorator as MonitorDecorator
    from mlsecops.monitoring.decorator import Monitored as Monitored
    from mlsecops.monitoring.decorator import MonitoredCall as MonitoredCall
    from mlsecops.monitoring.decorator import monitored as monitored
    from mlsecops.monitoring.guards.guards import Guard as Guard
    from mlsecops.monitoring.guards.guards import InputGuard as InputGuard
    from mlsecops.monitoring.guards.guards import IsolationGuard as IsolationGuard
    from mlsecops.monitoring.guards.guards import RateLimit as RateLimit
    from mlsecops.monitoring.guards.quotas import Quota as Quota
    from mlsecops.monitoring.monitor import Monitor as Monitor
    from mlsecops.monitoring.monitor_state import MonitorState as MonitorState
    from mlsecops.monitoring.process_end import Lifespan as Lifespan
    from mlsecops.monitoring.process_end import finish as finish
    from mlsecops.monitoring.process_end import lifespan as lifespan
    from mlsecops.monitoring.telemetry.metrics import METRICS as METRICS
    from mlsecops.readings import Detector as Detector
    from mlsecops.readings import Metric as Metric
    from mlsecops.readings import Observed as Observed
    from mlsecops.readings import Reading as Reading
else:
    __all__, __getattr__, __dir__ = lazy_face()
