"""Segments of one long table of queries, one for each client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Bools, Counts, Floats

__all__ = ["Segments"]


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Ranges of rows, ascending and disjoint, some of them possibly empty.

    Attributes:
        begins: First row of each `(c,)`.
        ends: Row after the last of each `(c,)`.
    """

    begins: Counts
    ends: Counts

    @classmethod
    def of(cls, sizes: Sequence[int] | Counts) -> Segments:
        """Segments of that many rows, one after the other."""
        ends = np.cumsum(np.asarray(sizes, dtype=np.int64))
        return cls(ends - np.asarray(sizes, dtype=np.int64), ends)

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def sizes(self) -> Counts:
        """Number of rows of each `(c,)`."""
        return np.asarray(self.ends - self.begins)

    @property
    def places(self) -> Counts:
        """All rows of all segments, in order."""
        sizes = self.sizes
        before = np.cumsum(sizes) - sizes
        return np.asarray(np.arange(sizes.sum()) + np.repeat(self.begins - before, sizes))

    def only(self, kept: Bools) -> Segments:
        """The segments after all other rows of the table `(n,)` have been removed."""
        left = np.concatenate([[0], np.cumsum(kept)])
        return Segments(left[self.begins], left[self.ends])

    def parts(self, table: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """The rows of each segment, as views."""
        for begin, end in zip(self.begins.tolist(), self.ends.tolist(), strict=True):
            yield table[begin:end]

    def sums(self, table: Floats) -> Floats:
        """Sums of the rows of each segment `(c, k)`."""
        return self._reduced(np.add, table)

    def peaks(self, table: Floats) -> Floats:
        """Largest values among the rows of each segment and zero `(c, k)`."""
        return np.maximum(self._reduced(np.maximum, table), 0.0)

    def _reduced(self, function: np.ufunc, table: Floats) -> Floats:
        result = np.zeros((len(self), table.shape[1]))
        some = self.sizes > 0
        if some.any():
            result[some] = function.reduceat(table, self.begins[some], axis=0)
        return result
