"""State of a model: dependence of its answers on earlier inputs.

adapter before any query → `fresh_copy`; examples → both models, in another order → Check

State outside the model object (a global variable, a database, a server) is not copied: there the
check only repeats the questions in another order.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.adapters.base import in_batches
from mlsecops.robustness.attacks.ball import spread
from mlsecops.robustness.attacks.losses import is_correct
from mlsecops.robustness.report import Check

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array
    from mlsecops.robustness.evaluation.probe import Probe

SAME: Final = 1e-3  # of the scores' scale; chosen: kernels differ between batch sizes by 1e-5
_NEAR: Final = 0.5  # of eps; chosen: well inside what a memory of near-duplicates covers
_BATCH: Final = 7  # inputs per call; chosen: odd, so that batches hold other neighbours


def fresh_copy(adapter: Adapter) -> Adapter | None:
    """A copy of an Adapter and its model, or None where it cannot be copied."""
    try:
        copied = copy.deepcopy(adapter)
    except Exception:  # noqa: BLE001 - models raise what they like; the check says so
        return None
    return None if copied.model is adapter.model else copied


def stateless(probe: Probe, fresh: Adapter | None) -> Check:
    """A copy that was asked nothing yet must answer as the attacked model does, in any order."""
    count = len(probe.x)
    if not count:
        return Check(name="stateless", outcome="pass", reason="no sample was classified correctly")
    swapped = 0.0 if fresh is None else _swapped(probe, fresh)
    order = np.random.default_rng([probe.seed, 6]).permutation(count)
    known = probe.logits(probe.examples)[order]
    again = _asked(fresh or probe.adapter, probe.examples[order])
    difference = max(difference_of(known, again), swapped)
    fooled = int((~is_correct(*probe.without_abstention(again, probe.y[order]))).sum())
    who = "a fresh copy" if fresh is not None else "the model (which cannot be copied)"
    reason = (
        f"asked in another order, {who} gives scores that differ by {difference:.1e} of their "
        f"scale (limit {SAME:g}) and is fooled by {fooled} of {count} examples"
    )
    if written := sorted(_written(probe.adapter)):
        reason += f"; calls change {', '.join(written[:3])}, which are set back after each"
    passes = difference <= SAME and not fooled and not written
    return Check(name="stateless", outcome="pass" if passes else "fail", reason=reason)


def _written(adapter: Adapter | None) -> set[str]:
    """Buffers or variables that the calls of a model have changed: a served one keeps them."""
    found: set[str] = set()
    while adapter is not None:
        found |= getattr(adapter, "written", set())
        adapter = getattr(adapter, "inner", None)
    return found


def _swapped(probe: Probe, fresh: Adapter) -> float:
    """Difference of the answers of two copies, asked for points and neighbours in turn.

    The points lie between two samples, where a model that was asked for the samples before has
    nothing to remember yet; a memory answers whichever of two neighbours comes second by the first.
    """
    low, high = spread(probe.bounds, probe.x.shape)
    points = ((probe.x + np.roll(probe.x, 1, axis=0)) / 2).astype(np.float32)
    rng = np.random.default_rng([probe.seed, 8])
    reach = probe.attack.eps if np.isfinite(probe.attack.eps) else 0.0
    side = rng.choice([-1.0, 1.0], size=points.shape)
    scale = 1.0 if probe.attack.norm == "linf" else 1 / np.sqrt(points[0].size)
    near = np.clip(points + _NEAR * reach * scale * side, low, high).astype(np.float32)
    other = fresh_copy(fresh)
    if other is None or not np.isfinite(points).all():
        return 0.0
    first = [_asked(fresh, points), _asked(fresh, near)]
    second = [_asked(other, near), _asked(other, points)]
    return max(difference_of(first[0], second[1]), difference_of(first[1], second[0]))


def _asked(adapter: Adapter, x: Array) -> Array:
    return in_batches(adapter.logits, x, size=_BATCH)


def difference_of(known: Array, again: Array) -> float:
    """Largest difference of scores, of their scale."""
    scale = max(float(np.nanmax(np.abs(known), initial=0.0)), 1e-30)
    return float(np.nanmax(np.abs(again - known), initial=0.0)) / scale
