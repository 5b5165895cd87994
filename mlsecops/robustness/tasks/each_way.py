"""An attack on a regression, run towards either side: an answer too high, and one too low.

attack, Adapter of a task → the attack on each way to be wrong → the worse example of each sample

One search climbs to the side on which it starts, and misses the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops.adapters import Pullback
from mlsecops.adapters.base import in_batches, softmax
from mlsecops.adapters.wrapper import Wrapped
from mlsecops.robustness.attacks.losses import margins

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Cotangent, Labels
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Attack


@dataclass(frozen=True, slots=True)
class EachWay:
    """An attack that is run towards each way to be wrong.

    Attributes:
        inner: The attack.
    """

    inner: Attack

    @property
    def name(self) -> str:
        """That of the attack."""
        return self.inner.name

    @property
    def norm(self) -> Norm:
        """That of the attack."""
        return self.inner.norm

    @property
    def eps(self) -> float:
        """That of the attack."""
        return self.inner.eps

    @property
    def params(self) -> dict[str, Any]:
        """Those of the attack."""
        return self.inner.params

    @property
    def needs_gradients(self) -> bool:
        """Whether the attack follows gradients."""
        return getattr(self.inner, "needs_gradients", True)

    @property
    def pool(self) -> int:
        """Batches that the attack takes at a time."""
        return getattr(self.inner, "pool", 1)

    def perturb(self, adapter: Adapter, x: Array, y: Labels, **options: Any) -> Array:
        """The worse of the examples of each way; see `Attack.perturb`."""
        size = options.get("batch_size", 256)
        ways = adapter.logits(x[:1]).shape[1]
        best, least = x.copy(), np.full(len(x), np.inf)
        for way in range(1, ways):
            view = (_DifferentiableWay if isinstance(adapter, Pullback) else _Way)(inner=adapter)
            view.way = way
            found = self.inner.perturb(view, x, y, **options)
            left = margins(in_batches(adapter.logits, found, size=size), y)
            worse = left < least
            best[worse], least[worse] = found[worse], left[worse]
        return best


class _Way(Wrapped):
    """A task with one way to be wrong."""

    __slots__ = ("way",)
    way: int

    def logits(self, x: Array) -> Array:
        """Scores of being right and of being wrong this way `(n, 2)`."""
        return self.inner.logits(x)[:, [0, self.way]]

    def predict(self, x: Array) -> Array:
        """Their softmax."""
        return softmax(self.logits(x))


class _DifferentiableWay(_Way):
    __slots__ = ()

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Scores and the gradient of any loss of the two."""

        def widened(logits: Array) -> Array:
            full = np.zeros_like(logits)
            full[:, [0, self.way]] = cotangent(logits[:, [0, self.way]])
            return full

        assert isinstance(self.inner, Pullback)  # noqa: S101 - for type checkers
        logits, gradient = self.inner.pullback(x, widened)
        return logits[:, [0, self.way]], gradient

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Scores and the gradient of the cross-entropy."""
        return self.pullback(x, lambda z: softmax(z) - np.eye(2, dtype=np.float32)[y])
