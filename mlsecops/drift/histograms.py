"""Histograms of a table's columns, in bins that a baseline fixed.

    rows (n, d) → Profile.update → counts (d, b) → Profile.merge → Baseline.drift

The edges are values of the reference sample. Each edge is a bin (an atom) and so is each open
interval between two edges, so that discrete features and constants lose nothing, and the
distribution function of the counts is exact at every edge. Profiles with the same edges merge
exactly: their counts add up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops._choices import checked, of_type
from mlsecops._repr import concise_repr
from mlsecops.drift.array_files import decode, pack
from mlsecops.drift.guide_table import GuideTable
from mlsecops.drift.inputs import Counts, Floats, as_rows
from mlsecops.errors import FormatRefused, UsageError

_KIND: Final = "profile"
_MOST_ROWS: Final = 1 << 48  # rows; sums of so many in 32,767 bins stay within int64
_MANY: Final = 512  # rows; chosen: from here on sorting a column takes less time than a search
_LARGEST: Final = np.finfo(np.float64).max


@concise_repr()
@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Bins of each feature.

    Attributes:
        names: Names of the d features.
        edges: `(d, k)` float64, ascending in each row, padded with `inf`.

    Examples:
        >>> Layout(names=("age",), edges=np.array([[18.0, 65.0]])).bins
        5
    """

    names: tuple[str, ...]
    edges: Floats

    @property
    def bins(self) -> int:
        """Number of bins of a feature: an atom for each edge and the intervals around them."""
        return 2 * int(self.edges.shape[1]) + 1

    @property
    def identity(self) -> str:
        """Hexadecimal digest of names and edges: equal where profiles can be merged."""
        text = "\x00".join(self.names).encode()
        return hashlib.sha256(text + b"\x01" + self.edges.tobytes()).hexdigest()

    def bin(self, rows: Floats) -> tuple[Counts, Counts]:
        """Counts per bin `(d, bins)` and missing values `(d,)` of rows `(n, d)`; NaN is missing."""
        guide = self._guide
        if len(guide.features) == len(self.names):
            return guide.bin(rows), np.isnan(rows).sum(axis=0)
        counts: Counts = np.empty((len(self.names), self.bins), dtype=np.int64)
        counts[guide.features] = guide.bin(rows[:, guide.features])
        counts[self._crowded] = self._searched(rows[:, self._crowded])
        return counts, np.isnan(rows).sum(axis=0)

    def _searched(self, rows: Floats) -> Counts:
        """Counts per bin `(f, bins)` of the features that the guide table does not suit."""
        edges, width = self.edges[self._crowded], self.bins
        if len(rows) >= _MANY:
            return _counted(np.sort(rows.T, axis=1), edges)
        slots = np.empty(rows.shape, dtype=np.int64)
        for feature, bounds in enumerate(self._bounds):
            slots[:, feature] = bounds.searchsorted(rows[:, feature], side="right")
        slots += np.arange(len(edges)) * width
        counts = np.bincount(slots[~np.isnan(rows)], minlength=width * len(edges))
        return counts.reshape(-1, width)

    def count(self, ordered: Floats) -> tuple[Counts, Counts]:
        """Counts per bin and missing values of sorted columns `(d, n)`, NaN last."""
        counts = _counted(ordered, self.edges)
        return counts, ordered.shape[1] - counts.sum(axis=1)

    @cached_property
    def _guide(self) -> GuideTable:
        return GuideTable.fit(self.edges)

    @cached_property
    def _crowded(self) -> Counts:
        """Indices of the features that the guide table leaves to a search."""
        return np.setdiff1d(np.arange(len(self.names)), self._guide.features)

    @cached_property
    def _bounds(self) -> Floats:
        """Lower ends of all bins but the first, of those features `(f, 2k)`."""
        bounds = np.repeat(self.edges[self._crowded], 2, axis=1)
        with np.errstate(over="ignore"):  # infinity follows the largest number
            bounds[:, 1::2] = np.nextafter(bounds[:, 1::2], np.inf)
        return bounds


def _counted(ordered: Floats, edges: Floats) -> Counts:
    """Counts per bin of sorted columns `(d, n)`, NaN last, between edges `(d, k)`."""
    ends: Counts = np.empty((len(edges), 2 * edges.shape[1] + 2), dtype=np.int64)
    for row, column, own in zip(ends, ordered, edges, strict=True):
        row[1:-1:2] = column.searchsorted(own)
        # Padding and infinity are no atoms: infinite values belong to the last interval.
        row[2:-1:2] = column.searchsorted(np.minimum(own, _LARGEST), side="right")
    ends[:, 0], ends[:, -1] = 0, (~np.isnan(ordered)).sum(axis=1)
    return np.diff(ends, axis=1)


