"""What an attacker may change in a row of a table: numbers within eps, categories, or nothing.

A search moves in real numbers, and a category does not. So an attack on a table searches other
coordinates, in which every category of a group lies within eps and the largest one is chosen; the
gradient passes the choice as if it were not there (a straight-through estimate). Any Attack works
there unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.adapters.wrapper import Wrapped
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.ball import spread
from mlsecops.robustness.attacks.losses import pullback

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array, Cotangent, Labels
    from mlsecops.robustness.attacks.ball import Bounds

__all__ = ["Searched", "Table"]

_AHEAD: Final = 0.01  # of eps: how far the input's own category is in front of the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The columns of rows `(n, d)` that are not free numbers.

    Attributes:
        immutable: Columns that nobody can change (an age, a postcode).
        one_hot: Groups of columns of which one holds 1 and the others 0; an attacker may choose
            another category, which costs almost nothing of eps.
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
            raise UsageError("expected columns counted from 0")

    @property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """The groups in which another category may be chosen."""
        return tuple(group for group in self.one_hot if group[0] not in self.immutable)

    def require_fits(self, x: Array) -> None:
        """Refuse rows that are not what the table says.

        Raises:
            UsageError: A column does not exist, or a group does not hold one 1.
        """
        columns = [*self.immutable, *(c for group in self.one_hot for c in group)]
        if x.ndim != 2 or max(columns, default=0) >= x.shape[1]:  # noqa: PLR2004 - rows of a table
            raise UsageError(
                f"table: expected rows of more than {max(columns, default=0)} columns, "
                f"got x {x.shape}"
            )
        for group in self.one_hot:
            part = x[:, group]
            if not (((part == 0) | (part == 1)).all() and (part.sum(axis=1) == 1).all()):
                raise UsageError(f"one_hot group {group}: expected one 1 and zeros in each row")

    def require_kept(self, name: str, examples: Array, x: Array) -> None:
        """Refuse an attack's examples that the table rules out.

        Raises:
            UsageError: An immutable column changed, or a group does not hold one 1.
        """
        if (examples[:, self.immutable] != x[:, self.immutable]).any():
            raise UsageError(f"{name} changed an immutable column; mend the attack")
        self.require_fits(examples)

    def numbers(self, examples: Array, x: Array) -> Array:
        """The examples with the categories of the inputs: what eps and the bounds hold for."""
        kept = examples.copy()
        for group in self.choices:
            kept[:, group] = x[:, group]
        return kept

    def fixed(self, x: Array, bounds: Bounds) -> Bounds:
        """Bounds of each input in which its numbers alone may change."""
        low, high = (bound.copy() for bound in spread(bounds, x.shape))
        columns = [*self.immutable, *(c for group in self.one_hot for c in group)]
        low[:, columns] = high[:, columns] = x[:, columns]
        return low, high

    def searched(self, x: Array, bounds: Bounds, *, eps: float) -> tuple[Array, Bounds]:
        """Inputs and bounds in the coordinates that a search moves in."""
        z = x.copy()
        low, high = self.fixed(x, bounds)
        for group in self.choices:
            z[:, group] = _AHEAD * eps * x[:, group]
            low[:, group], high[:, group] = -2 * eps, 2 * eps
        return z, (low, high)

    def rows(self, z: Array) -> Array:
        """Rows of a table, from a search's coordinates."""
        rows = z.copy()
        for group in self.choices:
            rows[:, group] = np.eye(len(group), dtype=z.dtype)[z[:, group].argmax(axis=1)]
        return rows


@dataclass(slots=True, kw_only=True, eq=False)
class Searched(Wrapped):
    """An Adapter in a search's coordinates.

    Attributes:
        table: What its rows are.
        eps: Radius of the ball.
    """

    table: Table
    eps: float

    def predict(self, x: Array) -> Array:
        """Class probabilities."""
        return self.inner.predict(self.table.rows(x))

    def logits(self, x: Array) -> Array:
        """Scores before the softmax."""
        return self.inner.logits(self.table.rows(x))

    def features(self, x: Array) -> Array:
        """Penultimate activations."""
        return self.inner.features(self.table.rows(x))

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Scores and the gradient of the cross-entropy."""
        scores, gradient = self.inner.loss_gradient(self.table.rows(x), y)
        return scores, self._through(gradient)

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Scores and the gradient of any loss of them."""
        scores, gradient = pullback(self.inner, self.table.rows(x), cotangent)
        return scores, self._through(gradient)

    def _through(self, gradient: Array) -> Array:
        """The gradient past the choice; a whole category is about one eps away."""
        past = gradient.copy()
        for group in self.table.choices:
            past[:, group] /= self.eps
        return past
