"""Attack constraints of tabular data: immutable columns and one-hot categories.

rows, bounds → `Table.searched` → search coordinates → any Attack → `Table.rows` → rows

In the search coordinates every category of a group is within eps and the largest value selects the
category; the gradient ignores the selection (straight-through estimator).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.adapters.wrapper import Wrapped
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.ball import spread
from mlsecops.robustness.attacks.losses import pullback

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array, Cotangent, Labels
    from mlsecops.robustness.attacks.ball import Bounds

_AHEAD: Final = 0.01  # of eps; chosen: a small lead for the input's own category


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of rows `(n, d)` that an attack must not treat as free numbers.

    Attributes:
        immutable: Columns that an attacker cannot change (an age, a postcode).
        one_hot: Groups of columns of which one is 1 and the others 0; an attacker may choose
            another category at almost no cost in eps.

    Examples:
        >>> Table(immutable=(0,), one_hot=((1, 2, 3),)).choices
        ((1, 2, 3),)
    """

    immutable: tuple[int, ...] = ()
    one_hot: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        grouped = [column for group in self.one_hot for column in group]
        if len(set(grouped)) != len(grouped) or any(len(group) < 2 for group in self.one_hot):  # noqa: PLR2004 - a choice
            raise UsageError("one_hot: expected disjoint groups of at least two columns")
        frozen = set(self.immutable)
        if any(frozen & set(group) and not frozen >= set(group) for group in self.one_hot):
            raise UsageError("immutable: expected all columns of a one_hot group, or none")
        if min([*grouped, *self.immutable], default=0) < 0:
            raise UsageError("table: expected column numbers of at least 0, got a negative one")

    @property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """Groups in which an attacker may choose another category."""
        return tuple(group for group in self.one_hot if group[0] not in self.immutable)

    def require_fits(self, x: Array) -> None:
        """Refuse rows without a column or with a group that does not hold one 1."""
        last = max(self._named(), default=0)
        if x.ndim != 2 or last >= x.shape[1]:  # noqa: PLR2004 - rows of a table
            raise UsageError(f"table: expected rows of more than {last} columns, got x {x.shape}")
        for group in self.one_hot:
            part = x[:, group]
            if not (((part == 0) | (part == 1)).all() and (part.sum(axis=1) == 1).all()):
                raise UsageError(f"one_hot group {group}: expected one 1 and zeros in each row")

    def require_kept(self, name: str, examples: Array, x: Array) -> None:
        """Refuse an attack's examples that violate the constraints."""
        if (examples[:, self.immutable] != x[:, self.immutable]).any():
            raise UsageError(f"{name} changed an immutable column; correct the attack")
        self.require_fits(examples)

    def numbers(self, examples: Array, x: Array) -> Array:
        """The examples with the inputs' categories, to which eps and the bounds apply."""
        kept = examples.copy()
        for group in self.choices:
            kept[:, group] = x[:, group]
        return kept

    def fixed(self, x: Array, bounds: Bounds) -> Bounds:
        """Bounds of each input that let only its free numbers change."""
        low, high = (bound.copy() for bound in spread(bounds, x.shape))
        columns = self._named()
        low[:, columns] = high[:, columns] = x[:, columns]
        return low, high

    def _named(self) -> list[int]:
        return [*self.immutable, *(column for group in self.one_hot for column in group)]

    def searched(self, x: Array, bounds: Bounds, *, eps: float) -> tuple[Array, Bounds]:
        """Inputs and bounds in search coordinates."""
        z = x.copy()
        low, high = self.fixed(x, bounds)
        for group in self.choices:
            z[:, group] = _AHEAD * eps * x[:, group]
            low[:, group], high[:, group] = -2 * eps, 2 * eps
        return z, (low, high)

    def rows(self, z: Array) -> Array:
        """Rows of the table, from search coordinates."""
        rows = z.copy()
        for group in self.choices:
            rows[:, group] = np.eye(len(group), dtype=z.dtype)[z[:, group].argmax(axis=1)]
        return rows


@dataclass(slots=True, kw_only=True, eq=False)
class Searched(Wrapped):
    """An Adapter that takes inputs in the search coordinates of a ball."""

    table: Table
    eps: float

    def _forwarded(self, x: Array) -> Array:
        return self.table.rows(x)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits and the gradient of the cross-entropy."""
        scores, gradient = self.inner.loss_gradient(self.table.rows(x), y)
        return scores, self._straight_through(gradient)

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits and the gradient of any loss."""
        scores, gradient = pullback(self.inner, self.table.rows(x), cotangent)
        return scores, self._straight_through(gradient)

    def _straight_through(self, gradient: Array) -> Array:
        """The gradient without the selection; another category is about one eps away."""
        past = gradient.copy()
        for group in self.table.choices:
            past[:, group] /= self.eps
        return past
