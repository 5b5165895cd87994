"""How one client walks through the inputs: its recent queries, and each new one beside them.

marks, scores, classes of queries → Trail.extend → Steps: repeated, walked, straight, flipped

A mark is a query's place after a salted rotation: distances between marks are distances between
queries, but without the salt no query can be read from one. A query that is near an earlier one of
the same client *walks*: honest clients do so when they scan an object again, thieves when they
follow a gradient, a line or the model's decision boundary. An exact repeat says nothing new and is
neither evidence nor remembered.

Source: the idea to compare a client's query with its recent ones under a salt is Blacklight's (Li
et al., USENIX Security 2022), which hashes windows of quantised values; places after a rotation
also keep the distance and the direction of each step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.array_files import pack, unpack
from mlsecops.drift.matmul import product
from mlsecops.errors import FormatRefused

__all__ = ["REMEMBERED", "Steps", "Trail", "squares"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]

REMEMBERED: Final = 200
MARK: Final = 32
CHANNELS: Final = 10

_KIND: Final = "trail"
_SCORES: Final = 3
_WALK: Final = 0.6
_NEAR: Final = 0.4
_SAME: Final = 1e-3
_STRAIGHT: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """Queries of one client beside its earlier ones.

    Attributes:
        kept: `(n,)` which queries are no exact repeats; all else is of these `m` only.
        classes: `(m,)` predicted classes.
        scores: `(m, 3)` distance, residual and smallness of the margin. Of a query that walks,
            distance and residual are differences from the first query of its neighbourhood.
        walked: `(m,)` which are near an earlier query.
        repeats: `(m,)` number of remembered queries that are nearly the same.
        flipped: `(m,)` which walked, and got another class than their nearest earlier query.
        straight: `(m,)` which go on in the direction of the step before.
    """

    kept: Bools
    classes: Counts
    scores: Floats
    walked: Bools
    repeats: Counts
    flipped: Bools
    straight: Bools


@dataclass(slots=True)
class Trail:
    """What is remembered of one client, in at most 40 kB.

    Attributes:
        sums: Evidence of each channel `(10,)`.
        totals: Evidence of each channel without resets `(10,)`.
        marks: Places of its last queries `(≤ 200, ≤ 32)`.
        scores: Their scores `(≤ 200, 3)`.
        classes: Their predicted classes `(≤ 200,)`.
        regions: Which regions of normal inputs its queries have covered.
        queries: Number of queries so far.
    """

    sums: Floats = field(default_factory=lambda: np.zeros(CHANNELS))
    totals: Floats = field(default_factory=lambda: np.zeros(CHANNELS))
    marks: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    scores: NDArray[np.float32] = field(
        default_factory=lambda: np.empty((0, _SCORES), dtype=np.float32)
    )
    classes: Counts = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    regions: Counts = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    queries: int = 0

    def extend(self, marks: Floats, scores: Floats, classes: Counts, *, spacing: float) -> Steps:
        """Take queries in, oldest first, and say how each one steps.

        Args:
            marks: `(n, m)` places.
            scores: `(n, 3)` distance, residual, smallness of the margin.
            classes: `(n,)` predicted classes.
            spacing: Usual distance between normal inputs, > 0.
        """
        if self.marks.shape[1] != marks.shape[1]:
            self.marks = np.empty((0, marks.shape[1]), dtype=np.float32)
        # Compared as they are remembered, or a repeat would differ by what float32 cuts off.
        places = marks.astype(np.float32).astype(np.float64)
        known = self.marks.astype(np.float64)
        gaps = _earlier(places, known)
        kept = gaps.min(axis=1, initial=np.inf) > (_SAME * spacing) ** 2
        if not kept.all():
            places, scores, classes = places[kept], scores[kept], classes[kept]
            gaps = _earlier(places, known)
        trail = np.concatenate([self.marks, places])
        values = np.concatenate([self.scores, scores])
        named = np.concatenate([self.classes, classes])
        steps = _steps(gaps, trail, values, named, kept=kept, known=len(known), spacing=spacing)
        self.marks = trail[-REMEMBERED:].astype(np.float32)
        self.scores = values[-REMEMBERED:].astype(np.float32)
        self.classes = named[-REMEMBERED:]
        self.queries += len(marks)
        return steps

    def cover(self, regions: Counts, *, of: int) -> float:
        """Remember which regions were queried, and give the covered share of them.

        Args:
            regions: Region of each query, in `[0, of)`.
            of: Number of regions.
        """
        if len(self.regions) != (of + 63) // 64:
            self.regions = np.zeros((of + 63) // 64, dtype=np.int64)
        words = self.regions.view(np.uint64)
        np.bitwise_or.at(words, regions // 64, np.uint64(1) << (regions % 64).astype(np.uint64))
        return int(np.unpackbits(words.view(np.uint8)).sum()) / max(of, 1)

    def to_bytes(self) -> bytes:
        """The trail for another process."""
        arrays: dict[str, NDArray[Any]] = {
            name: getattr(self, name) for name in self.__slots__ if name != "queries"
        }
        return pack(_KIND, {"queries": self.queries}, arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> Trail:
        """Read what `to_bytes` gave.

        Raises:
            FormatRefused: It is damaged, or no trail.
        """
        facts, arrays = unpack(data, _KIND, where="trail")
        try:
            trail = cls(queries=int(facts["queries"]), **arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatRefused(f"trail: malformed: {error!r}") from error
        size = len(trail.classes)
        if (
            trail.sums.shape != (CHANNELS,)
            or trail.totals.shape != (CHANNELS,)
            or trail.marks.shape != (size, trail.marks.shape[-1])
            or trail.scores.shape != (size, _SCORES)
            or trail.regions.ndim != 1
            or max(size, trail.marks.shape[-1], len(trail.regions)) > REMEMBERED
            or trail.queries < 0
            or not all(np.isfinite(each).all() for each in arrays.values())
        ):
            raise FormatRefused("trail: the shapes or values are none of ours")
        return trail


def squares(points: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Squared distances `(n, m)`."""
    lengths = np.square(points).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    lengths -= 2 * product(points, others.T)
    return np.asarray(np.maximum(lengths, 0.0, out=lengths))


