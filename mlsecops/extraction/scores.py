"""Query scores: the surprise of each query of a client, against benign clients.

    rows, probabilities → QueryScorer.score → client_history.extend → BenignReference.evidence

Ten channels of evidence. Of single queries: distance to known queries, residual of the baseline's
principal components, smallness of the margin, and the mean of the three. Of steps: growth of
distance and of residual since the first query of the neighbourhood. Of all queries: repeated
movements, flips of the class where the margin shrank, steps in a straight line, and outliers of a
client whose other queries are ordinary.

A score becomes a surprise: -log of its rank among benign scores of the same kind and predicted
class, with an exponential tail beyond their 95 % quantile. Growth and straight steps count by the
ground that they cover, so that evidence does not depend on how often a slow process is sampled.

Sources: Juuti et al. 2019 (PRADA) for distances per class; Vovk et al. 2005 for ranks as p-values
and for ranks within kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlsecops.drift.baseline import Baseline
from mlsecops.drift.inputs import Bools, Counts, Floats
from mlsecops.drift.matmul import product
from mlsecops.drift.outliers import residual, standardised
from mlsecops.extraction.client_history import DIMENSIONS
from mlsecops.extraction.known_points import LIMIT, KnownPoints
from mlsecops.extraction.segments import Segments
from mlsecops.extraction.steps import Steps

CHANNEL_NAMES: Final = (
    "distance",
    "residual",
    "margin",
    "distance, residual and margin",
    "growing distance",
    "growing residual",
    "repeated movements",
    "flips of the class",
    "steps in a line",
    "outliers among ordinary queries",
)

_SINGLE: Final = slice(0, 4)
_STEPS: Final = slice(4, 6)
_CAP: Final = 7.0  # nats; chosen: a single query is at most as surprising as 1 in 1,100
_FLAG: Final = 3.0  # nats for a flip or a straight step; chosen: as surprising as 1 in 20
_SOUGHT: Final = 0.2  # of the usual margin; chosen: noise on a doubtful object changes less
_OUTLIER: Final = 6.0  # nats; chosen: a query as surprising as 1 in 400
_ORDINARY: Final = 2.0  # nats; chosen: the median of a client whose queries are ordinary
_LOOK_BACK: Final = 50  # queries whose median is compared; chosen: a camera's drift is slower
_TAIL: Final = 0.95  # quantile where the exponential tail begins; chosen: leaves 5 % to fit it
_POINTS: Final = 1024  # known queries; chosen: bounds the time of each query
_FEWEST_OF_CLASS: Final = 20  # scores; chosen: a 95 % quantile of fewer is the largest score
_FEWEST_MEAN: Final = 10  # queries; chosen: a mean of fewer varies too much for an allowance
_HIGH_MEAN: Final = 0.95  # quantile of benign clients' means that an allowance covers; chosen
_SLACK: Final = (1.1, 0.1)  # factor and nats above that quantile; chosen for unseen benign clients
_LEAST_ALLOWANCE: Final = np.array([1.5] * 3 + [1.3] + [1.5] * 2 + [0.1] * 4)  # nats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueryScores:
    """Scores of queries, regardless of the client.

    Salted projections are `(n, ≤ 32)`, scores (distance, residual, smallness of the margin)
    `(n, 3)`, predicted classes `(n,)`, and regions (nearest known query) `(n,)`.
    """

    projections: Floats
    scores: Floats
    classes: Counts
    regions: Counts

    def of(self, chosen: slice | Counts) -> QueryScores:
        """Scores of some of the queries."""
        return QueryScores(**{name: getattr(self, name)[chosen] for name in self.__slots__})

    @classmethod
    def join(cls, parts: Sequence[QueryScores]) -> QueryScores:
        """Scores of several batches, in order."""
        names = cls.__slots__
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


class QueryScorer:
    """Scores queries by their distance from known ones and by the model's answers.

    Distances are measured in the space of the baseline's principal components, rotated by the salt.
    The known queries are a sample of the benign rows `(n, d)`.
    """

    def __init__(
        self, baseline: Baseline, rows: Floats, *, salt: bytes, rng: np.random.Generator
    ) -> None:
        self._known = baseline.anomalies
        points, _ = self._project(rows)
        if len(points) > _POINTS:
            points = points[rng.choice(len(points), size=_POINTS, replace=False)]
        self._points = KnownPoints(points)
        self.spacing = self._points.spacing
        self.regions = len(points)  # one around each known query
        width = points.shape[1]
        turned = np.random.default_rng(int.from_bytes(salt, "big")).normal(size=(width, width))
        kept = min(width, DIMENSIONS)
        self._rotation = np.linalg.qr(turned)[0][:, :kept] * np.sqrt(width / kept)

    def score(self, rows: Floats, probabilities: Floats) -> QueryScores:
        """Score queries `(n, d)` and the model's answers to them `(n, k)`."""
        points, unexplained = self._project(rows)
        distance, regions = self._points.nearest(points)
        top = np.partition(probabilities, -2, axis=1)[:, -2:]
        return QueryScores(
            projections=product(points, self._rotation),
            scores=np.column_stack([distance, unexplained, top[:, 0] - top[:, 1]]),
            classes=probabilities.argmax(axis=1),
            regions=regions,
        )

    def _project(self, rows: Floats) -> tuple[Floats, Floats]:
        """Rows in the space of the components `(n, c)`, and their residuals `(n,)`."""
        known = self._known
        standard = standardised(rows, known.mean, known.scale)
        points = product(standard, known.components.T)
        unexplained = residual(standard, points)
        distances = np.abs(standard)
        if distances.max(initial=0.0) > LIMIT:
            far = distances.max(axis=1) > LIMIT
            points[far] = product(np.clip(standard[far], -LIMIT, LIMIT), known.components.T)
        return points, unexplained


