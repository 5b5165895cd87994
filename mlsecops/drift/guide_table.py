"""Guide table: bins of values, found without a search in sorted edges.

    edges (d, k) → GuideTable.fit → GuideTable.bin(rows) → counts per bin

A uniform grid of cells lies over the edges of a feature. The cell of a value, one multiplication
away, says how many edges lie below; only the edges in the same cell are compared. Features whose
edges crowd into few cells (heavy tails) are left to a search.

Source: Chen and Asau 1974, "On generating random variates from an empirical distribution" (guide
tables).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Counts, Floats

_CELLS: Final = 8  # cells an edge; chosen: two edges of a normal feature share a cell at most
_CROWD: Final = 3  # edges of a cell; chosen: comparing with more takes longer than a search
_MOST_CELLS: Final = 2**22  # of all features, 16 MiB a table; chosen: bounds the memory

Cells = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GuideTable:
    """Cells over the edges of those features that they suit.

    Attributes:
        features: Indices of the features `(f,)`.
        bins: Bins of a feature.
        cells: Cells of a feature.
        low: Value at which the grid begins `(f,)`.
        scale: Cells a unit of the feature, > 0, `(f,)`.
        first: Bin of a value below all edges of the cell, over all features, `(f * cells,)`.
        near: The first, second, … edge of the cell; `inf` where there is none, `(f * cells,)` each.
        lowest: Bin of minus infinity `(f,)`.
    """

    features: Counts
    bins: int
    cells: int
    low: Floats
    scale: Floats
    first: Cells
    near: tuple[Floats, ...]
    lowest: Counts

    @classmethod
    def fit(cls, edges: Floats) -> GuideTable:
        """A table of edges `(d, k)`, ascending in each row and padded with `inf`."""
        features, width = edges.shape
        cells = _CELLS * width
        if features * cells > _MOST_CELLS:
            edges = edges[:0]
        low, scale = _grid(edges, cells)
        places = np.where(edges == np.inf, cells, _cells_of(edges.T, low, scale, cells).T)
        crowd = np.array([np.bincount(row, minlength=1)[:cells].max() for row in places], dtype=int)
        chosen = np.flatnonzero(crowd <= _CROWD)
        below = np.array(
            [row.searchsorted(np.arange(cells)) for row in places[chosen]], dtype=np.int64
        ).reshape(len(chosen), cells)
        padded = np.pad(edges[chosen], ((0, 0), (0, _CROWD)), constant_values=np.inf)
        bins = 2 * width + 1
        return cls(
            features=chosen,
            bins=bins,
            cells=cells,
            low=low[chosen],
            scale=scale[chosen],
            first=(2 * below + np.arange(len(chosen))[:, None] * bins).astype(np.int32).ravel(),
            near=tuple(
                np.take_along_axis(padded, below + step, axis=1).ravel()
                for step in range(crowd[chosen].max(initial=0))
            ),
            lowest=(edges[chosen, 0] == -np.inf).astype(np.int64),
        )

    def bin(self, rows: Floats) -> Counts:
        """Counts per bin `(f, bins)` of the features' values `(n, f)`; NaN belongs to none."""
        finite = np.isfinite(rows)
        whole = bool(finite.all())
        slots = self._slots(rows if whole else np.where(finite, rows, 0.0))
        size = len(self.features) * self.bins
        counts = np.bincount((slots if whole else slots[finite]).ravel(), minlength=size)
        counts = counts.reshape(-1, self.bins)
        if not whole:
            counts[:, -1] += (rows == np.inf).sum(axis=0)
            counts[np.arange(len(counts)), self.lowest] += (rows == -np.inf).sum(axis=0)
        return counts

    def _slots(self, rows: Floats) -> Cells:
        """Bins of finite values `(n, f)`, numbered over all features."""
        places = _cells_of(rows, self.low, self.scale, self.cells)
        places += np.arange(len(self.features), dtype=np.int32) * np.int32(self.cells)
        slots: Cells = self.first.take(places)
        for edges in self.near:
            edge = edges.take(places)
            slots += rows >= edge
            slots += rows > edge
        return slots


def _grid(edges: Floats, cells: int) -> tuple[Floats, Floats]:
    """Beginning and scale of each feature's grid: over all edges but the outermost ones."""
    low, scale = np.zeros(len(edges)), np.ones(len(edges))
    for feature, row in enumerate(edges):
        known = row[np.isfinite(row)]
        inner = known[1:-1] if len(known) > 3 else known  # noqa: PLR2004 - two of four are inner
        if len(inner):
            low[feature] = inner[0]
            with np.errstate(over="ignore", divide="ignore"):
                step = (cells - 2) / (inner[-1] - inner[0])
            scale[feature] = step if 0 < step < np.inf else 1.0
    return low, scale


def _cells_of(rows: Floats, low: Floats, scale: Floats, cells: int) -> Cells:
    """Cell of each value `(n, f)`, which never falls as the value grows."""
    with np.errstate(over="ignore"):
        places = rows - low
        places *= scale
    # Below the grid is cell 0; above it is the last one.
    np.clip(places, 0, cells - 1, out=places)
    return places.astype(np.int32)
