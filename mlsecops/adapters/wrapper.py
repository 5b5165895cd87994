"""Base of Adapters that wrap another Adapter.

inputs → `_forwarded` → the inner Adapter → its scores and activations
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsecops._repr import concise_repr

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Labels


@concise_repr("inner")
@dataclass(slots=True, kw_only=True, eq=False)
class Wrapped:
    """An Adapter with the attributes and answers of the `inner` one."""

    inner: Adapter
    framework: str = field(init=False)
    model: Any = field(init=False)
    channels_first: bool = field(init=False)
    differentiable: bool = field(init=False)

    def __post_init__(self) -> None:
        self.framework, self.model = self.inner.framework, self.inner.model
        self.channels_first = self.inner.channels_first
        self.differentiable = self.inner.differentiable

    @property
    def abstention(self) -> int | None:
        """Column of the scores that means abstention, or None."""
        found: int | None = getattr(self.inner, "abstention", None)
        return found

    @property
    def output(self) -> str | None:
        """Form of the inner Adapter's answers, if it is known."""
        found: str | None = getattr(self.inner, "output", None)
        return found

    @property
    def options(self) -> dict[str, Any]:
        """Options of the inner Adapter, if it has any."""
        return dict(getattr(self.inner, "options", {}))

    def _forwarded(self, x: Array) -> Array:
        """Inputs of the wrapped Adapter for inputs of this one."""
        return x

    def predict(self, x: Array) -> Array:
        """Class probabilities."""
        return self.inner.predict(self._forwarded(x))

    def logits(self, x: Array) -> Array:
        """Scores before the softmax."""
        return self.inner.logits(self._forwarded(x))

    def features(self, x: Array) -> Array:
        """Penultimate activations."""
        return self.inner.features(self._forwarded(x))

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits and the gradient of the cross-entropy."""
        return self.inner.loss_gradient(self._forwarded(x), y)
