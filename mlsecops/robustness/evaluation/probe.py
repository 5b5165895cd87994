"""What the checks of a measurement look at: some samples, and the attack that they stood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.robustness.attacks.ball import Ball
from mlsecops.robustness.attacks.margins import batched_logits

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack

__all__ = ["PROBE", "Probe"]

PROBE: Final = 64  # samples looked at


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """The samples that the checks look at: answered correctly under every attack.

    Attributes:
        adapter: The model.
        attack: An attack whose ball the checks search.
        x: Inputs `(m, *shape)`.
        y: Labels `(m,)`.
        examples: What the attack returned for them.
        bounds: Smallest and largest value of an input.
        seed: Seed of directions and points.
        batch_size: Samples per call.
    """

    adapter: Adapter
    attack: Attack
    x: Array
    y: Labels
    examples: Array
    bounds: Bounds
    seed: int
    batch_size: int

    @property
    def ball(self) -> Ball:
        """Where the attack may go from each sample."""
        return Ball.around(self.x, norm=self.attack.norm, eps=self.attack.eps, bounds=self.bounds)

    @property
    def by_gradient(self) -> bool:
        """Whether the attack follows the model's gradients."""
        return self.adapter.differentiable and getattr(self.attack, "needs_gradients", True)

    def gradients(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Scores and gradients of any number of inputs."""
        size = self.batch_size
        parts = [
            self.adapter.loss_gradient(x[i : i + size], y[i : i + size])
            for i in range(0, len(x), size)
        ]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def logits(self, x: Array) -> Array:
        """Scores of any number of inputs."""
        return batched_logits(self.adapter, x, batch_size=self.batch_size)