class BenignReference:
    """Ranks of benign scores, and the evidence that benign clients may collect."""

    def __init__(self, steps: Steps) -> None:
        self._ranks = _Ranks(steps.scores, steps.classes, steps.stepped)
        self._margin = -float(np.median(steps.paths.scores[:, 2]))
        self._allowance = np.zeros(len(CHANNEL_NAMES))
        factor, slack = _SLACK
        for channel, column in enumerate(self._means(steps).T):
            known = column[~np.isnan(column)]
            high = float(np.quantile(known, _HIGH_MEAN)) if len(known) else 0.0
            self._allowance[channel] = max(factor * high + slack, _LEAST_ALLOWANCE[channel])

    def evidence(self, steps: Steps) -> Floats:
        """Surprise of each query beyond the benign allowance, in nats `(m, 10)`."""
        scores, stepped = steps.scores, steps.stepped
        surprise = self._ranks.surprise(scores, steps.classes, stepped)
        table = np.empty((len(surprise), len(CHANNEL_NAMES)))
        table[:, :3], table[:, 3] = surprise, surprise.mean(axis=1)
        table[:, 4:6] = surprise[:, :2] * steps.novelty[:, None]
        table[:, 6] = _FLAG * steps.repeated
        # A doubtful object flips too; a search for the boundary starts where there is no doubt.
        sought = steps.contested & (scores[:, 2] >= _SOUGHT * self._margin)
        table[:, 7] = _FLAG * (steps.flipped & sought)
        table[:, 8] = _FLAG * steps.straight * steps.novelty
        outlying = ~stepped & (surprise[:, :2].max(axis=1, initial=0.0) >= _OUTLIER)
        table[:, 9] = _FLAG * self._isolated(steps, outlying)
        table -= self._allowance
        table[stepped, _SINGLE] = 0.0
        table[~stepped, _STEPS] = 0.0
        return table

    def _isolated(self, steps: Steps, outlying: Bools) -> Bools:
        """Outliers `(m,)` of clients whose queries before were ordinary in the median."""
        result, hits = np.zeros_like(outlying), np.flatnonzero(outlying)
        if not len(hits):
            return result
        paths, ends = steps.paths, steps.paths.new.places[hits]
        begins = np.repeat(paths.clients.begins, steps.clients.sizes)[hits]
        recent = Segments(np.maximum(begins, ends - _LOOK_BACK), ends)
        needed = np.zeros(len(paths.classes), dtype=bool)
        needed[recent.places] = True
        chosen = np.flatnonzero(needed)
        singles = np.zeros(len(chosen), dtype=bool)
        before = np.full(len(needed), np.inf)
        before[chosen] = self._ranks.surprise(paths.scores[chosen], paths.classes[chosen], singles)[
            :, :2
        ].max(axis=1)
        enough = recent.sizes >= _FEWEST_MEAN
        result[hits] = enough & (_medians(before, recent) < _ORDINARY)
        return result

    def _means(self, steps: Steps) -> Floats:
        """Mean of each client in each channel `(c, 10)`; NaN where it has too few queries."""
        table, clients = self.evidence(steps), steps.clients
        stepped = clients.sums(steps.stepped[:, None].astype(np.float64))
        sizes = clients.sizes[:, None]
        counts = np.repeat(np.column_stack([sizes - stepped, stepped, sizes]), (4, 2, 4), axis=1)
        means = clients.sums(table) / np.maximum(counts, 1)
        return np.where(counts >= _FEWEST_MEAN, means, np.nan)


