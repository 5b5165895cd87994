"""Client history: the last queries of one client, and the evidence that it has collected.

    projections, scores, classes of new queries → ClientHistory.extend → Steps

A projection is a query after a rotation seeded with a secret salt. Distances between projections
are distances between queries, but nobody can recover a query without the salt. An exact repeat
carries no information, so it is neither evidence nor stored; `steps` relates the others.

Source: Blacklight (Li et al., USENIX Security 2022) compares a client's queries under a salt by
hashes of quantised windows; rotated projections also keep the direction of each step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.array_files import decode, pack
from mlsecops.drift.inputs import Counts, Floats
from mlsecops.errors import FormatRefused
from mlsecops.extraction.steps import SAME, QueryPath, Steps, relate, squares_to_earlier

REMEMBERED: Final = 200  # queries; chosen: 40 kB a client, attacks in `benchmarks extraction` fit
DIMENSIONS: Final = 32  # of a projection; chosen: keeps distances within about 30 %
CHANNELS: Final = 10  # kinds of evidence, named by `scores.CHANNEL_NAMES`

_KIND: Final = "client-history"
_SCORES: Final = 3  # distance, residual, margin


@dataclass(slots=True)
class ClientHistory:
    """Evidence and last queries of one client, in at most 40 kB.

    Attributes:
        sums: CUSUM of each channel `(10,)`.
        totals: Evidence of each channel without resets `(10,)`.
        projections: Of its last queries `(≤ 200, ≤ 32)`.
        scores: Of its last queries `(≤ 200, 3)`.
        classes: Predicted for its last queries `(≤ 200,)`.
        regions: Bit set of the regions of normal inputs that its queries have covered.
        queries: Number of queries so far.
    """

    sums: Floats = field(default_factory=lambda: np.zeros(CHANNELS))
    totals: Floats = field(default_factory=lambda: np.zeros(CHANNELS))
    projections: NDArray[np.float32] = field(
        default_factory=lambda: np.empty((0, 0), dtype=np.float32)
    )
    scores: NDArray[np.float32] = field(
        default_factory=lambda: np.empty((0, _SCORES), dtype=np.float32)
    )
    classes: Counts = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    regions: Counts = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    queries: int = 0

    def extend(
        self, projections: Floats, scores: Floats, classes: Counts, *, spacing: float
    ) -> Steps:
        """Store queries, oldest first, and relate each to the earlier ones.

        Their projections are `(n, p)`, their scores (distance, residual, smallness of the margin)
        `(n, 3)`, their classes `(n,)`; `spacing` is the usual distance of normal inputs, > 0.
        """
        if self.projections.shape[1] != projections.shape[1]:
            self.projections = np.empty((0, projections.shape[1]), dtype=np.float32)
        # Rounded as they are stored; otherwise a repeat would differ by the rounding error.
        points = projections.astype(np.float32).astype(np.float64)
        known = self.projections.astype(np.float64)
        gaps = squares_to_earlier(points, known)
        kept = gaps.min(axis=1, initial=np.inf) > (SAME * spacing) ** 2
        if not kept.all():
            points, scores, classes = points[kept], scores[kept], classes[kept]
            gaps = squares_to_earlier(points, known)
        path = QueryPath(
            points=np.concatenate([known, points]),
            scores=np.concatenate([self.scores, scores]),
            classes=np.concatenate([self.classes, classes]),
        )
        self.projections = path.points[-REMEMBERED:].astype(np.float32)
        self.scores = path.scores[-REMEMBERED:].astype(np.float32)
        self.classes = path.classes[-REMEMBERED:]
        self.queries += len(projections)
        return relate(path, gaps, kept=kept, known=len(known), spacing=spacing)

    def cover(self, regions: Counts, *, of: int) -> float:
        """Mark the regions of queries, each in `[0, of)`; returns the covered share of all."""
        if len(self.regions) != (of + 63) // 64:
            self.regions = np.zeros((of + 63) // 64, dtype=np.int64)
        words = self.regions.view(np.uint64)
        np.bitwise_or.at(words, regions // 64, np.uint64(1) << (regions % 64).astype(np.uint64))
        return int(np.unpackbits(words.view(np.uint8)).sum()) / max(of, 1)

    def to_bytes(self) -> bytes:
        """Serialise the history for another process."""
        arrays: dict[str, NDArray[Any]] = {
            name: getattr(self, name) for name in self.__slots__ if name != "queries"
        }
        return pack(_KIND, {"queries": self.queries}, arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> ClientHistory:
        """Parse what `to_bytes` wrote; raises `FormatRefused` if it is damaged or no history."""
        return decode(data, _KIND, cls._parse, where="client history")

    @classmethod
    def _parse(cls, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ClientHistory:
        history = cls(queries=int(facts["queries"]), **arrays)
        size, width = len(history.classes), history.projections.shape[-1]
        if (
            history.sums.shape != (CHANNELS,)
            or history.totals.shape != (CHANNELS,)
            or history.projections.shape != (size, width)
            or history.scores.shape != (size, _SCORES)
            or history.regions.ndim != 1
            or max(size, width, len(history.regions)) > REMEMBERED
            or history.queries < 0
            or not all(np.isfinite(each).all() for each in arrays.values())
        ):
            raise FormatRefused("client history: the shapes or values cannot be of a history")
        return history
