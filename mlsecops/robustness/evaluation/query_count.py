"""Count of the samples sent through a model, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mlsecops.adapters import Pullback
from mlsecops.adapters.base import FrameworkAdapter
from mlsecops.adapters.wrapper import Wrapped

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Cotangent, Labels


@dataclass(slots=True, kw_only=True, eq=False)
class QueryCount(Wrapped):
    """An Adapter that counts the samples sent through it, forward and backward."""

    forward: int = 0
    backward: int = 0

    @classmethod
    def over(cls, adapter: Adapter) -> QueryCount:
        """The count for an Adapter, with `pullback` if the Adapter has it."""
        kind = _WithPullback if isinstance(adapter, Pullback) else cls
        return kind(inner=adapter)

    def _forwarded(self, x: Array) -> Array:
        self.forward += len(x)
        # Our own Adapters write into no input; of others a copy is at stake.
        return x if isinstance(self.inner, FrameworkAdapter) else x.copy()

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits and the gradient of the cross-entropy."""
        self.backward += len(x)
        return self.inner.loss_gradient(self._forwarded(x), y)


class _WithPullback(QueryCount):
    __slots__ = ()

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        self.backward += len(x)
        return cast("Pullback", self.inner).pullback(self._forwarded(x), cotangent)
