"""PRADA detector: a normality test of the distances between a client's queries.

    rows, probabilities of a client → distances to earlier queries → Shapiro-Wilk W → reading

It serves as a baseline to compare with. It assumes clients with independent queries: bursts, few
classes and rescans raise false alarms, and it misses uniform noise (`python -m benchmarks
extraction`). Use `ExtractionDetector` if there are benign clients to calibrate on.

Source: Juuti, Szyller, Marchal, Asokan, "PRADA: protecting against DNN model stealing attacks",
IEEE EuroS&P 2019, algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from mlsecops._bounded.mapping import BoundedMap
from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.drift.inputs import Floats
from mlsecops.errors import UsageError
from mlsecops.readings import EXTRACTION, Observed, Reading

_FEWEST: Final = 100  # distances before the first test; PRADA, algorithm 1
_OUTLIER: Final = 3.0  # standard deviations; PRADA, algorithm 1, removes what is further away
_MAX_DISTANCES: Final = 1000  # distances; chosen: bounds the memory and time of a client
# Coefficients of the polynomials for the two largest weights; Royston 1992.
_FIRST: Final = np.array([-2.706056, 4.434685, -2.07119, -0.147981, 0.221157])
_SECOND: Final = np.array([-3.582633, 5.682633, -1.752461, -0.293762, 0.042981])


@dataclass(slots=True)
class _Client:
    """Growing set, its distances, and all distances of one client."""

    grown: dict[int, Floats] = field(default_factory=dict)
    grown_by: dict[int, list[float]] = field(default_factory=dict)
    distances: list[float] = field(default_factory=list)


@concise_repr("_delta", "_memory")
@checked
class PradaDetector:
    """Shapiro-Wilk test of the distances between a client's queries.

    Args:
        delta: W below which a client raises an alarm, in (0, 1).
        capacity: Largest number of clients; the least recently seen is forgotten.
        ttl: Seconds after which a silent client is forgotten.
        memory: Bytes of queries kept of a client. The paper keeps all distant queries; here the
            oldest of the class is dropped when they do not fit.

    Examples:
        >>> PradaDetector().score([[0.0], [1.0]], [[0.9, 0.1], [0.8, 0.2]])
        array([0., 0.])
    """

    control: Final = "Extraction detector"

    def __init__(
        self,
        *,
        delta: float = 0.9,
        capacity: int = 10_000,
        ttl: float = 3600.0,
        memory: int = 2**20,
    ) -> None:
        if not 0 < delta < 1:
            raise UsageError(f"delta: expected (0, 1), got {delta}")
        self._delta = delta
        self._memory = memory
        self._clients: BoundedMap[str | None, _Client] = BoundedMap(
            _Client, capacity=capacity, ttl=ttl
        )

    def observe(self, traffic: Observed) -> Iterator[Reading]:
        """Add a batch, and yield a reading of each of its clients."""
        if traffic.probabilities is None or not traffic.rows.shape[1]:
            return
        classes = traffic.probabilities.argmax(axis=1)
        touched: dict[str | None, _Client] = {}
        for row, name, client, at in zip(
            traffic.rows, classes, traffic.clients, traffic.at, strict=True
        ):
            touched[client] = self._clients.use(client, float(at))
            _grow(touched[client], row, int(name), memory=self._memory)
        for client, state in touched.items():
            yield Reading(
                metric=EXTRACTION,
                value=self._share(state),
                window=f"its last {len(state.distances)} distances",
                client=client,
            )

    def score(self, x: ArrayLike, probabilities: ArrayLike) -> Floats:
        """Share of the threshold after each query of one new client `(n,)`; an alarm above 1.

        The queries `(n, …)` are in order, with the model's answers `(n, k)`.
        """
        rows = np.asarray(x, dtype=np.float64)
        state, shares = _Client(), []
        for row, name in zip(rows, np.asarray(probabilities).argmax(axis=1), strict=True):
            _grow(state, row.ravel(), int(name), memory=self._memory)
            shares.append(self._share(state))
        return np.array(shares)

    def _share(self, state: _Client) -> float:
        """(1 - W) as a share of (1 - delta); 0 while there are too few distances."""
        if len(state.distances) < _FEWEST:
            return 0.0
        values = np.array(state.distances)
        inner = values[np.abs(values - values.mean()) <= _OUTLIER * values.std()]
        return (1 - shapiro_wilk(inner)) / (1 - self._delta)


def _grow(state: _Client, row: Floats, name: int, *, memory: int) -> None:
    by = state.grown_by.setdefault(name, [])
    grown = state.grown.get(name)
    if grown is None:
        state.grown[name] = row[None]
        return
    distance = float(np.sqrt(np.square(grown - row).sum(axis=1).min()))
    state.distances = [*state.distances[-_MAX_DISTANCES + 1 :], distance]
    if not by or distance > np.mean(by) - np.std(by):
        state.grown_by[name] = [*by[-_MAX_DISTANCES + 1 :], distance]
        full = sum(each.nbytes for each in state.grown.values()) > memory
        state.grown[name] = np.concatenate([grown[1:] if full else grown, row[None]])


def shapiro_wilk(values: Floats) -> float:
    """Shapiro-Wilk W of a sample `(n,)`, n ≥ 12: 1 for a normal one, 0 for a constant.

    Source: Royston, "Approximating the Shapiro-Wilk W-test for non-normality", Statistics and
    Computing 2 (1992), equations 6 to 8.
    """
    count = len(values)
    ordered = np.sort(values)
    spread = float(np.square(ordered - ordered.mean()).sum())
    if spread <= 0:
        return 0.0
    quantile = NormalDist().inv_cdf
    middles = np.array([quantile((i - 0.375) / (count + 0.25)) for i in range(1, count + 1)])
    square = float(middles @ middles)
    step = 1 / math.sqrt(count)
    last = float(np.polyval([*_FIRST, middles[-1] / math.sqrt(square)], step))
    before = float(np.polyval([*_SECOND, middles[-2] / math.sqrt(square)], step))
    rest = (square - 2 * middles[-1] ** 2 - 2 * middles[-2] ** 2) / (
        1 - 2 * last**2 - 2 * before**2
    )
    weights = middles / math.sqrt(rest)
    weights[[-1, 0]], weights[[-2, 1]] = (last, -last), (before, -before)
    return float((weights @ ordered) ** 2 / spread)
