"""How a batch is searched: projected steps on the samples that still stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlsecops.robustness.attacks.losses import cross_entropy, pullback
from mlsecops.robustness.attacks.margins import is_correct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.attacks.base import Batch

__all__ = ["Search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A PGD search on one model.

    Attributes:
        batch: The model and the samples.
        steps: Gradient steps at most for each start.
        step: Length of a step, in the ball's norm.
        restarts: Starts for each sample.
        start: `"random"` in the ball, or `"clean"`: the sample itself.
        until: `"fooled"` drops a sample once it is misclassified; `"end"` takes all steps.
    """

    batch: Batch
    steps: int
    step: float
    restarts: int
    start: str
    until: str

    def run(self) -> Array:
        """Examples for the batch."""
        examples = self.batch.ball.x.copy()
        left = np.arange(len(self.batch))
        for restart in range(self.restarts):
            found, examples[left] = self._restart(self.batch.rows(left), restart)
            left = left[~found]
            if not len(left):
                break
        return examples

    def _restart(self, batch: Batch, restart: int) -> tuple[NDArray[np.bool_], Array]:
        """Which samples were seen misclassified, and where each search ended.

        A sample that leaves makes room for the next one, so that the model is asked about full
        batches whatever became of their first members.
        """
        ends = self._starts(batch, restart)
        found = np.zeros(len(batch), dtype=bool)
        active = np.arange(min(batch.size, len(batch)))
        entered = len(active)
        z, ball, taken = ends[active], batch.ball.rows(active), np.zeros(len(active), dtype=int)
        while len(active):
            logits, gradient = self._gradient(z, batch.y[active])
            stands = np.full(len(active), self.until == "end") | is_correct(logits, batch.y[active])
            found[active[~stands]] = True
            ends[active[~stands]] = z[~stands]
            z, taken = ball.ascend(z, gradient, self.step), taken + 1
            over = stands & (taken == self.steps)
            ends[active[over]] = z[over]
            free = np.flatnonzero(~stands | over)
            entering = np.arange(entered, min(entered + len(free), len(batch)))
            entered += len(entering)
            slots, empty = free[: len(entering)], free[len(entering) :]
            active[slots], z[slots], taken[slots] = entering, ends[entering], 0
            ball.put(slots, batch.ball.rows(entering))
            if len(empty):
                kept = np.delete(np.arange(len(active)), empty)
                active, z, taken, ball = active[kept], z[kept], taken[kept], ball.rows(kept)
        return found, ends

    def _starts(self, batch: Batch, restart: int) -> Array:
        if self.start == "clean":
            return batch.ball.x.copy()
        return batch.ball.scatter(batch.seeds(restart))

    def _gradient(self, z: Array, y: Labels) -> tuple[Array, Array]:
        """Logits, and which way the cross-entropy rises, however confident the model is."""

        def slope(logits: Array) -> Array:
            return cross_entropy(logits, y, y)[1].astype(np.float32)

        return pullback(self.batch.adapter, z, slope)
