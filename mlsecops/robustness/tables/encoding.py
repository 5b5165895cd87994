"""Float32 rows of an evaluation for the rows of a data frame, and back.

frame → `Encoding`: a row's number, the offset of each number, one column for each choice → attacks
encoded rows → `Encoding.decoded` → frame with the attacker's changes, all else as it was

What does not change is taken from the frame itself, so that it is exact and of any type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mlsecops.robustness.attacks.tabular import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.tables.columns import FrameRows, FreeCategory, FreeNumber

    Floats: TypeAlias = NDArray[np.float64]

_ROUNDED: Final = 1e-3  # of a whole number; chosen: float32 offsets of thousands are off by less
_FURTHEST: Final = 3.0e38  # float32; the largest value that is still finite with an offset


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedTable(Table):
    """Constraints of the encoded rows: each input has bounds of its own.

    Attributes:
        low: Smallest value of each encoded column `(n, d)`.
        high: Largest value, likewise.
    """

    low: Any = None
    high: Any = None

    def fixed(self, x: Array, bounds: Bounds) -> Bounds:
        """Bounds of each input that let only its free numbers change."""
        number = x[:, 0].astype(np.int64)
        low, high = Table.fixed(self, x, (self.low[number], self.high[number]))
        del bounds  # those of the rows are narrower
        return low, high


@dataclass(slots=True, kw_only=True, eq=False)
class Encoding:
    """The encoded rows of a frame.

    Attributes:
        rows: The frame.
        numbers: Its numbers that an attacker changes.
        categories: Its categories that an attacker exchanges.
        origin: Those numbers as they are `(n, len(numbers))`, NaN where one is missing.
    """

    rows: FrameRows
    numbers: Sequence[FreeNumber]
    categories: Sequence[FreeCategory]
    origin: Floats = field(init=False)

    def __post_init__(self) -> None:
        columns = [self.rows.numbers(each.place) for each in self.numbers]
        self.origin = np.stack(columns, axis=1) if columns else np.zeros((len(self.rows), 0))

    @property
    def width(self) -> int:
        """Columns of an encoded row."""
        return 1 + len(self.numbers) + sum(1 + len(each.values) for each in self.categories)

    @property
    def encoded(self) -> Array:
        """The frame's own rows: no offset, and the first choice, which is the own value."""
        x = np.zeros((len(self.rows), self.width), dtype=np.float32)
        x[:, 0] = np.arange(len(x))
        for group in self.groups:
            x[:, group[0]] = 1
        return x

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """Encoded columns of each category's choices; the first leaves the own value."""
        found, start = [], 1 + len(self.numbers)
        for each in self.categories:
            end = start + 1 + len(each.values)
            found.append(tuple(range(start, end)))
            start = end
        return found

    def limits(self) -> tuple[Floats, Floats]:
        """Smallest and largest offset of each number of each row, its radius included."""
        low, high = np.zeros_like(self.origin), np.zeros_like(self.origin)
        for column, each in enumerate(self.numbers):
            reach = np.inf if each.eps is None else each.eps
            low[:, column] = np.maximum(each.low - self.origin[:, column], -reach)
            high[:, column] = np.minimum(each.high - self.origin[:, column], reach)
        known = ~np.isnan(self.origin)
        return np.where(known, low, 0.0), np.where(known, high, 0.0)

    def table(self) -> EncodedTable:
        """What an attack may do to the encoded rows."""
        x = self.encoded
        low, high = x.copy(), x.copy()
        ends = slice(1, 1 + len(self.numbers))
        low[:, ends], high[:, ends] = (np.clip(e, -_FURTHEST, _FURTHEST) for e in self.limits())
        for group in self.groups:
            low[:, group], high[:, group] = 0, 1
        radii = [each.eps for each in self.numbers]
        eps: dict[int | str, float] | None = None if None in radii else {
            1 + column: float(radius) for column, radius in enumerate(radii) if radius is not None
        }  # fmt: skip
        return EncodedTable(immutable=(0,), one_hot=self.groups, eps=eps, low=low, high=high)

    def bounds(self) -> Bounds:
        """Bounds of the encoded rows as a whole."""
        table = self.table()
        return table.low.min(axis=0), table.high.max(axis=0)

    def changes(self, x: Array) -> tuple[Any, dict[int, Any]]:
        """Rows of the frame that encoded rows stand for, and the columns that an attacker set."""
        number = x[:, 0].astype(np.int64)
        low, high = self.limits()
        made: dict[int, Any] = {}
        for column, each in enumerate(self.numbers):
            offset = np.clip(
                x[:, 1 + column].astype(np.float64), low[number, column], high[number, column]
            )
            if each.whole:
                near = np.rint(offset)
                offset = np.where(np.abs(offset - near) < _ROUNDED, near, np.trunc(offset))
            made[each.place] = self.origin[number, column] + offset
        for group, choice in zip(self.groups, self.categories, strict=True):
            picked = x[:, group].argmax(axis=1)
            own = made.get(choice.place)
            values = self.rows.take(number).values(choice.place) if own is None else list(own)
            made[choice.place] = [
                choice.values[pick - 1] if pick else value
                for pick, value in zip(picked.tolist(), values, strict=True)
            ]
        return number, made

    def decoded(self, x: Array) -> Any:
        """The frame that the caller's model is asked about, one row for each encoded row."""
        number, made = self.changes(np.asarray(x, dtype=np.float32))
        return self.rows.take(number).replaced(made)
