"""Columns of a data frame or array that an attacker changes, with their radius and values.

frame, Table, bounds → `free_columns` → numbers with a radius and bounds, categories with choices
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mlsecops._choices import shown
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.tabular import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.robustness.attacks.tabular import Column

    Floats: TypeAlias = NDArray[np.float64]

_LISTED: Final = 8  # columns named in an error; chosen: one line


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FreeNumber:
    """A column of numbers that an attacker changes.

    Attributes:
        place: Position in the frame.
        eps: Radius in the column's unit, or None for the attack's own.
        low: Smallest value.
        high: Largest value.
        whole: Whether it holds whole numbers only.
    """

    place: int
    eps: float | None
    low: float
    high: float
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FreeCategory:
    """A column whose value an attacker replaces by one of several.

    Attributes:
        place: Position in the frame.
        values: What may stand there instead of the own value; None is missing.
    """

    place: int
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameRows:
    """A data frame, or an array with missing values, by position of its columns.

    Attributes:
        data: DataFrame or array `(n, d)`.
        names: Names of the columns, or their numbers.
    """

    data: Any
    names: tuple[Column, ...]

    @classmethod
    def of(cls, x: Any) -> FrameRows | None:
        """The rows of a data frame or of an array with missing values; None for other inputs."""
        if hasattr(x, "to_pandas") and not isinstance(x, np.ndarray):
            x = x.to_pandas()  # polars, pyarrow
        if hasattr(x, "iloc") and getattr(x, "ndim", 0) == 2:  # noqa: PLR2004 - a data frame
            if len(set(x.columns)) != len(x.columns):
                raise UsageError("x: expected a data frame with a name of its own for each column")
            return cls(data=x, names=tuple(x.columns))
        if isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f" and np.isnan(x).any():  # noqa: PLR2004 - rows
            return cls(data=x.astype(np.float64), names=tuple(range(x.shape[1])))
        return None

    @property
    def is_frame(self) -> bool:
        """Whether it is a data frame."""
        return hasattr(self.data, "iloc")

    def __len__(self) -> int:
        return len(self.data)

    def take(self, rows: Any) -> FrameRows:
        """Selected rows."""
        data = self.data.iloc[rows] if self.is_frame else self.data[rows]
        return FrameRows(data=data, names=self.names)

    def column(self, place: int) -> Any:
        """One column as it is."""
        return self.data.iloc[:, place] if self.is_frame else self.data[:, place]

    def is_number(self, place: int) -> bool:
        """Whether a column holds numbers; booleans are categories."""
        kind = self.column(place).dtype
        return getattr(kind, "kind", "O") in "iuf"

    def is_flag(self, place: int) -> bool:
        """Whether a column holds booleans, which models read as 0 and 1."""
        return getattr(self.column(place).dtype, "kind", "O") == "b"

    def numbers(self, place: int) -> Floats:
        """A column of numbers as float64, NaN where a value is missing."""
        column = self.column(place)
        if self.is_frame:
            return np.asarray(column.to_numpy(dtype="float64", na_value=np.nan))
        return np.asarray(column, dtype=np.float64)

    def values(self, place: int) -> list[Any]:
        """A column's values, None where one is missing."""
        column = self.column(place)
        given = column.tolist()
        return [None if _missing(each) else each for each in given]

    def is_whole(self, place: int) -> bool:
        """Whether a column's type holds whole numbers only."""
        return getattr(self.column(place).dtype, "kind", "O") in "iu"

    def ends(self, place: int) -> tuple[float, float]:
        """Smallest and largest number that the type of a column of numbers holds."""
        kind = self.column(place).dtype
        kind = getattr(kind, "numpy_dtype", kind)
        info = np.iinfo(kind) if self.is_whole(place) else np.finfo(kind)
        return float(info.min), float(info.max)

    def replaced(self, changes: Mapping[int, Any]) -> Any:
        """The data with other columns, in their own types."""
        if not self.is_frame:
            made = self.data.astype(np.float64)
            for place, values in changes.items():
                made[:, place] = [np.nan if v is None else v for v in values]
            return made
        made = self.data.copy()
        for place, values in changes.items():
            made.isetitem(place, self._typed(place, values))
        return made

    def _typed(self, place: int, values: Any) -> Any:
        """Values of a column as its type, or as the nearest one that holds them."""
        kind, series = self.column(place).dtype, type(self.column(place))
        index = self.data.index
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            if getattr(kind, "kind", "O") in "iu" and not np.isnan(values).any():
                values = np.rint(values)
            elif getattr(kind, "kind", "O") in "iu" and type(kind).__module__.startswith("numpy"):
                kind = np.dtype(np.float64)  # a missing value
        if isinstance(values, list) and self.is_number(place):
            values = [np.nan if value is None else value for value in values]
        try:
            return series(values, index=index, dtype=kind)
        except (TypeError, ValueError):
            return series(values, index=index)


