"""Probe: the samples, attack and model that the self-checks examine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlsecops.adapters.base import batches, in_batches, joined
from mlsecops.robustness.attacks.ball import Ball
from mlsecops.robustness.attacks.losses import margin_gradient, without_abstention

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack

PROBE: Final = 64  # samples; chosen: bounds the cost of the self-checks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """Samples that the model classifies correctly under every attack."""

    adapter: Adapter
    attack: Attack  # the checks search its ball
    x: Array
    y: Labels
    examples: Array  # returned by the attack
    bounds: Bounds
    seed: int
    batch_size: int

    @property
    def ball(self) -> Ball:
        """The attack's ball around each sample."""
        return Ball.around(self.x, norm=self.attack.norm, eps=self.attack.eps, bounds=self.bounds)

    @property
    def by_gradient(self) -> bool:
        """Whether the attack follows the model's gradients."""
        return self.adapter.differentiable and getattr(self.attack, "needs_gradients", True)

    def gradients(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Scores and cross-entropy gradients of any number of inputs."""
        parts = batches(len(x), size=self.batch_size)
        return joined([self.adapter.loss_gradient(x[part], y[part]) for part in parts])

    def margin_gradients(self, x: Array) -> tuple[Labels, Array]:
        """Runner-up classes and margin gradients of inputs shaped as `x`."""
        parts = batches(len(x), size=self.batch_size)
        return joined([margin_gradient(self.adapter, x[part], self.y[part]) for part in parts])

    @property
    def abstention(self) -> int | None:
        """Column of the Adapter's scores that means abstention, or None."""
        found: int | None = getattr(self.adapter, "abstention", None)
        return found

    def judged(self, x: Array) -> tuple[Array, Labels]:
        """Scores without abstention of inputs shaped as `x`, and their labels there."""
        return self.without_abstention(self.logits(x), self.y)

    def without_abstention(self, logits: Array, y: Labels) -> tuple[Array, Labels]:
        """Scores without the column of abstention, and labels among the other columns."""
        labels = y if self.abstention is None else y - (y > self.abstention)
        return without_abstention(logits, labels, self.abstention)[0], labels

    def logits(self, x: Array) -> Array:
        """Scores of any number of inputs."""
        return in_batches(self.adapter.logits, x, size=self.batch_size)