@concise_repr("count", "layout.names")
class Profile:
    """Mergeable histograms of rows, in bins such as those of `Baseline.profile()`.

    The Kolmogorov-Smirnov distance of a profile is never above the exact one, and below it by at
    most the reported `error_bound` (0 for features with few distinct values).

    Attributes:
        count: Number of rows.

    Examples:
        >>> Profile(Layout(names=("age",), edges=np.array([[18.0]]))).update([[17], [18]]).counts
        array([[1, 1, 0]])
    """

    __slots__ = ("_read", "count", "counts", "layout", "missing")

    def __init__(self, layout: Layout, *, read: Callable[[Any], Floats] | None = None) -> None:
        self._read = read
        self.layout = of_type("layout", layout, Layout, "a Layout")
        self.counts: Counts = np.zeros((len(layout.names), layout.bins), dtype=np.int64)
        self.missing: Counts = np.zeros(len(layout.names), dtype=np.int64)
        self.count = 0

    def update(self, rows: Any) -> Profile:
        """Count more rows `(n, d)`, or one `(d,)`, and return this profile.

        A profile that a baseline made takes tables as the baseline does.

        Raises:
            UsageError: The rows do not have the profile's features.
        """
        values = as_rows(rows if self._read is None else self._read(rows), len(self.layout.names))
        counts, missing = self.layout.bin(values)
        self.counts += counts
        self.missing += missing
        self.count += len(values)
        return self

    @checked
    def merge(self, other: Profile) -> Profile:
        """Add another profile's counts, and return this profile.

        Raises:
            UsageError: The other profile has other bins.
        """
        if other.layout is not self.layout and other.layout.identity != self.layout.identity:
            raise UsageError(
                "profile: expected the same bins; profiles of two baselines cannot be merged"
            )
        return self.add(other)

    def add(self, other: Profile) -> Profile:
        """As `merge`, for a profile that is known to have the same bins."""
        self.counts += other.counts
        self.missing += other.missing
        self.count += other.count
        return self

    def copy(self) -> Profile:
        """An independent copy."""
        return Profile(self.layout, read=self._read).add(self)

    def to_bytes(self) -> bytes:
        """Serialise counts and edges, which contain no rows."""
        return pack(
            _KIND,
            {"names": list(self.layout.names), "count": self.count},
            {"edges": self.layout.edges, "counts": self.counts, "missing": self.missing},
        )

    @classmethod
    @checked
    def from_bytes(cls, data: bytes) -> Profile:
        """Parse what `to_bytes` wrote.

        Raises:
            FormatRefused: The bytes are not a profile, or contradict themselves.
            LimitExceeded: The bytes are too many.
        """
        return decode(data, _KIND, cls._parse, where="profile")

    @classmethod
    def _parse(cls, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Profile:
        names, count = tuple(str(name) for name in facts["names"]), int(facts["count"])
        counts, missing = arrays["counts"], arrays["missing"]
        made = cls(Layout(names=names, edges=checked_edges(arrays["edges"], len(names))))
        shapes = counts.shape == made.counts.shape and missing.shape == made.missing.shape
        if not shapes or counts.dtype != np.int64 or missing.dtype != np.int64:
            raise FormatRefused("profile: the counts do not have the shape of the edges")
        low = min(counts.min(initial=0), missing.min(initial=0))
        high = max(counts.max(initial=0), missing.max(initial=0))
        # Without a limit for each, a sum could overflow int64 and still be correct.
        bounded = low >= 0 and high <= count <= _MOST_ROWS
        if not bounded or (counts.sum(axis=1) + missing != count).any():
            raise FormatRefused(f"profile: the counts do not add up to {count} rows")
        made.counts, made.missing, made.count = counts, missing, count
        return made


def checked_edges(edges: NDArray[Any], features: int) -> Floats:
    """Untrusted edges; raises `FormatRefused` if their shape, type or order is wrong."""
    if edges.dtype != np.float64 or edges.ndim != 2 or len(edges) != features:  # noqa: PLR2004 - features by edges
        raise FormatRefused("the edges do not have a row for each feature")
    if np.isnan(edges).any() or (edges[:, 1:] < edges[:, :-1]).any():
        raise FormatRefused("the edges are not in ascending order")
    return edges
