"""What an evaluation costs: an Adapter that counts the samples sent through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mlsecops.adapters import Pullback
from mlsecops.adapters.wrapper import Wrapped

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Cotangent, Labels

__all__ = ["Counted"]


@dataclass(slots=True, kw_only=True, eq=False)
class Counted(Wrapped):
    """An Adapter that counts the samples sent through it."""

    forward: int = 0
    backward: int = 0

    @classmethod
    def over(cls, adapter: Adapter) -> Counted:
        """With `pullback` if the Adapter has it."""
        kind = _CountedPullback if isinstance(adapter, Pullback) else cls
        return kind(inner=adapter)

    def predict(self, x: Array) -> Array:
        """Class probabilities."""
        self.forward += len(x)
        return self.inner.predict(x)

    def logits(self, x: Array) -> Array:
        """Scores before the softmax."""
        self.forward += len(x)
        return self.inner.logits(x)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Scores and the gradient of the cross-entropy."""
        self.forward += len(x)
        self.backward += len(x)
        return self.inner.loss_gradient(x, y)

    def features(self, x: Array) -> Array:
        """Penultimate activations."""
        self.forward += len(x)
        return self.inner.features(x)


class _CountedPullback(Counted):
    """That of an Adapter which gives the gradient of any loss."""

    __slots__ = ()

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        self.forward += len(x)
        self.backward += len(x)
        return cast("Pullback", self.inner).pullback(x, cotangent)
