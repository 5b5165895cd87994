"""Which client queries as one does to copy the model: its queries' scores against benign clients'.

rows, probabilities per client → three ranks → weighted -log p → CUSUM per client → reading

Each query is scored by its distance to known queries of the same predicted class, by what the
baseline's principal components cannot explain of it, and by its margin (queries near a decision
boundary have a small one). A score becomes a p-value by its rank among benign queries. Queries
that repeat recent ones (retries, rescans) weigh less. A CUSUM for each score and for their mean
adds up what is unusual; thresholds come from benign clients that no rank was computed from.

Sources: Juuti et al. 2019 (PRADA) for distances per class; Page 1954 for the CUSUM; Vovk et al.
2005 for ranks as p-values.

What it cannot find: a thief whose queries have the distribution of benign traffic. Quotas and
less precise answers are the only defence against that one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops.errors import UsageError
from mlsecops.monitoring.anomalies import conformal_threshold
from mlsecops.monitoring.baseline import Baseline
from mlsecops.monitoring.clients import BoundedMap
from mlsecops.monitoring.readings import Observed, Reading
from mlsecops.monitoring.telemetry import EXTRACTION

__all__ = ["ExtractionDetector"]

Floats = NDArray[np.float64]

_CHANNELS: Final = 4
_CAP: Final = 7.0
_ALLOWANCE: Final = 1.75
_SAFETY: Final = 1.5
_FINGERPRINT: Final = 16
_RECENT: Final = 200
_FORGIVENESS: Final = -1.5
_NEAR: Final = 0.4
_MAX_REFERENCE: Final = 4096
_FEWEST_CLIENTS: Final = 4
_FEWEST_OF_CLASS: Final = 20
_BLOCK: Final = 512
_NEIGHBOUR: Final = 5
_FEWEST_MAXIMAL: Final = 12


@dataclass(slots=True)
class _Client:
    """Evidence against one client, in at most 13 kB.

    Attributes:
        sums: CUSUM of each channel ``(4,)``.
        recent: Salted fingerprints of its last queries ``(200, 16)``.
        queries: Number of queries so far.
    """

    sums: Floats
    recent: NDArray[np.float32]
    queries: int = 0


class ExtractionDetector:
    """Watches each client's queries for model extraction; made by ``calibrate`` only.

    Attributes:
        false_positive_rate: Declared share of benign clients that may raise an alarm.
        resolution: Smallest rate that the calibration's number of clients can support; a declared
            rate below it rests on the safety factor alone.
        thresholds: Alarm level of each channel ``(4,)``.
    """

    control: Final = "Extraction detector"

    def __init__(
        self,
        baseline: Baseline,
        reference: tuple[Floats, Floats, NDArray[np.intp]],
        *,
        false_positive_rate: float,
        capacity: int,
        ttl: float,
    ) -> None:
        rows, probabilities, owners = reference
        self._baseline = baseline
        self._points = self._project(rows)
        self._near = _NEAR * _spacing(self._points)
        distance = self._distances(self._points, owners=owners, known=owners)
        # The salt keeps fingerprints from being compared, or inverted, outside this process.
        salt = np.random.default_rng(secrets.randbits(128))
        columns = self._points.shape[1]
        self._salt = salt.normal(size=(columns, _FINGERPRINT)) / np.sqrt(_FINGERPRINT)
        scores = self._scores(rows, probabilities, distance)
        self._ranks = _Ranks(scores, probabilities.argmax(axis=1))
        self._clients: BoundedMap[str | None, _Client] = BoundedMap(
            self._fresh, capacity=capacity, ttl=ttl
        )
        self.false_positive_rate = false_positive_rate
        self.resolution = 1.0
        self.thresholds: Floats = np.full(_CHANNELS, np.inf)

    @classmethod
    def calibrate(
        cls,
        baseline: Baseline,
        clients: Iterable[tuple[ArrayLike, ArrayLike]],
        *,
        false_positive_rate: float,
        capacity: int = 10_000,
        ttl: float = 3600.0,
        seed: int = 0,
    ) -> ExtractionDetector:
        """Learn what benign clients look like.

        Half of the clients become the reference, the other half set the thresholds. Use clients
        of every benign kind there is (few classes, bursts, rescans), each with as many queries as
        clients make within the time for which they are remembered.

        Args:
            baseline: Normal inputs of the model.
            clients: (x ``(n, …)``, probabilities ``(n, k)``) of each benign client, at least 4.
            false_positive_rate: Share of benign clients that may raise an alarm, in (0, 1).
            capacity: Number of clients remembered; the least recently seen is forgotten.
            ttl: Seconds after which a silent client is forgotten.
            seed: Chooses the halves.

        Raises:
            UsageError: Too few clients, or shapes that do not fit the baseline.
        """
        if not 0 < false_positive_rate < 1:
            raise UsageError(f"false_positive_rate: expected (0, 1), got {false_positive_rate}")
        tables = [_client(baseline, x, probabilities) for x, probabilities in clients]
        if len(tables) < _FEWEST_CLIENTS:
            raise UsageError(f"clients: expected at least {_FEWEST_CLIENTS}, got {len(tables)}")
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(tables))
        half = len(tables) // 2
        detector = cls(
            baseline,
            _reference([tables[i] for i in order[:half]], rng),
            false_positive_rate=false_positive_rate,
            capacity=capacity,
            ttl=ttl,
        )
        detector._set_thresholds([tables[i] for i in order[half:]])
        return detector

    def observe(self, traffic: Observed) -> Iterator[Reading]:
        """Score a batch and read the evidence against each of its clients."""
        if traffic.probabilities is None or traffic.rows.shape[1] != len(self._baseline.names):
            return
        places: dict[str | None, list[int]] = {}
        for place, client in enumerate(traffic.clients):
            places.setdefault(client, []).append(place)
        evidence, marks = self._evidence(traffic.rows, traffic.probabilities)
        for client, chosen in places.items():
            state = self._clients.use(client, float(traffic.at[chosen[-1]]))
            peak = self._add(state, evidence[chosen], marks[chosen])
            yield Reading(
                metric=EXTRACTION,
                value=float((peak / self.thresholds).max()),
                window=f"its last {state.queries} queries",
                client=client,
            )

    def score(self, x: ArrayLike, probabilities: ArrayLike) -> Floats:
        """Evidence after each query of one new client, as shares of the threshold ``(n,)``.

        Args:
            x: ``(n, …)`` its queries in order.
            probabilities: ``(n, k)`` the model's answers.
        """
        rows, answers = _client(self._baseline, x, probabilities)
        state = self._fresh()
        evidence, marks = self._evidence(rows, answers)
        steps = [
            self._add(state, evidence[i : i + 1], marks[i : i + 1]) / self.thresholds
            for i in range(len(rows))
        ]
        return np.array([step.max() for step in steps])

    def _set_thresholds(self, tables: Sequence[tuple[Floats, Floats]]) -> None:
        """Alarm levels from clients that the reference does not know."""
        peaks = []
        for rows, probabilities in tables:
            peaks.append(self._add(self._fresh(), *self._evidence(rows, probabilities)))
        table = np.array(peaks)
        rate = self.false_positive_rate / _CHANNELS
        levels = [conformal_threshold(column, rate) for column in table.T]
        limits = np.minimum(levels, table.max(axis=0))
        self.thresholds = np.maximum(_SAFETY * limits, _FEWEST_MAXIMAL * (_CAP - _ALLOWANCE))
        self.resolution = _CHANNELS / (len(table) + 1)

    def _fresh(self) -> _Client:
        recent = np.full((_RECENT, _FINGERPRINT), np.inf, dtype=np.float32)
        return _Client(sums=np.zeros(_CHANNELS), recent=recent)

    def _project(self, rows: Floats) -> Floats:
        """Rows among the baseline's principal components, where distances are measured."""
        known = self._baseline.anomalies
        standard = np.clip(np.nan_to_num((rows - known.mean) / known.scale), -1e3, 1e3)
        return np.asarray(standard @ known.components.T, dtype=np.float64)

    def _distances(
        self,
        points: Floats,
        *,
        owners: NDArray[np.intp] | None = None,
        known: NDArray[np.intp] | None = None,
    ) -> Floats:
        """Distance of each point to its fifth reference query, near-duplicates not counted.

        Benign clients may share inputs, with each other and with the reference: distances of zero
        would make everything new look strange. So near-duplicates do not count, nor do other
        queries of the same reference client.
        """
        distances = np.empty(len(points))
        for start in range(0, len(points), _BLOCK):
            part = slice(start, start + _BLOCK)
            squares = _squares(points[part], self._points)
            squares[squares <= self._near**2] = np.inf
            if owners is not None and known is not None:
                squares[owners[part, None] == known] = np.inf
            kth = min(_NEIGHBOUR, squares.shape[1]) - 1
            distances[part] = np.sqrt(np.partition(squares, kth, axis=1)[:, kth])
        return distances

    def _scores(self, rows: Floats, probabilities: Floats, distance: Floats) -> Floats:
        """Distance, residual and smallness of the margin ``(n, 3)``; larger is more suspicious."""
        top = np.sort(probabilities, axis=1)[:, -2:]
        margin = top[:, -1] - top[:, 0]
        return np.column_stack([distance, self._baseline.anomalies.reconstruction(rows), -margin])

    def _evidence(self, rows: Floats, probabilities: Floats) -> tuple[Floats, NDArray[np.float32]]:
        """Evidence of each query per channel ``(n, 4)``, and its fingerprint."""
        points = self._project(rows)
        distance = self._distances(points)
        scores = self._scores(rows, probabilities, distance)
        surprise = self._ranks.surprise(scores, probabilities.argmax(axis=1))
        evidence = np.column_stack([surprise, surprise.mean(axis=1)]) - _ALLOWANCE
        return evidence, (points @ self._salt).astype(np.float32)

    def _add(self, state: _Client, evidence: Floats, marks: NDArray[np.float32]) -> Floats:
        """Add queries to a client's evidence and give the highest level of each channel."""
        peak = state.sums.copy()
        for step, mark in zip(evidence, marks, strict=True):
            gaps = np.square(state.recent - mark).sum(axis=1)
            repeats = int((gaps < self._near**2).sum())
            state.recent[state.queries % _RECENT] = mark
            state.queries += 1
            # Only suspicion is forgiven for repeats: ordinary queries clear a client in full.
            weighed = np.where(step > 0, step * (1 + repeats) ** _FORGIVENESS, step)
            state.sums = np.maximum(state.sums + weighed, 0.0)
            peak = np.maximum(peak, state.sums)
        return peak