def _earlier(places: Floats, known: Floats) -> Floats:
    """Squared distances to what came before: `(n, known + n)`, infinite for what did not."""
    gaps = squares(places, np.concatenate([known, places]))
    later = np.arange(gaps.shape[1]) >= len(known) + np.arange(len(places))[:, None]
    gaps[later] = np.inf
    return np.asarray(gaps, dtype=np.float64)


def _steps(
    gaps: Floats,
    trail: Floats,
    values: Floats,
    classes: Counts,
    *,
    kept: Bools,
    known: int,
    spacing: float,
) -> Steps:
    """Compare the last queries of a trail with those before them."""
    if not gaps.size:
        gaps = np.full((len(trail) - known, 1), np.inf)
    near = gaps < (_WALK * spacing) ** 2
    walked = np.asarray(near.any(axis=1))
    scores = values[known:].copy()
    # An object that is strange by itself stays so when it is scanned again: what counts is how
    # far from the first scan a later one has gone.
    scores[walked, :2] -= values[near.argmax(axis=1)[walked], :2]
    nearest = gaps.argmin(axis=1)
    return Steps(
        kept=kept,
        classes=classes[known:],
        scores=scores,
        walked=walked,
        repeats=(gaps < (_NEAR * spacing) ** 2).sum(axis=1),
        flipped=walked & (classes[known:] != classes[nearest]),
        straight=_straight(trail[max(known - 2, 0) :])[min(known, 2) :],
    )


def _straight(trail: Floats) -> Bools:
    """Which places continue the direction of the step before."""
    result = np.zeros(len(trail), dtype=bool)
    ways = np.diff(trail, axis=0)
    lengths = np.sqrt(np.square(ways).sum(axis=1))
    turns = (ways[1:] * ways[:-1]).sum(axis=1)
    result[2:] = turns > _STRAIGHT * np.maximum(lengths[1:] * lengths[:-1], 1e-300)
    return result
