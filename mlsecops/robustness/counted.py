"""What an evaluation costs: an Adapter that counts the samples sent through it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from mlsecops.adapters import Pullback

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Cotangent, Labels

__all__ = ["Counted"]


@dataclass(slots=True)
class Counted:
    """An Adapter that counts the samples sent through it."""

    adapter: Adapter
    forward: int = 0
    backward: int = 0
    framework: str = field(init=False)
    model: Any = field(init=False)
    channels_first: bool = field(init=False)
    differentiable: bool = field(init=False)

    @classmethod
    def over(cls, adapter: Adapter) -> Counted:
        """With `pullback` if the Adapter has it."""
        return _CountedPullback(adapter) if isinstance(adapter, Pullback) else cls(adapter)

    def __post_init__(self) -> None:
        self.framework = self.adapter.framework
        self.model = self.adapter.model
        self.channels_first = self.adapter.channels_first
        self.differentiable = self.adapter.differentiable

    def predict(self, x: Array) -> Array:
        """Class probabilities."""
        self.forward += len(x)
        return self.adapter.predict(x)

    def logits(self, x: Array) -> Array:
        """Scores before the softmax."""
        self.forward += len(x)
        return self.adapter.logits(x)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Scores and the gradient of the cross-entropy."""
        self.forward += len(x)
        self.backward += len(x)
        return self.adapter.loss_gradient(x, y)

    def features(self, x: Array) -> Array:
        """Penultimate activations."""
        self.forward += len(x)
        return self.adapter.features(x)


class _CountedPullback(Counted):
    """That of an Adapter which gives the gradient of any loss."""

    __slots__ = ()

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        self.forward += len(x)
        self.backward += len(x)
        return cast("Pullback", self.adapter).pullback(x, cotangent)
