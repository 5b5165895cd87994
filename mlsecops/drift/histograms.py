"""How traffic was distributed, without keeping it: counts in bins that the baseline fixed.

rows (n, d) → Profile.update → counts (d, b) → merge across replicas → Baseline.drift

The edges are values of the reference sample. Each edge is a bin of its own (an atom) and so is
each open interval between two edges, so that discrete features and constants lose nothing, and a
distribution function read from the counts is exact at every edge. Profiles with the same edges
merge exactly: the counts of all rows together are the sum of the counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.array_files import pack, unpack
from mlsecops.errors import FormatRefused, UsageError

__all__ = ["Layout", "Profile"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_KIND: Final = "profile"
_MOST_ROWS: Final = 1 << 48
_MANY: Final = 512
_LARGEST: Final = np.finfo(np.float64).max


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Where the bins of each feature lie.

    Attributes:
        names: Names of the d features.
        edges: `(d, k)` float64, ascending in each row, padded with `inf`.
    """

    names: tuple[str, ...]
    edges: Floats

    @property
    def bins(self) -> int:
        """Number of bins of a feature: an atom for each edge and the gaps around them."""
        return 2 * int(self.edges.shape[1]) + 1

    @property
    def identity(self) -> str:
        """Hexadecimal digest of names and edges: equal where profiles can be merged."""
        text = "\x00".join(self.names).encode()
        return hashlib.sha256(text + b"\x01" + self.edges.tobytes()).hexdigest()

    def bin(self, rows: Floats) -> tuple[Counts, Counts]:
        """Count rows per bin, and missing values.

        Args:
            rows: `(n, d)`; NaN is a missing value, infinities are values.

        Returns:
            Counts `(d, bins)` and missing `(d,)`.
        """
        if len(rows) >= _MANY:
            return self.count(np.sort(rows.T, axis=1))
        features, width = len(self.names), self.bins
        slots = np.empty(rows.shape, dtype=np.int64)
        for feature, bounds in enumerate(self._bounds):
            slots[:, feature] = bounds.searchsorted(rows[:, feature], side="right")
        slots += np.arange(features) * width
        missing = np.isnan(rows)
        counts = np.bincount(slots[~missing], minlength=width * features)
        return counts.reshape(features, width), missing.sum(axis=0)

    def count(self, ordered: Floats) -> tuple[Counts, Counts]:
        """Count values per bin, and missing values, of columns that are sorted already.

        Args:
            ordered: `(d, n)`, each row sorted, NaN last.

        Returns:
            Counts `(d, bins)` and missing `(d,)`.
        """
        ends: Counts = np.empty((len(self.names), self.bins + 1), dtype=np.int64)
        for row, column, edges in zip(ends, ordered, self.edges, strict=True):
            row[1:-1:2] = column.searchsorted(edges)
            # Padding and infinity are no atoms: what is infinite lies in the last gap.
            row[2:-1:2] = column.searchsorted(np.minimum(edges, _LARGEST), side="right")
        ends[:, 0], ends[:, -1] = 0, (~np.isnan(ordered)).sum(axis=1)
        return np.diff(ends, axis=1), ordered.shape[1] - ends[:, -1]

    @cached_property
    def _bounds(self) -> Floats:
        """Lower ends of all bins but the first `(d, 2k)`."""
        bounds = np.repeat(self.edges, 2, axis=1)
        bounds[:, 1::2] = np.nextafter(bounds[:, 1::2], np.inf)
        return bounds


class Profile:
    """Mergeable counts of the rows that were seen.

    A Kolmogorov-Smirnov distance read from a profile is never above the exact one, and below it by
    at most the `error_bound` that is reported with it (0 for features with few distinct values).

    Args:
        layout: Bins, from `Baseline.profile()`.
    """

    __slots__ = ("_count", "counts", "layout", "missing")

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.counts: Counts = np.zeros((len(layout.names), layout.bins), dtype=np.int64)
        self.missing: Counts = np.zeros(len(layout.names), dtype=np.int64)
        self._count = 0

    @property
    def count(self) -> int:
        """Number of rows seen."""
        return self._count

    def update(self, rows: Any) -> Profile:
        """Count more rows.

        Args:
            rows: `(n, d)` numbers, or one row `(d,)`.

        Returns:
            This profile.

        Raises:
            UsageError: The rows do not have the profile's features.
        """
        values = np.atleast_2d(np.asarray(rows, dtype=np.float64))
        values = values.reshape(len(values), -1)
        if values.shape[1] != len(self.layout.names):
            raise UsageError(
                f"rows: expected {len(self.layout.names)} features, got {values.shape[1]}"
            )
        counts, missing = self.layout.bin(values)
        self.counts += counts
        self.missing += missing
        self._count += len(values)
        return self

    def merge(self, other: Profile) -> Profile:
        """Add what another profile saw.

        Returns:
            This profile.

        Raises:
            UsageError: The other profile has other bins.
        """
        if other.layout is not self.layout and other.layout.identity != self.layout.identity:
            raise UsageError("profiles of different baselines cannot be merged")
        self.counts += other.counts
        self.missing += other.missing
        self._count += other.count
        return self

    def copy(self) -> Profile:
        """A profile with the same counts that changes on its own."""
        return Profile(self.layout).merge(self)

    def to_bytes(self) -> bytes:
        """Bytes for another replica or a file; they hold counts and edges, no rows."""
        return pack(
            _KIND,
            {"names": list(self.layout.names), "count": self.count},
            {"edges": self.layout.edges, "counts": self.counts, "missing": self.missing},
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Profile:
        """Read what `to_bytes` wrote.

        Raises:
            FormatRefused: The bytes are not a profile, or contradict themselves.
            LimitExceeded: They are too many.
        """
        facts, arrays = unpack(data, _KIND, where="profile")
        try:
            names = tuple(str(name) for name in facts["names"])
            profile = cls(Layout(names=names, edges=checked_edges(arrays["edges"], len(names))))
            profile._fill(arrays["counts"], arrays["missing"], int(facts["count"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatRefused(f"profile: malformed: {error}") from error
        return profile

    def _fill(self, counts: Counts, missing: Counts, count: int) -> None:
        """Take counts that were read from outside, if they add up."""
        shapes = counts.shape == self.counts.shape and missing.shape == self.missing.shape
        if not shapes or counts.dtype != np.int64 or missing.dtype != np.int64:
            raise FormatRefused("profile: the counts do not have the shape of the edges")
        low = min(counts.min(initial=0), missing.min(initial=0))
        high = max(counts.max(initial=0), missing.max(initial=0))
        # Without a ceiling for each, a sum could pass the end of int64 and come out right.
        if (
            low < 0
            or high > count
            or count > _MOST_ROWS
            or (counts.sum(axis=1) + missing != count).any()
        ):
            raise FormatRefused(f"profile: the counts do not add up to {count} rows")
        self.counts, self.missing, self._count = counts, missing, count


def checked_edges(edges: NDArray[Any], features: int) -> Floats:
    """Edges that were read from outside, if they can be edges.

    Raises:
        FormatRefused: They cannot.
    """
    if edges.dtype != np.float64 or edges.ndim != 2 or len(edges) != features:  # noqa: PLR2004 - features by edges
        raise FormatRefused("the edges do not have a row for each feature")
    if np.isnan(edges).any() or (edges[:, 1:] < edges[:, :-1]).any():
        raise FormatRefused("the edges are not in ascending order")
    return edges