def free_columns(
    rows: FrameRows, table: Table | None, bounds: Any
) -> tuple[list[FreeNumber], list[FreeCategory]]:
    """What an attacker changes of a frame.

    Args:
        rows: The frame.
        table: What may change; None for every number.
        bounds: Smallest and largest value of every number, or a mapping from name to both.

    Raises:
        UsageError: A column is not there, is of another kind, or holds a value outside its bounds.
    """
    table = Table() if table is None else table
    place = {name: index for index, name in enumerate(rows.names)}
    if unknown := [name for name in table.names if name not in place]:
        known = ", ".join(map(str, rows.names[:_LISTED]))
        raise UsageError(f"table: no column {unknown[0]!r}: expected some of {known}")
    kept = {*table.immutable, *(column for group in table.one_hot for column in group)}
    wanted = [n for n in rows.names if rows.is_number(place[n])] if table.eps is None else table.eps
    numbers = [
        _number(rows, name, place[name], None if table.eps is None else table.eps[name], bounds)
        for name in wanted
        if name not in kept and name not in table.categories
    ]
    categories = [_category(rows, name, place[name], table) for name in table.categories]
    categories += [FreeCategory(place=place[name], values=(None,)) for name in table.missing]
    if not numbers and not categories:
        raise UsageError("table: nothing may change: expected an eps for a column, or categories")
    return numbers, categories


def _number(
    rows: FrameRows, name: Column, place: int, eps: float | None, bounds: Any
) -> FreeNumber:
    if not rows.is_number(place):
        raise UsageError(
            f"table: eps of column {name!r}: expected numbers, got {rows.column(place).dtype}; "
            "name it in categories"
        )
    whole = rows.is_whole(place)
    if whole and eps is not None and eps < 1:
        raise UsageError(
            f"table: eps of column {name!r} is {eps:g}, which reaches no other whole number: "
            "expected at least 1"
        )
    values, (low, high) = rows.numbers(place), _limits(name, bounds)
    if whole:
        least, most = rows.ends(place)
        low, high = max(low, least), min(high, most)
    known = values[~np.isnan(values)]
    if len(known) and not (low <= known.min() and known.max() <= high):
        raise UsageError(
            f"x: column {name!r}: expected values inside bounds {low:g} to {high:g}, got "
            f"{known.min():g} to {known.max():g}"
        )
    return FreeNumber(place=place, eps=eps, low=low, high=high, whole=whole)


def _limits(name: Column, bounds: Any) -> tuple[float, float]:
    if isinstance(bounds, Mapping):
        given = bounds.get(name, (-math.inf, math.inf))
    else:
        given = (-math.inf, math.inf) if _is_default(bounds) else bounds
    try:
        low, high = (float(each) for each in given)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"bounds: expected (low, high), or a mapping from column to both, got {shown(given)}"
        ) from error
    return low, high


def _is_default(bounds: Any) -> bool:
    return isinstance(bounds, (tuple, list)) and tuple(map(str, bounds)) == ("0", "1")


def _category(rows: FrameRows, name: Column, place: int, table: Table) -> FreeCategory:
    given = table.categories.get(name) if isinstance(table.categories, Mapping) else None
    values: Sequence[Any] = given or sorted(
        {each for each in rows.values(place) if each is not None}, key=str
    )  # fmt: skip
    if isinstance(values, str):
        raise UsageError(f"table: categories of column {name!r}: expected a list, got one text")
    return FreeCategory(place=place, values=tuple(values))


def _missing(value: Any) -> bool:
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:  # which compare to nothing
        return True
    return bool(value != value)  # noqa: PLR0124 - NaN