class _Ranks:
    """Benign scores per predicted class, to rank new ones among.

    Args:
        scores: ``(n, 3)`` benign scores.
        classes: ``(n,)`` predicted classes.
    """

    def __init__(self, scores: Floats, classes: NDArray[np.intp]) -> None:
        self._all = np.sort(scores, axis=0)
        self._of: dict[int, Floats] = {}
        for each in np.unique(classes):
            members = scores[classes == each]
            if len(members) >= _FEWEST_OF_CLASS:
                self._of[int(each)] = np.sort(members, axis=0)

    def surprise(self, scores: Floats, classes: NDArray[np.intp]) -> Floats:
        """-log of the p-value of each score, at most 7 ``(n, 3)``."""
        result = np.empty_like(scores)
        for each in np.unique(classes):
            members = classes == each
            known = self._of.get(int(each), self._all)
            for channel in range(scores.shape[1]):
                column = known[:, channel]
                below = np.searchsorted(column, scores[members, channel], side="left")
                p_value = (1 + len(column) - below) / (1 + len(column))
                result[members, channel] = np.minimum(-np.log(p_value), _CAP)
        return result


def _client(baseline: Baseline, x: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Rows and answers of one client."""
    rows = baseline.table(x)
    answers: Any = np.asarray(probabilities, dtype=np.float64)
    if answers.ndim != 2 or len(answers) != len(rows) or answers.shape[1] < 2:  # noqa: PLR2004 - rows by two classes or more
        raise UsageError(f"probabilities: expected ({len(rows)}, k), got {answers.shape}")
    return rows, answers


def _reference(
    tables: Sequence[tuple[Floats, Floats]], rng: np.random.Generator
) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Queries of the reference clients, their answers, and whose they are."""
    rows = np.concatenate([table[0] for table in tables])
    answers = np.concatenate([table[1] for table in tables])
    owners = np.repeat(np.arange(len(tables)), [len(table[0]) for table in tables])
    if len(rows) > _MAX_REFERENCE:
        kept = rng.choice(len(rows), size=_MAX_REFERENCE, replace=False)
        return rows[kept], answers[kept], owners[kept]
    return rows, answers, owners


def _squares(points: Floats, others: Floats) -> Floats:
    """Squared distances ``(n, m)``."""
    squares = np.square(points).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    return np.asarray(np.maximum(squares - 2 * points @ others.T, 0.0), dtype=np.float64)


def _spacing(points: Floats) -> float:
    """Median distance of distinct points to their fifth neighbour."""
    distinct = np.unique(points, axis=0)
    kth = min(_NEIGHBOUR, len(distinct) - 1)
    if kth < 1:
        return 0.0
    distances = np.empty(len(distinct))
    for start in range(0, len(distinct), _BLOCK):
        squares = _squares(distinct[start : start + _BLOCK], distinct)
        distances[start : start + _BLOCK] = np.sqrt(np.partition(squares, kth, axis=1)[:, kth])
    return float(np.median(distances))
