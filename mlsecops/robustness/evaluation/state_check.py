"""State of a model: whether its answers depend on what it was asked before.

adapter before any query → `fresh_copy`; examples → both models, in another order → Check

State outside the model object (a global variable, a database, a server) is not copied: there the
check only repeats the questions in another order.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.adapters.base import in_batches
from mlsecops.robustness.attacks.losses import is_correct
from mlsecops.robustness.report import Check

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter
    from mlsecops.robustness.evaluation.probe import Probe

_SAME: Final = 1e-3  # of the scores' scale; chosen: kernels differ between batch sizes by 1e-5
_BATCH: Final = 7  # inputs per call; chosen: odd, so that batches hold other neighbours


def fresh_copy(adapter: Adapter) -> Adapter | None:
    """A copy of an Adapter and its model, or None where it cannot be copied."""
    try:
        copied = copy.deepcopy(adapter)
    except Exception:  # noqa: BLE001 - models raise what they like; the check says so
        return None
    return None if copied.model is adapter.model else copied


def stateless(probe: Probe, fresh: Adapter | None) -> Check:
    """A copy that was asked nothing yet must answer the examples as the attacked model does."""
    count = len(probe.x)
    if not count:
        return Check(name="stateless", outcome="pass", reason="no sample was classified correctly")
    order = np.random.default_rng([probe.seed, 6]).permutation(count)
    asked = probe.examples[order]
    known = probe.logits(probe.examples)[order]
    again = in_batches((fresh or probe.adapter).logits, asked, size=_BATCH)
    scale = max(float(np.nanmax(np.abs(known))), 1e-30)
    difference = float(np.nanmax(np.abs(again - known))) / scale
    fooled = int((~is_correct(*probe.without_abstention(again, probe.y[order]))).sum())
    who = "a fresh copy" if fresh is not None else "the model (which cannot be copied)"
    reason = (
        f"asked in another order, {who} gives scores that differ by {difference:.1e} of their "
        f"scale (limit {_SAME:g}) and is fooled by {fooled} of {count} examples"
    )
    passes = difference <= _SAME and not fooled
    return Check(name="stateless", outcome="pass" if passes else "fail", reason=reason)
