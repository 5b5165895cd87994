"""Extraction scores of the remembered clients, for the gauges of the most suspicious one.

readings of detectors → latest score of each client → largest, until its client is forgotten

Ten thousand clients are remembered, and a batch has scores of a few: a heap tells the largest
without a look at every client.
"""

from __future__ import annotations

import heapq
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
_STALE: Final = 64  # entries of a heap besides two for each client; chosen
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
        self._tops = {metric.name: _Tops(metric.name, self._known) for metric in _METRICS}

    def take(self, detector: int, readings: Iterable[Reading], now: float) -> None:
        """Remember a detector's readings at a Unix time in seconds."""
        fresh = [each for each in readings if each.metric in _METRICS]
        for each in fresh:
            key, name = (detector, each.client), each.metric.name
            suspect = self._known.use(key, now)
            suspect.at = now
            suspect.scores[name] = each.value
            self._tops[name].add(key, each.value)
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
        for metric in _METRICS:
            highest = self._tops[metric.name].highest(now)
            self._series.replace(metric, {} if highest is None else {(): highest})


class _Tops:
    """The largest score of one metric among the clients that are remembered.

    An entry of its heap is stale once its client has another score or is forgotten.
    """

    def __init__(self, metric: str, known: BoundedMap[SuspectKey, _Suspect]) -> None:
        self._metric = metric
        self._known = known
        self._heap: list[tuple[float, int, SuspectKey]] = []
        self._added = 0

    def add(self, key: SuspectKey, score: float) -> None:
        """Add a client's latest score."""
        self._added += 1  # names need not be comparable
        heapq.heappush(self._heap, (-score, self._added, key))
        if len(self._heap) > 2 * len(self._known) + _STALE:
            self._heap = [
                (-each.scores[self._metric], number, own)
                for number, own in enumerate(self._known)
                if (each := self._known.get(own)) is not None and self._metric in each.scores
            ]
            heapq.heapify(self._heap)

    def highest(self, now: float) -> float | None:
        """The largest score, without clients that were silent for an hour before a Unix time."""
        while self._heap:
            score, _, key = self._heap[0]
            suspect = self._known.get(key)
            if (
                suspect is not None
                and suspect.scores.get(self._metric) == -score
                and now - suspect.at <= _TTL
            ):
                return -score
            heapq.heappop(self._heap)
        return None
