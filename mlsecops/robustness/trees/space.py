"""Space of inputs that an attack may reach: boxes in the units of the trees, and categories.

inputs, bounds, Table, attack → `boxes` → one set of boxes for each choice of categories

A missing value stays missing, and a category changes only where the Table lets it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from mlsecops.robustness.attacks.ball import spread
from mlsecops.robustness.trees.boxes import Boxes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.adapters.trees.ensemble import Ensemble
    from mlsecops.robustness.attacks.ball import Bounds, Norm
    from mlsecops.robustness.attacks.tabular import Table

    Floats: TypeAlias = NDArray[np.float64]

MOST_CHOICES: Final = 2048  # combinations of categories; chosen: some minutes of work at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Columns that change together, and the values that they may take.

    Attributes:
        columns: Columns of the trees' input.
        values: One row for each possibility; None leaves an input's own value.
    """

    columns: tuple[int, ...]
    values: tuple[tuple[float | None, ...], ...]


class Space(Protocol):
    """Inputs in the units of the trees, and what an attack may do to them."""

    @property
    def x(self) -> Floats:
        """Inputs `(n, d)`, NaN where a value is missing."""

    def ball(self, norm: Norm, eps: float) -> Boxes:
        """The numbers that an attack reaches, with the inputs' own categories."""

    def choices(self) -> Sequence[Choice]:
        """Categories that an attack may exchange."""

    def examples(self, rows: Floats) -> Array:
        """Inputs of the evaluation, from those of the trees."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArraySpace:
    """Inputs `(n, *shape)` as the evaluation has them, flattened for the trees.

    Attributes:
        inputs: Inputs in float32.
        bounds: Smallest and largest value of an input.
        table: What an attacker may change, or None.
        given: Inputs as the caller gave them, which float32 may round, or None.
        by_steps: Whether steps before the trees compute with them, in float32 as they come here.
    """

    inputs: Array
    bounds: Bounds
    table: Table | None = None
    given: NDArray[Any] | None = None
    by_steps: bool = False

    @property
    def x(self) -> Floats:
        """Inputs `(n, d)`."""
        return self.inputs.reshape(len(self.inputs), -1).astype(np.float64)

    @property
    def rounding(self) -> float:
        """What float32 takes from an input before steps compute with it; 0 without steps."""
        return float(np.abs(self._exact - self.x).max(initial=0.0)) if self.by_steps else 0.0

    @property
    def _exact(self) -> Floats:
        given = self.inputs if self.given is None else self.given
        return given.reshape(len(self.inputs), -1).astype(np.float64)

    def ball(self, norm: Norm, eps: float) -> Boxes:
        """The balls in exact arithmetic and the one that attacks reach in float32, together."""
        x, shape = self.x, self.inputs.shape
        bounds = self.bounds if self.table is None else self.table.fixed(self.inputs, self.bounds)
        low, high = (b.reshape(x.shape).astype(np.float64) for b in spread(bounds, shape))
        radii = np.full(x.shape[1], float(eps))
        if self.table is not None:
            radii = self.table.radii(x.shape[1], eps)
        single, reach = self.inputs.reshape(x.shape), radii.astype(np.float32)
        below = np.maximum((single - reach).astype(np.float64), low)
        above = np.minimum((single + reach).astype(np.float64), high)
        given = self._exact
        for centre in (x, given):
            below = np.minimum(below, np.maximum(centre - radii, low))
            above = np.maximum(above, np.minimum(centre + radii, high))
        return Boxes(
            x=x,
            low=below,
            high=above,
            radius=eps if norm == "l2" else None,
            unit=radii / eps,
        )

    def choices(self) -> Sequence[Choice]:
        """The Table's groups, of which one column is 1."""
        groups = () if self.table is None else self.table.choices
        return [
            Choice(columns=group, values=tuple(map(tuple, np.eye(len(group)).tolist())))
            for group in groups
        ]

    def examples(self, rows: Floats) -> Array:
        """The trees' inputs in the shape of the evaluation's."""
        return rows.reshape(self.inputs.shape).astype(np.float32)


def relevant(choices: Sequence[Choice], ensemble: Ensemble) -> list[Choice]:
    """The choices that a split of the ensemble depends on."""
    asked = set(ensemble.feature.tolist())
    return [choice for choice in choices if asked & set(choice.columns)]


def variants(boxes: Boxes, choices: Sequence[Choice]) -> Iterator[Boxes]:
    """The boxes with each combination of the choices; as they are where there is none."""
    if not choices:
        yield boxes
        return
    columns = [column for choice in choices for column in choice.columns]
    for combination in itertools.product(*(choice.values for choice in choices)):
        values = [value for each in combination for value in each]
        chosen = [(c, v) for c, v in zip(columns, values, strict=True) if v is not None]
        yield boxes.fixed([c for c, _ in chosen], [v for _, v in chosen])


def combinations(choices: Sequence[Choice]) -> int:
    """Number of combinations of the choices."""
    return math.prod(len(choice.values) for choice in choices)
