"""How a batch is searched: projected steps on the samples that still stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.robustness.ball import columns
from mlsecops.robustness.margins import is_correct, margins, runner_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.attacks import PGD
    from mlsecops.robustness.base import Batch

__all__ = ["Search"]

SATURATED: Final = 8.0  # nats; beyond it 1 - p is under 4e-4 and float32 rounds its gradient away


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
        z, aim = ends, y.copy()
        for count in range(self.pgd.steps):
            logits, grad, aim = self._ascent(z, y, aim, first=count == 0)
            if self.pgd.until == "fooled" and not (stands := is_correct(logits, y)).all():
                ends[active] = z
                found[active[~stands]] = True
                active, ball, z, y = active[stands], ball.rows(stands), z[stands], y[stands]
                grad, aim = grad[stands], aim[stands]
                if not len(active):
                    break
            z = ball.ascend(z, grad, self.pgd.step or 0.0)
        ends[active] = z
        return found, ends

    def _ascent(
        self, z: Array, y: Labels, aim: Labels, *, first: bool
    ) -> tuple[Array, Array, Labels]:
        """Logits, a direction away from the label, and what to aim at in the next step.

        The cross-entropy of a confident model has a gradient of zero in float32. Descending the
        cross-entropy of the runner-up class instead follows the margin, which never saturates.
        """
        logits, grad = self.batch.adapter.loss_gradient(z, aim)
        grad = np.where(columns(aim == y, grad.ndim), grad, -grad)
        better = np.where(margins(logits, y) > SATURATED, runner_up(logits, y), y)
        if first and (redo := better != aim).any():
            _, again = self.batch.adapter.loss_gradient(z[redo], better[redo])
            grad[redo] = np.where(columns(better[redo] == y[redo], again.ndim), again, -again)
        return logits, grad, better
