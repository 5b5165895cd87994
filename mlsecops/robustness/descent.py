"""How a batch is searched: projected steps on the samples that still stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlsecops.robustness.losses import cross_entropy, pullback
from mlsecops.robustness.margins import is_correct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.attacks import PGD
    from mlsecops.robustness.base import Batch

__all__ = ["Search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A PGD search on one model.

    Attributes:
        pgd: The attack's settings.
        batch: The model and the samples.
    """

    pgd: PGD
    batch: Batch

    def run(self) -> Array:
        """Examples for the batch."""
        examples = self.batch.ball.x.copy()
        left = np.arange(len(self.batch))
        for restart in range(self.pgd.restarts):
            found, examples[left] = self._restart(self.batch.rows(left), restart)
            left = left[~found]
            if not len(left):
                break
        return examples

    def _restart(self, batch: Batch, restart: int) -> tuple[NDArray[np.bool_], Array]:
        """Which samples were seen misclassified, and where each search ended."""
        ball, y = batch.ball, batch.y
        clean = self.pgd.start == "clean"
        ends = ball.x.copy() if clean else ball.scatter(batch.seeds(restart))
        found = np.zeros(len(ball), dtype=bool)
        active = np.arange(len(ball))
        z = ends
        for _ in range(self.pgd.steps):
            logits, grad = self._gradient(z, y)
            if self.pgd.until == "fooled" and not (stands := is_correct(logits, y)).all():
                ends[active] = z
                found[active[~stands]] = True
                active, ball, z, y = active[stands], ball.rows(stands), z[stands], y[stands]
                grad = grad[stands]
                if not len(active):
                    break
            z = ball.ascend(z, grad, self.pgd.step or 0.0)
        ends[active] = z
        return found, ends

    def _gradient(self, z: Array, y: Labels) -> tuple[Array, Array]:
        """Logits, and which way the cross-entropy rises, however confident the model is."""

        def slope(logits: Array) -> Array:
            return cross_entropy(logits, y, y)[1].astype(np.float32)

        return pullback(self.batch.adapter, z, slope)
