"""Right answers of a task: within a tolerance, or every label right.

answers, truth → margins `(n, g)`, all at least 0 where the answer is right → slopes by the answers
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from mlsecops._choices import number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Indexes: TypeAlias = NDArray[np.int64]


class Goal(Protocol):
    """Conditions that an answer `(n, m)` has to meet, given the truth `(n, m)`; all if it is right.

    Each condition asks for one of the answers, and its margin is linear in it.
    """

    def conditions(self, width: int) -> Indexes:
        """Answer that each condition asks for `(g,)`, of `width` answers."""

    def margins(self, answers: Floats, truth: Floats) -> Floats:
        """Distance of each condition from being violated `(n, g)`, at least 0 where it is met."""

    def slopes(self, truth: Floats) -> Floats:
        """Derivative of each margin by its answer `(n, g)`."""


@dataclass(frozen=True, slots=True)
class Within:
    """Every value is within a tolerance of the truth (regression): neither too high nor too low.

    Attributes:
        tolerance: Largest error that is right, in the unit of the answers, above 0.
    """

    tolerance: float

    def __post_init__(self) -> None:
        what = "the largest error that is right, above 0"
        number("tolerance", self.tolerance, what, lambda value: value > 0)

    def conditions(self, width: int) -> Indexes:
        """Every answer twice."""
        return np.tile(np.arange(width), 2)

    def margins(self, answers: Floats, truth: Floats) -> Floats:
        """Share of the tolerance that is left above, and below."""
        error = (answers - truth) / self.tolerance
        return np.concatenate([1 - error, 1 + error], axis=1)

    def slopes(self, truth: Floats) -> Floats:
        """Derivative of the margins."""
        one = np.ones_like(truth) / self.tolerance
        return np.concatenate([-one, one], axis=1)


@dataclass(frozen=True, slots=True)
class EveryLabel:
    """Every label is right: the score of a label that applies is above 0, of any other not."""

    def conditions(self, width: int) -> Indexes:
        """Every answer once."""
        return np.arange(width)

    def margins(self, answers: Floats, truth: Floats) -> Floats:
        """Score of each label, with the sign of the truth."""
        return answers * self.slopes(truth)

    def slopes(self, truth: Floats) -> Floats:
        """Derivative of the margins."""
        return np.where(truth > 0, 1.0, -1.0)