def _medians(values: Floats, segments: Segments) -> Floats:
    """Median of the values in each segment `(c,)`, of which none has more than 50."""
    sizes = segments.sizes
    places = np.arange(int(sizes.max(initial=1)))
    table = values[np.minimum(segments.begins[:, None] + places, len(values) - 1)]
    table[places >= sizes[:, None]] = np.inf
    table.sort(axis=1)
    rows, last = np.arange(len(table)), np.maximum(sizes - 1, 0)
    return np.asarray((table[rows, last // 2] + table[rows, (last + 1) // 2]) / 2)


class _Ranks:
    """Benign scores `(n, 3)` by kind and predicted class, in one sorted array for each column.

    Scores are mapped into (0, 1) and shifted by the number of their group, so that one binary
    search ranks the scores of all groups. The kind of a score is a step or a single query.
    """

    def __init__(self, scores: Floats, classes: Counts, stepped: Bools) -> None:
        groups: list[Floats] = []
        self._group = np.empty((2, int(classes.max(initial=0)) + 2), dtype=np.int64)
        for kind in (0, 1):
            members = stepped == bool(kind)
            # Without scores of a kind all scores stand in, so that there is something to rank in.
            self._group[kind] = len(groups)
            groups.append(scores[members] if members.any() else scores)
            for name in np.unique(classes[members]):
                own = members & (classes == name)
                if own.sum() >= _FEWEST_OF_CLASS:
                    self._group[kind, name] = len(groups)
                    groups.append(scores[own])
        ordered = [np.sort(each, axis=0) for each in groups]
        self._counts = np.array([len(each) for each in ordered])
        self._begins = self._counts.cumsum() - self._counts
        self._keys = np.concatenate([g + _squashed(each) for g, each in enumerate(ordered)]).T
        tails = [each[int(_TAIL * len(each)) :] for each in ordered]
        self._starts = np.array([tail[0] for tail in tails])
        self._slopes = np.array([np.maximum((tail - tail[0]).mean(axis=0), 1e-9) for tail in tails])

    def surprise(self, scores: Floats, classes: Counts, stepped: Bools) -> Floats:
        """-log p-values by rank, with an exponential tail, at most 7 `(m, 3)`."""
        known = np.minimum(classes, self._group.shape[1] - 1)
        group = self._group[stepped.astype(np.int64), known]
        keys = group[:, None] + _squashed(scores)
        places = np.column_stack(
            [column.searchsorted(key) for column, key in zip(self._keys, keys.T, strict=True)]
        )
        count = self._counts[group][:, None]
        below = np.clip(places - self._begins[group][:, None], 0, count)
        beyond = scores - self._starts[group]
        tail = beyond / self._slopes[group] - np.log(1 - _TAIL)
        rank = -np.log((1 + count - below) / (1 + count))
        return np.asarray(np.minimum(np.where(beyond > 0, tail, rank), _CAP), dtype=np.float64)


def _squashed(scores: Floats) -> Floats:
    """Numbers in (0, 1) in the same order."""
    return np.asarray(0.5 + 0.499 * scores / (1 + np.abs(scores)), dtype=np.float64)
