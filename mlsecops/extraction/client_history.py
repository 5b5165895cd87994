"""Client history: the last queries of one client, and the evidence that it has collected.

    projections, scores, classes of new queries of clients → extend → Steps

A projection is a query after a rotation seeded with a secret salt. Distances between projections
are distances between queries, but nobody can recover a query without the salt. An exact repeat
carries no information, so it is neither evidence nor stored; `steps` relates the others.

Source: Blacklight (Li et al., USENIX Security 2022) compares a client's queries under a salt by
hashes of quantised windows; rotated projections also keep the direction of each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.array_files import decode, pack
from mlsecops.drift.inputs import Counts, Floats
from mlsecops.errors import FormatRefused
from mlsecops.extraction.segments import Segments
from mlsecops.extraction.steps import QueryPaths, Steps, relate

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

    def forget(self, width: int) -> None:
        """Forget the queries, because projections have that width now."""
        fresh = ClientHistory()
        self.projections = np.empty((0, width), dtype=np.float32)
        self.scores, self.classes = fresh.scores, fresh.classes

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


def extend(
    histories: Sequence[ClientHistory],
    projections: Floats,
    scores: Floats,
    classes: Counts,
    *,
    clients: Segments,
    spacing: float,
) -> Steps:
    """Store new queries of clients, oldest first, and relate each to its client's earlier ones.

    Their projections are `(n, p)`, their scores (distance, residual, smallness of the margin)
    `(n, 3)`, their classes `(n,)`; `clients` says which are whose, one segment for each history.
    `spacing` is the usual distance of normal inputs, > 0.
    """
    for history in histories:
        if history.projections.shape[1] != projections.shape[1]:
            history.forget(projections.shape[1])
    known = np.array([len(each.classes) for each in histories], dtype=np.int64)
    # Rounded as they are stored; otherwise a repeat would differ by the rounding error.
    points = projections.astype(np.float32)
    steps = relate(
        QueryPaths(
            points=_joined([each.projections for each in histories], points, clients),
            scores=_joined([each.scores for each in histories], scores, clients),
            classes=_joined([each.classes for each in histories], classes, clients),
            clients=Segments.of(known + clients.sizes),
            known=known,
        ),
        spacing=spacing,
    )
    paths = steps.paths
    ends = paths.clients.ends
    last = Segments(np.maximum(paths.clients.begins, ends - REMEMBERED), ends)
    stored: tuple[NDArray[Any], ...] = paths.points, paths.scores.astype(np.float32), paths.classes
    parts = [last.parts(each) for each in stored]
    for history, size, *own in zip(histories, clients.sizes.tolist(), *parts, strict=True):
        # Copies: a view would keep the whole table.
        history.projections, history.scores, history.classes = (each.copy() for each in own)
        history.queries += size
    return steps


def cover(
    histories: Sequence[ClientHistory], regions: Counts, *, clients: Segments, of: int
) -> Floats:
    """Mark the regions of new queries `(n,)`, each in `[0, of)`, in their clients' histories.

    Returns the covered share of all regions for each client `(c,)`.
    """
    size = (of + 63) // 64
    for history in histories:
        if len(history.regions) != size:
            history.regions = np.zeros(size, dtype=np.int64)
    covered = np.stack([each.regions for each in histories]).view(np.uint64)
    rows = np.repeat(np.arange(len(histories)), clients.sizes)
    bits = np.uint64(1) << (regions % 64).astype(np.uint64)
    np.bitwise_or.at(covered.reshape(-1), rows * size + regions // 64, bits)
    for history, own in zip(histories, covered.view(np.int64), strict=True):
        history.regions = own.copy()
    return np.asarray(np.unpackbits(covered.view(np.uint8), axis=1).sum(axis=1) / max(of, 1))


def _joined(known: Sequence[NDArray[Any]], new: NDArray[Any], clients: Segments) -> NDArray[Any]:
    """Known and new rows of each client, one client after the other."""
    pairs = zip(known, clients.parts(new), strict=True)
    return np.concatenate([each for pair in pairs for each in pair])
