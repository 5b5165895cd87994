"""Attack constraints of tabular data: immutable columns, categories, an eps for each column.

rows, bounds → `Table.searched` → search coordinates → any Attack → `Table.examples` → rows

In the search coordinates every column has the attack's eps, every category of a group is within it,
and the largest value selects the category; the gradient ignores the selection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mlsecops._choices import checked, number
from mlsecops._repr import concise_repr
from mlsecops.adapters.wrapper import Wrapped
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.ball import spread
from mlsecops.robustness.attacks.losses import pullback

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Cotangent, Labels
    from mlsecops.robustness.attacks.ball import Bounds

_AHEAD: Final = 0.01  # of eps; chosen: a small lead for the input's own category


Column: TypeAlias = "int | str"


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What an attacker can do to the columns of a table, by number or, of a data frame, by name.

    Attributes:
        immutable: Columns that an attacker cannot change (an age, a postcode).
        one_hot: Groups of columns of which one is 1 and the others 0; an attacker may choose
            another category at almost no cost in eps.
        eps: Radius of each column that can change, in its own unit; every other number stays as it
            is. Without it all numbers change by the attack's eps. Under an L2 attack the offsets
            are measured in these radii.
        categories: Columns of a data frame whose category an attacker may exchange, and for what:
            a list of names (for any category that occurs), or a mapping from name to categories.
            Other categories stay as they are.
        missing: Columns of a data frame that an attacker may leave empty; values that are missing
            already stay so.

    Examples:
        >>> Table(immutable=(0,), one_hot=((1, 2, 3),)).choices
        ((1, 2, 3),)
        >>> Table(eps={"age": 2, "income": 500}, categories=["job"]).names
        ('age', 'income', 'job')
    """

    immutable: Sequence[Column] = ()
    one_hot: Sequence[Sequence[Column]] = ()
    eps: Mapping[Column, float] | None = None
    categories: Sequence[Column] | Mapping[Column, Sequence[Any]] = ()
    missing: Sequence[Column] = ()

    def __post_init__(self) -> None:
        grouped = [column for group in self.one_hot for column in group]
        if len(set(grouped)) != len(grouped) or any(len(group) < 2 for group in self.one_hot):  # noqa: PLR2004 - a choice
            raise UsageError("one_hot: expected disjoint groups of at least two columns")
        frozen = set(self.immutable)
        if any(frozen & set(group) and not frozen >= set(group) for group in self.one_hot):
            raise UsageError("immutable: expected all columns of a one_hot group, or none")
        if any(isinstance(column, int) and column < 0 for column in self.names):
            raise UsageError("table: expected column numbers of at least 0, got a negative one")
        for column, radius in (self.eps or {}).items():
            what = f"table: eps of column {column!r}"
            number(what, radius, "a radius above 0 in the column's unit", lambda eps: eps > 0)
        free = {*(self.eps or ()), *self.categories, *self.missing}
        if twice := free & {*self.immutable} | {*(self.eps or ())} & {*grouped, *self.categories}:
            raise UsageError(
                f"table: column {min(map(str, twice))!r} is named as two things: expected "
                "immutable, a number with an eps, or a category"
            )

    @property
    def names(self) -> tuple[Column, ...]:
        """Every column that is named, in the order of the attributes."""
        grouped = (column for group in self.one_hot for column in group)
        found = (*self.immutable, *grouped, *(self.eps or ()), *self.categories, *self.missing)
        return tuple(dict.fromkeys(found))

    @property
    def by_name(self) -> bool:
        """Whether a column is named as those of a data frame are."""
        return any(isinstance(column, str) for column in self.names)

    @property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """Groups in which an attacker may choose another category."""
        groups = (group for group in self.one_hot if group[0] not in self.immutable)
        return tuple(tuple(int(column) for column in group) for group in groups)

    def require_fits(self, x: Array) -> None:
        """Refuse rows without a column or with a group that does not hold one 1."""
        if self.by_name or self.categories or self.missing:
            raise UsageError(
                "table: expected column numbers and one_hot groups for an array; names, categories "
                "and missing are for a data frame"
            )
        last = max(map(int, self.names), default=0)
        if x.ndim != 2 or last >= x.shape[1]:  # noqa: PLR2004 - rows of a table
            raise UsageError(f"table: expected rows of more than {last} columns, got x {x.shape}")
        for group in self.one_hot:
            part = x[:, list(map(int, group))]
            if not (((part == 0) | (part == 1)).all() and (part.sum(axis=1) == 1).all()):
                raise UsageError(f"one_hot group {group}: expected one 1 and zeros in each row")

    def require_kept(self, name: str, examples: Array, x: Array) -> None:
        """Refuse an attack's examples that violate the constraints."""
        columns = list(map(int, self.immutable))
        if (examples[:, columns] != x[:, columns]).any():
            raise UsageError(f"{name} changed an immutable column; correct the attack")
        self.require_fits(examples)

    def compared(
        self, examples: Array, x: Array, bounds: Bounds, *, eps: float
    ) -> tuple[Array, Array, Bounds]:
        """Examples with the inputs' categories, inputs and bounds, in units of one eps for all."""
        kept = examples.copy()
        for group in self.choices:
            kept[:, group] = x[:, group]
        unit = self._unit(x.shape[1], eps)
        low, high = spread(bounds, x.shape)
        return kept * unit, x * unit, (low * unit, high * unit)

    def fixed(self, x: Array, bounds: Bounds) -> Bounds:
        """Bounds of each input that let only its free numbers change."""
        low, high = (bound.copy() for bound in spread(bounds, x.shape))
        columns = self._kept(x.shape[1])
        low[:, columns] = high[:, columns] = x[:, columns]
        return low, high

    def radii(self, width: int, eps: float) -> NDArray[np.float64]:
        """Radius of each column `(d,)`; the attack's where the Table has none."""
        found = np.full(width, float(eps))
        for column, radius in (self.eps or {}).items():
            found[int(column)] = radius
        return found

    def searched(self, x: Array, bounds: Bounds, *, eps: float) -> tuple[Array, Bounds]:
        """Inputs and bounds in search coordinates."""
        unit = self._unit(x.shape[1], eps)
        low, high = self.fixed(x, bounds)
        z, low, high = x * unit, low * unit, high * unit
        for group in self.choices:
            z[:, group] = _AHEAD * eps * x[:, group]
            low[:, group], high[:, group] = -2 * eps, 2 * eps
        return z, (low, high)

    def rows(self, z: Array, *, eps: float) -> Array:
        """Rows of the table, from search coordinates."""
        rows = z / self._unit(z.shape[1], eps)
        for group in self.choices:
            rows[:, group] = np.eye(len(group), dtype=z.dtype)[z[:, group].argmax(axis=1)]
        return rows

    def examples(self, z: Array, x: Array, bounds: Bounds, *, eps: float) -> Array:
        """Rows from search coordinates, inside the bounds of their inputs whatever the rounding."""
        rows, (low, high) = self.rows(z, eps=eps), self.fixed(x, bounds)
        columns = [int(column) for column in self.eps or ()]
        rows[:, columns] = np.clip(rows[:, columns], low[:, columns], high[:, columns])
        return rows

    def gradient(self, by_rows: Array, *, eps: float) -> Array:
        """Gradient by the search coordinates, without the selection of a category.

        Another category is about one eps away (straight-through estimator).
        """
        by_z = by_rows / self._unit(by_rows.shape[1], eps)
        for group in self.choices:
            by_z[:, group] = by_rows[:, group] / eps
        return by_z

    def _unit(self, width: int, eps: float) -> Array:
        """Search units of one unit of each column, float32 `(d,)`."""
        if self.eps is None or not math.isfinite(eps):
            return np.ones(width, dtype=np.float32)
        return (eps / self.radii(width, eps)).astype(np.float32)

    def _kept(self, width: int) -> list[int]:
        """Columns whose numbers do not change."""
        kept = {*self.immutable, *(column for group in self.one_hot for column in group)}
        if self.eps is not None:
            kept |= set(range(width)) - set(self.eps)
        return sorted(map(int, kept))


@dataclass(slots=True, kw_only=True, eq=False)
class Searched(Wrapped):
    """An Adapter that takes inputs in the search coordinates of a ball."""

    table: Table
    eps: float

    def _forwarded(self, x: Array) -> Array:
        return self.table.rows(x, eps=self.eps)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits and the gradient of the cross-entropy."""
        scores, gradient = self.inner.loss_gradient(self._forwarded(x), y)
        return scores, self.table.gradient(gradient, eps=self.eps)

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits and the gradient of any loss."""
        scores, gradient = pullback(self.inner, self._forwarded(x), cotangent)
        return scores, self.table.gradient(gradient, eps=self.eps)
