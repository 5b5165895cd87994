"""Abstention: a class of the scores whose answer means that the model rejects an input.

inner Adapter, class or callable → `Abstaining`, whose `abstention` is that column of the scores
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops.adapters.answers.class_names import class_column
from mlsecops.adapters.base import Pullback, softmax
from mlsecops.adapters.wrapper import Wrapped
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Cotangent, Labels


@dataclass(slots=True, kw_only=True, eq=False)
class Abstaining(Wrapped):
    """An Adapter whose scores have a column for abstention.

    Attributes:
        column: Column that the model has already, or None where `rejects` adds the last.
        rejects: Callable from probabilities `(n, k)` to bool `(n,)`, True where the model abstains.
    """

    column: int | None = None
    rejects: Callable[[Array], Any] | None = None
    abstention: int | None = None

    @classmethod
    def of(cls, inner: Adapter, reject: Any) -> Abstaining:
        """Read the option `reject` of `adapt`."""
        if callable(reject):
            return cls(inner=inner, rejects=reject)
        column = class_column(inner, reject)
        return cls(inner=inner, column=column, abstention=column)

    def predict(self, x: Array) -> Array:
        """Class probabilities; of a rejected input all of it for the added column."""
        if self.rejects is None:
            return self.inner.predict(x)
        return softmax(self.logits(x))

    def logits(self, x: Array) -> Array:
        """Scores; an added column is the highest where the model abstains, else the lowest."""
        return self._widened(self.inner.logits(x))

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Scores and the gradient of the cross-entropy, to which a callable adds nothing."""
        known = y if self.rejects is None else np.where(y == self.abstention, 0, y)
        scores, gradient = self.inner.loss_gradient(x, known)
        return self._widened(scores), gradient

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Scores and the gradient of any loss; see `mlsecops.adapters.Pullback`."""
        if not isinstance(self.inner, Pullback):
            raise UsageError(f"{type(self.inner).__name__} has no pullback")

        def narrowed(scores: Array) -> Array:
            slope = cotangent(self._widened(scores))
            return np.ascontiguousarray(slope[:, : scores.shape[1]])

        scores, gradient = self.inner.pullback(x, narrowed)
        return self._widened(scores), gradient

    def _widened(self, scores: Array) -> Array:
        if self.rejects is None:
            if not 0 <= (self.column or 0) < scores.shape[1]:
                raise UsageError(
                    f"reject: expected one of {scores.shape[1]} columns, got {self.column}"
                )
            return scores
        self.abstention = scores.shape[1]
        rejected = self._rejected(scores)
        high, low = scores.max(axis=1), scores.min(axis=1)
        gap = np.maximum(high - low, 1e-6)
        column = np.where(rejected, high + gap, low - gap)
        return np.concatenate([scores, column[:, None].astype(scores.dtype)], axis=1)

    def _rejected(self, scores: Array) -> NDArray[np.bool_]:
        if self.rejects is None:
            return np.zeros(len(scores), dtype=bool)
        try:
            found = np.asarray(self.rejects(softmax(scores)))
        except Exception as error:  # the caller's own function
            raise UsageError(f"reject: the callable fails: {error}") from error
        if found.shape != (len(scores),) or found.dtype.kind != "b":
            raise UsageError(
                f"reject: expected a callable that gives {len(scores)} booleans, got "
                f"{found.dtype} of shape {found.shape}"
            )
        return found
