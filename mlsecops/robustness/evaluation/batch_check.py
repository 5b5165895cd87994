"""Batch dependence: answers or attacks that differ between large batches and single samples.

examples → answers in one batch and one by one; samples that the attack left → the same attack, one
by one → Check

Batch normalisation that never leaves its training mode answers so, and a model may be masked in
batches of a size that only an evaluation uses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops._intervals import clopper_pearson
from mlsecops.robustness.attacks.losses import is_correct
from mlsecops.robustness.evaluation.state_check import SAME, difference_of
from mlsecops.robustness.report import Check, Outcome

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array
    from mlsecops.robustness.evaluation.executor import Shard
    from mlsecops.robustness.evaluation.probe import Probe

SINGLE: Final = 16  # samples asked and attacked one by one; chosen: bounds the cost
_MORE: Final = 0.03  # share of samples; chosen: as of `black-box-stronger`


def batch_invariant(probe: Probe, shard: Shard, examples: Array, left: float) -> Check | None:
    """The model must answer one by one as in a batch, and the attack find no more.

    A sample's draws depend on its row alone, so that the attack takes the same steps as before.

    Args:
        probe: The strongest attack; of those that follow gradients, if there are any.
        shard: Samples that every attack left, for that attack.
        examples: Examples of all samples, of which one batch is asked.
        left: Share of the correctly classified samples that every attack left.

    Returns:
        The check, or None for a served model, which is paid by the request.
    """
    if probe.adapter.framework == "http":
        return None
    batch = examples[: probe.batch_size]
    rng = np.random.default_rng([probe.seed, 9])
    rows = np.sort(rng.permutation(len(batch))[:SINGLE])
    together = probe.logits(batch)[rows]
    alone = np.concatenate([probe.adapter.logits(batch[row : row + 1]) for row in rows])
    difference = difference_of(together, alone)
    found, attacked = _found(probe, shard)
    surely = clopper_pearson(found, attacked).low * left if found else 0.0
    reason = (
        f"asked one by one, the model gives scores that differ by {difference:.1e} of their scale "
        f"(limit {SAME:g}), and the attack finds {found} of {attacked} samples that it left in "
        f"batches: surely {surely:.1%} of all (limit {_MORE:.0%})"
    )
    outcome: Outcome = "inconclusive" if surely > _MORE else "pass"
    return Check(
        name="batch-invariant", outcome=outcome if difference <= SAME else "fail", reason=reason
    )


def _found(probe: Probe, shard: Shard) -> tuple[int, int]:
    """Samples that the attack misclassifies one by one, and their number."""
    count = min(SINGLE, len(shard.x))
    if not count or not probe.by_gradient:
        return 0, 0
    some = slice(count)
    part = replace(shard, x=shard.x[some], y=shard.y[some], index=shard.index[some], batch_size=1)
    logits = probe.logits(part.run(probe.adapter))
    return int((~is_correct(*probe.without_abstention(logits, part.y))).sum()), count
