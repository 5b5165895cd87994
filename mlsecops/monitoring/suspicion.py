"""Extraction scores of the remembered clients, for the gauges of the most suspicious one.

readings of detectors → latest score of each client → largest, until its client is forgotten
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from mlsecops._bounded.mapping import BoundedMap
from mlsecops.monitoring.service.state import hashed
from mlsecops.monitoring.telemetry.exporter import Series
from mlsecops.readings import COVERAGE, EXTRACTION, Reading

_TTL: Final = 3600.0  # seconds that a silent client is remembered; as the detectors' own
_MOST_SHARED: Final = 16  # clients; chosen: more than the one that counts
_METRICS: Final = (EXTRACTION, COVERAGE)

SuspectKey: TypeAlias = tuple[int, str | None]


@dataclass(slots=True)
class _Suspect:
    at: float = -math.inf
    scores: dict[str, float] = field(default_factory=dict)


class Suspicion:
    """Scores of each client by each detector, bounded in number and in time."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._known: BoundedMap[SuspectKey, _Suspect] = BoundedMap(_Suspect, ttl=_TTL)

    def take(self, detector: int, readings: Iterable[Reading], now: float) -> None:
        """Remember a detector's readings at a Unix time in seconds."""
        fresh = [each for each in readings if each.metric in _METRICS]
        for each in fresh:
            suspect = self._known.use((detector, each.client), now)
            suspect.at = now
            suspect.scores[each.metric.name] = each.value
        if fresh:
            self._export(now)

    def forget(self, now: float) -> None:
        """Leave out the clients that were silent for an hour before a Unix time in seconds."""
        if len(self._known):
            self._export(now)

    def shared(self, now: float) -> list[list[Any]]:
        """The largest scores for another process: a client's number, its scores, their time."""
        found = [(client, self._known.get((own, client))) for own, client in self._known]
        plain: list[list[Any]] = [
            [hashed(client), dict(each.scores), each.at]
            for client, each in found
            if each is not None and now - each.at <= _TTL
        ]
        return sorted(plain, key=lambda each: -max(each[1].values()))[:_MOST_SHARED]

    def _export(self, now: float) -> None:
        suspects = [self._known.get(key) for key in self._known]
        recent = [each for each in suspects if each is not None and now - each.at <= _TTL]
        for metric in _METRICS:
            known = [each.scores[metric.name] for each in recent if metric.name in each.scores]
            self._series.replace(metric, {(): max(known)} if known else {})
