"""Known points: the distance of each query to a sample of benign ones, and the nearest of them.

    queries in the scorer's space → KnownPoints.nearest → distances, regions

The distance is that to the fifth known point, near duplicates left out. Blocks of queries are
compared in few calls of NumPy, each long enough for other threads to get the interpreter meanwhile.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Counts, Floats
from mlsecops.drift.matmul import ALONE, squared_distances

__all__ = ["LIMIT", "KnownPoints"]

LIMIT: Final = 1e3  # standard deviations; chosen: clips infinities and absurd values

_Singles: TypeAlias = NDArray[np.float32]

_NEAR: Final = 0.4  # of the usual spacing; as in `steps`
_NEIGHBOUR: Final = 5  # rank of the neighbour; chosen: distances to it vary less than to the first
_BLOCK: Final = 512  # queries; chosen: a block of distances has 2 MiB and stays in a cache
_TILE: Final = 64  # known points by queries in a product; chosen: a multiple of every vector width


class KnownPoints:
    """A sample of benign queries `(n, p)`; `spacing` is their usual distance."""

    def __init__(self, points: Floats) -> None:
        self.spacing = _spacing(points)
        size, width = points.shape
        padded = np.zeros((-(-size // _TILE) * _TILE, width), dtype=np.float32)
        padded[:size] = points
        self._tiles = np.ascontiguousarray(padded.reshape(-1, _TILE, width).swapaxes(1, 2))
        self._squares = np.square(padded).sum(axis=1)
        self._squares[size:] = np.inf
        self._kth = min(_NEIGHBOUR, size) - 1

    def nearest(self, points: Floats) -> tuple[Floats, Counts]:
        """Distances to the fifth known point `(m,)`, and places of the nearest ones `(m,)`."""
        queries = points.astype(np.float32)
        scaled, squares = -2 * queries, np.square(queries).sum(axis=1)[:, None]
        distances, nearest = np.empty(len(queries)), np.empty(len(queries), dtype=np.int64)
        gaps, spare = np.empty((2, min(_BLOCK, len(queries)), len(self._squares)), dtype=np.float32)
        near = np.empty(gaps.shape, dtype=bool)
        for start in range(0, len(queries), _BLOCK):
            part = slice(start, start + _BLOCK)
            if len(queries) - start < len(gaps):
                gaps, spare, near = (each[: len(queries) - start] for each in (gaps, spare, near))
            self._multiply(scaled[part], spare)
            gaps[...] = self._squares
            gaps += squares[part]
            gaps += spare
            nearest[part] = gaps.argmin(axis=1)
            np.less_equal(gaps, (_NEAR * self.spacing) ** 2, out=near)
            np.copyto(gaps, np.inf, where=near)
            gaps.partition(self._kth, axis=1)
            distances[part] = np.sqrt(gaps[:, self._kth])
        # With fewer than five others the distance is the largest possible one.
        return np.where(np.isfinite(distances), distances, LIMIT * self.spacing), nearest

    def _multiply(self, queries: _Singles, products: _Singles) -> None:
        """Products of queries `(r, p)` and known points, into `products`.

        A BLAS computes each tile on this thread (`mlsecops.drift.matmul`).
        """
        rows, size = queries.shape
        height = max(1, min(_TILE, ALONE // (_TILE * size)))
        whole = rows - rows % height
        for some, count in ((slice(whole), height), (slice(whole, rows), rows - whole)):
            if len(queries[some]):
                left = queries[some].reshape(-1, 1, count, size)
                made = products[some].reshape(-1, count, len(self._tiles), _TILE)
                np.matmul(left, self._tiles, out=made.swapaxes(1, 2))


def _spacing(points: Floats) -> float:
    """Median distance of distinct points to their fifth neighbour."""
    distinct = np.unique(points, axis=0)
    kth = min(_NEIGHBOUR, len(distinct) - 1)
    if kth < 1:
        return 1.0
    gaps = np.partition(squared_distances(distinct, distinct), kth, axis=1)[:, kth]
    return max(float(np.sqrt(np.median(gaps))), 1e-9)
