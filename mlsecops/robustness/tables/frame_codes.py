"""Columns of a frame as numbers, and what the steps before the trees make of them.

frame → `FrameCodes` → one number for each value → `StepValues`: what the trees see of it, and the
largest number that the steps send below a threshold
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.robustness.tables.columns import FrameRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_BISECTIONS: Final = 65  # steps; float64 has 2**64 values, and each step halves them
_FURTHER: Final = 1e12  # times the largest value, or 1; chosen: outside any ball
_LARGEST: Final = 1e30  # chosen: finite in float32
_LARGEST_WHOLE: Final = 2.0**53  # IEEE 754, whole numbers are exact up to there


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameCodes:
    """The frame's columns as numbers for the trees.

    Attributes:
        categories: Column → its categories; a category's code is its place, missing is NaN.
    """

    categories: dict[int, list[Any]]

    def matrix(self, rows: FrameRows) -> Floats:
        """The frame `(n, d)` in float64."""
        columns = [
            self.codes(place, rows.values(place)) if place in self.categories
            else rows.numbers(place)
            for place in range(len(rows.names))
        ]  # fmt: skip
        return np.stack(columns, axis=1)

    def codes(self, place: int, values: Sequence[Any]) -> Floats:
        """Codes of a column's values."""
        place_of = {value: code for code, value in enumerate(self.categories[place])}
        return np.array([np.nan if v is None else float(place_of[v]) for v in values])


class StepValues:
    """What the trees see of the frame's columns, as numbers."""

    def __init__(
        self, steps: Sequence[Any], rows: FrameRows, codes: FrameCodes, native: dict[int, Any]
    ) -> None:
        self._steps, self._rows, self._codes, self._native = steps, rows, codes, native
        self.width = len(rows.names)

    @property
    def empty(self) -> bool:
        """Whether the trees see the frame's columns as they are."""
        return not self._steps

    def seen(self, matrix: Floats) -> Floats:
        """What the trees see of coded rows `(n, d)`."""
        values = [self._values(place, matrix[:, place]) for place in range(self.width)]
        if not self._steps:
            return np.stack(
                [self._number(place, each) for place, each in enumerate(values)], axis=1
            )
        if self._rows.is_frame:
            template = self._rows.take(np.zeros(len(matrix), dtype=np.int64))
            value = template.replaced(dict(enumerate(values)))
        else:  # of an evaluation's own type: a step rounds float32 otherwise than float64
            value = np.stack(values, axis=1).astype(self._rows.data.dtype)
        for step in self._steps:
            value = step.transform(value)
        return np.asarray(value.toarray() if hasattr(value, "toarray") else value, np.float64)

    def _values(self, place: int, column: Floats) -> Any:
        known = self._codes.categories.get(place)
        return column if known is None else [None if c != c else known[int(c)] for c in column]  # noqa: PLR0124 - NaN

    def _number(self, place: int, values: Any) -> Floats:
        if place not in self._codes.categories:
            return np.asarray(values, dtype=np.float64)
        code = self._native.get(place)
        if code is None:
            raise UsageError(
                f"column {self._rows.names[place]!r} holds categories whose codes cannot be read; "
                "encode them in a pipeline"
            )
        return np.array([np.nan if v is None else code.get(v, np.nan) for v in values])

    def of_missing(self, place: int) -> Floats | None:
        """What the trees see where one column is missing; None if the steps refuse that."""
        row = np.zeros((1, self.width))
        row[:, place] = np.nan
        try:
            found: Floats = self.seen(row)[0]
        except (ValueError, TypeError):
            return None
        return found

    def of_categories(self, place: int) -> Floats:
        """What the trees see of each category of a column."""
        count = len(self._codes.categories[place])
        rows = np.zeros((count, self.width))
        rows[:, place] = np.arange(count)
        return self.seen(rows)

    def last_below(
        self, place: NDArray[np.int64], output: NDArray[np.int64], limits: Floats
    ) -> Floats:
        """Largest value of a column that the steps send to each limit or below, by bisection."""
        if not self._steps or not len(place):
            return limits
        order = np.argsort(place, kind="stable")
        first = np.searchsorted(place[order], place[order])
        row = np.empty(len(place), dtype=np.int64)
        row[order] = np.arange(len(place)) - first  # limits of one column are in rows of their own
        count = int(row.max()) + 1

        def below(values: Floats) -> NDArray[np.bool_]:
            rows = np.zeros((count, self.width))
            rows[row, place] = values
            found: NDArray[np.bool_] = self.seen(rows)[row, output] <= limits
            return found

        reach = {each: self._reach(each) for each in np.unique(place).tolist()}
        low, high = np.array([reach[each] for each in place.tolist()]).T
        none, every = ~below(low), below(high)
        least, most = _keys(low), _keys(high)
        for _ in range(_BISECTIONS):
            middle = least + (most - least) // 2
            left = below(_values(middle))
            least, most = np.where(left, middle, least), np.where(left, most, middle)
        found: Floats = np.where(every, np.inf, np.where(none, -np.inf, _values(least)))
        return found

    def _reach(self, place: int) -> tuple[float, float]:
        """Smallest and largest number to ask a column's steps for, which its type can hold."""
        least, most = self._rows.ends(place)
        if self._rows.is_whole(place):
            return max(least, -_LARGEST_WHOLE), min(most, _LARGEST_WHOLE)
        given = np.abs(np.nan_to_num(self._rows.numbers(place))).max(initial=1.0)
        most = min(_FURTHER * float(given), _LARGEST, most)
        return -most, most


def _keys(values: Floats) -> Any:
    """Integers in the order of float64 values, of any size."""
    bits = values.view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits).astype(object)


def _values(keys: Any) -> Floats:
    whole = np.asarray(keys, dtype=np.int64)
    bits = np.where(whole < 0, np.int64(-(2**63)) - whole, whole)
    return bits.view(np.float64)
