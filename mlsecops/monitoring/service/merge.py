"""Readings over the recent traffic of all processes: rates, suspects and accuracy.

WindowState of each process → largest score, busiest client, share of right answers → points

Drift, confidence and outliers need the baseline: `baseline_detector` joins those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from mlsecops.monitoring.service.state import WindowState
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Points
from mlsecops.readings import COVERAGE, EXTRACTION, Metric

_MINUTE: Final = 60.0  # seconds that a client's rate is measured over; as in each process
_TTL: Final = 3600.0  # seconds that a silent client is remembered; as in each process


def is_recent(window: WindowState, now: float, seconds: float) -> bool:
    """Whether a process's newest row is at most so many seconds old at a Unix time in seconds."""
    newest = window.facts.get("newest")
    return newest is not None and now - float(newest) <= seconds


def joined(windows: Sequence[WindowState], now: float) -> dict[str, Points]:
    """Readings that need no baseline, by the metric's name, at a Unix time in seconds."""
    facts = [each.facts for each in windows]
    labels = sum(int(each.get("labels", 0)) for each in facts)
    hits = sum(int(each.get("hits", 0)) for each in facts)
    rates: dict[int, float] = {}
    for each in facts:
        # A process that is idle publishes nothing, and its clients' last minute is over.
        current = now - float(each.get("at", -math.inf)) < _MINUTE
        for client, rate in each.get("busiest", ()) if current else ():
            rates[int(client)] = rates.get(int(client), 0.0) + float(rate)
    clients = {int(each) for window in windows for each in window.arrays.get("clients", ())}
    return {
        telemetry.ACCURACY.name: {(): hits / labels} if labels else {},
        telemetry.REFERENCE_ACCURACY.name: _largest(facts, "reference"),
        # With the labels of all processes chance explains less: the largest limit is still too low.
        telemetry.ACCURACY_LIMIT.name: _largest(facts, "limit"),
        telemetry.ACCURACY_SLIDE.name: _largest(facts, "slide"),
        telemetry.CLIENT_RATE.name: {(): max(rates.values())} if rates else {},
        telemetry.CLIENTS.name: {(): float(len(clients))},
        EXTRACTION.name: _worst(facts, EXTRACTION, now),
        COVERAGE.name: _worst(facts, COVERAGE, now),
    }


def _largest(facts: Sequence[Any], name: str) -> Points:
    known = [float(each[name]) for each in facts if each.get(name) is not None]
    return {(): max(known)} if known else {}


def _worst(facts: Sequence[Any], metric: Metric, now: float) -> Points:
    """The largest score of a client that is still remembered."""
    known = [
        float(scores[metric.name])
        for each in facts
        for _, scores, at in each.get("suspects", ())
        if metric.name in scores and now - float(at) <= _TTL
    ]
    return {(): max(known)} if known else {}
