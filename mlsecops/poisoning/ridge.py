"""A linear classifier whose answer without some of its inputs costs no new fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Ridge", "folds"]

_PENALTY: Final = 1e-2  # of the mean variance per row; keeps constant elements out of the answer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ridge:
    """One-hot ridge regression on centred inputs.

    Attributes:
        mean: Mean input ``(d,)``.
        prior: Mean one-hot label ``(k,)``.
        inverse: Inverse of the penalised Gram matrix ``(d, d)``.
        weights: Coefficients ``(d, k)``.
    """

    mean: NDArray[np.float64]
    prior: NDArray[np.float64]
    inverse: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def fit(cls, x: NDArray[np.float64], y: NDArray[np.int64], *, classes: int) -> Ridge:
        """Fit inputs ``(n, d)`` and labels ``(n,)``."""
        target = np.eye(classes)[y]
        mean, prior = x.mean(axis=0), target.mean(axis=0)
        centred = x - mean
        gram = centred.T @ centred
        penalty = _PENALTY * max(float(np.trace(gram)) / len(gram), 1e-12)
        inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
        weights = inverse @ (centred.T @ (target - prior))
        return cls(mean=mean, prior=prior, inverse=inverse, weights=weights)

    def scores(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score of each class ``(n, k)``."""
        answer: NDArray[np.float64] = (x - self.mean) @ self.weights + self.prior
        return answer

    def lost(
        self, projected: NDArray[np.float64], without: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """What the scores lose when inputs are left out of the fit and of the question.

        Args:
            projected: ``(x - mean) @ inverse`` of the rows asked about.
            without: Columns to leave out.

        Source:
            Block inversion of the Gram matrix: with P its inverse and W the columns,
            the remaining coefficients are ``b_R - P_RW P_WW^-1 b_W``.
        """
        block = self.inverse[np.ix_(without, without)]
        answer: NDArray[np.float64] = projected[:, without] @ np.linalg.solve(
            block, self.weights[without]
        )
        return answer


def folds(n: int, *, count: int, seed: int) -> list[tuple[Any, Any]]:
    """Rows to fit on and rows to ask about, each row asked about once."""
    order = np.random.default_rng([seed, count]).permutation(n)
    parts = np.array_split(order, count)
    return [
        (np.concatenate(parts[:i] + parts[i + 1 :]), np.sort(part)) for i, part in enumerate(parts)
    ]
