"""Query scores: the surprise of each query of a client, against benign clients.

    rows, probabilities → QueryScorer.score → ClientHistory.extend → BenignReference.evidence

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
from numpy.typing import NDArray

from mlsecops.drift.baseline import Baseline
from mlsecops.drift.inputs import Bools, Counts, Floats
from mlsecops.drift.matmul import product, squared_distances
from mlsecops.extraction.client_history import DIMENSIONS
from mlsecops.extraction.steps import Steps, join

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
_NEAR: Final = 0.4  # of the usual spacing; as in `client_history`
_TAIL: Final = 0.95  # quantile where the exponential tail begins; chosen: leaves 5 % to fit it
_NEIGHBOUR: Final = 5  # rank of the neighbour; chosen: distances to it vary less than to the first
_POINTS: Final = 1024  # known queries; chosen: bounds the time of each query
_BLOCK: Final = 512  # queries; chosen: a block of distances has 4 MiB
_FEWEST_OF_CLASS: Final = 20  # scores; chosen: a 95 % quantile of fewer is the largest score
_LIMIT: Final = 1e3  # standard deviations; chosen: clips infinities and absurd values
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

    def of(self, chosen: Sequence[int] | Counts) -> QueryScores:
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
        points = self._project(rows)
        if len(points) > _POINTS:
            points = points[rng.choice(len(points), size=_POINTS, replace=False)]
        self._points = points.astype(np.float32)
        self.spacing = _spacing(points)
        self.regions = len(points)  # one around each known query
        width = points.shape[1]
        turned = np.random.default_rng(int.from_bytes(salt, "big")).normal(size=(width, width))
        kept = min(width, DIMENSIONS)
        self._rotation = np.linalg.qr(turned)[0][:, :kept] * np.sqrt(width / kept)

    def score(self, rows: Floats, probabilities: Floats) -> QueryScores:
        """Score queries `(n, d)` and the model's answers to them `(n, k)`."""
        points = self._project(rows)
        distance, regions = self._distances(points.astype(np.float32))
        top = np.partition(probabilities, -2, axis=1)[:, -2:]
        residual = self._known.reconstruction(rows)
        return QueryScores(
            projections=product(points, self._rotation),
            scores=np.column_stack([distance, residual, top[:, 0] - top[:, 1]]),
            classes=probabilities.argmax(axis=1),
            regions=regions,
        )

    def _project(self, rows: Floats) -> Floats:
        known = self._known
        standard = np.clip(np.nan_to_num((rows - known.mean) / known.scale), -_LIMIT, _LIMIT)
        return np.asarray(product(standard, known.components.T), dtype=np.float64)

    def _distances(self, points: NDArray[np.float32]) -> tuple[Floats, Counts]:
        """Distance to the fifth known query, near duplicates left out, and the nearest one."""
        distances = np.empty(len(points))
        nearest = np.empty(len(points), dtype=np.int64)
        for start in range(0, len(points), _BLOCK):
            part = slice(start, start + _BLOCK)
            gaps = squared_distances(points[part], self._points)
            nearest[part] = gaps.argmin(axis=1)
            gaps[gaps <= (_NEAR * self.spacing) ** 2] = np.inf
            kth = min(_NEIGHBOUR, gaps.shape[1]) - 1
            distances[part] = np.sqrt(np.partition(gaps, kth, axis=1)[:, kth])
        # With fewer than five others the distance is the largest possible one.
        return np.where(np.isfinite(distances), distances, _LIMIT * self.spacing), nearest


class BenignReference:
    """Ranks of benign scores, and the evidence that benign clients may collect."""

    def __init__(self, clients: Sequence[Steps]) -> None:
        scores = np.concatenate([each.scores for each in clients])
        classes = np.concatenate([each.classes for each in clients])
        stepped = np.concatenate([each.stepped for each in clients])
        self._ranks = _Ranks(scores, classes, stepped)
        self._margin = -float(
            np.median(np.concatenate([each.path.scores for each in clients])[:, 2])
        )
        self._allowance = np.zeros(len(CHANNEL_NAMES))
        means = np.array([self._means(each) for each in clients])
        factor, slack = _SLACK
        for channel, column in enumerate(means.T):
            known = column[~np.isnan(column)]
            high = float(np.quantile(known, _HIGH_MEAN)) if len(known) else 0.0
            self._allowance[channel] = max(factor * high + slack, _LEAST_ALLOWANCE[channel])

    def evidence(self, clients: Sequence[Steps]) -> list[Floats]:
        """Surprise of each query beyond the benign allowance, in nats: `(m, 10)` of each client."""
        scores, classes, stepped = (join(clients, n) for n in ("scores", "classes", "stepped"))
        surprise = self._ranks.surprise(scores, classes, stepped)
        table = np.empty((len(surprise), len(CHANNEL_NAMES)))
        table[:, :3], table[:, 3] = surprise, surprise.mean(axis=1)
        novelty = join(clients, "novelty")[:, None]
        table[:, 4:6] = surprise[:, :2] * novelty
        table[:, 6] = _FLAG * join(clients, "repeated")
        # A doubtful object flips too; a search for the boundary starts where there is no doubt.
        sought = join(clients, "contested") & (scores[:, 2] >= _SOUGHT * self._margin)
        table[:, 7] = _FLAG * (join(clients, "flipped") & sought)
        table[:, 8] = _FLAG * join(clients, "straight") * novelty[:, 0]
        outlying = ~stepped & (surprise[:, :2].max(axis=1, initial=0.0) >= _OUTLIER)
        ends = np.cumsum([len(each.classes) for each in clients])[:-1]
        table[:, 9] = _FLAG * np.concatenate(
            [
                self._isolated(each, hits)
                for each, hits in zip(clients, np.split(outlying, ends), strict=True)
            ]
        )
        table -= self._allowance
        table[stepped, _SINGLE] = 0.0
        table[~stepped, _STEPS] = 0.0
        return np.split(table, ends)

    def _isolated(self, steps: Steps, outlying: Bools) -> Bools:
        """Outliers `(m,)` of a client whose queries before were ordinary in the median."""
        places = np.flatnonzero(outlying)
        if not len(places):
            return outlying
        path, known = steps.path, len(steps.path.classes) - len(outlying)
        singles = np.zeros(len(path.classes), dtype=bool)
        before = self._ranks.surprise(path.scores, path.classes, singles)[:, :2].max(axis=1)
        result = np.zeros_like(outlying)
        for place in places:
            recent = before[max(0, known + place - _LOOK_BACK) : known + place]
            result[place] = len(recent) >= _FEWEST_MEAN and np.median(recent) < _ORDINARY
        return result

    def _means(self, steps: Steps) -> Floats:
        """Mean of a client in each channel `(10,)`; NaN where it has too few queries."""
        (table,) = self.evidence([steps])
        single, stepped = int((~steps.stepped).sum()), int(steps.stepped.sum())
        counts = np.array([single] * 4 + [stepped] * 2 + [len(table)] * 4)
        return np.where(counts >= _FEWEST_MEAN, table.sum(axis=0) / np.maximum(counts, 1), np.nan)


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


def _spacing(points: Floats) -> float:
    """Median distance of distinct points to their fifth neighbour."""
    distinct = np.unique(points, axis=0)
    kth = min(_NEIGHBOUR, len(distinct) - 1)
    if kth < 1:
        return 1.0
    gaps = np.partition(squared_distances(distinct, distinct), kth, axis=1)[:, kth]
    return max(float(np.sqrt(np.median(gaps))), 1e-9)
