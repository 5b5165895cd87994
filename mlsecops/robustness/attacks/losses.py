"""What a gradient attack climbs: losses of the scores, and their gradients by the inputs.

A loss takes logits and says for each sample how high it is and which way it rises (its derivative
by the logits, scaled freely: the attacks use directions). All are invariant to a shift of a
sample's logits, so every such derivative sums to zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from mlsecops.adapters import Pullback
from mlsecops.robustness.attacks.margins import runner_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Cotangent, Labels

    Values: TypeAlias = NDArray[np.float64]
    Loss: TypeAlias = Callable[[Array, Labels, Labels], tuple[Values, Values]]

__all__ = ["cross_entropy", "dlr", "pullback", "targeted_dlr"]

_TINY: Final = 1e-12
_NEGLIGIBLE: Final = 1e-4  # of the largest: float32 sums of gradients would not show it


def cross_entropy(logits: Array, y: Labels, _: Labels) -> tuple[Values, Values]:
    """Cross-entropy, freed of its saturation.

    With q the softmax over the other classes the derivative is `(1 - p_y) * (q - e_y)`; the
    factor, which float32 rounds to zero for a confident model, does not turn it and is left out.
    The value is `logsumexp(others) - z_y`, which rises and falls with the cross-entropy.
    """
    rows = np.arange(len(y))
    others = np.array(logits, dtype=np.float64)
    label = others[rows, y]
    others[rows, y] = -np.inf
    peak = others.max(axis=1)
    weights = np.exp(others - peak[:, None])
    total = weights.sum(axis=1)
    slope = weights / total[:, None]
    slope[rows, y] = -1.0
    return np.log(total) + peak - label, slope


def dlr(logits: Array, y: Labels, _: Labels) -> tuple[Values, Values]:
    """Difference of logits ratio: the margin over the gap between first and third score.

    With two classes there is no third score, and the loss is the plain margin.

    Source:
        Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks" (2020), equation (6).
    """
    rival = runner_up(logits, y)
    if logits.shape[1] < 3:  # noqa: PLR2004 - classes
        return _ratio(logits, y, rival, ())
    return _ratio(logits, y, rival, ((0, 1.0), (2, -1.0)))


def targeted_dlr(logits: Array, y: Labels, target: Labels) -> tuple[Values, Values]:
    """DLR towards a class, over the gap between the first and the mean of third and fourth score.

    With three classes or two the loss is the plain margin: over a gap that holds the target alone
    it would be constant.

    Source:
        Croce and Hein (2020), equation (7).
    """
    if logits.shape[1] < 4:  # noqa: PLR2004 - classes
        return _ratio(logits, y, target, ())
    return _ratio(logits, y, target, ((0, 1.0), (2, -0.5), (3, -0.5)))


def _ratio(
    logits: Array, y: Labels, rival: Labels, gap: tuple[tuple[int, float], ...]
) -> tuple[Values, Values]:
    """`(z_rival - z_y) / gap` and its derivative times the gap; the gap is of ranked scores."""
    rows = np.arange(len(y))
    scores = np.asarray(logits, dtype=np.float64)
    over = np.ones(len(y))
    order = np.argsort(-scores, axis=1, kind="stable")
    if gap:
        over = sum((w * scores[rows, order[:, rank]] for rank, w in gap), np.zeros(len(y)))
        over = np.maximum(over, _TINY)
    value = (scores[rows, rival] - scores[rows, y]) / over
    slope = np.zeros_like(scores)
    np.add.at(slope, (rows, rival), 1.0)
    np.add.at(slope, (rows, y), -1.0)
    for rank, weight in gap:
        np.add.at(slope, (rows, order[:, rank]), -value * weight)
    return value, slope


def pullback(adapter: Adapter, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
    """Logits, and the gradient by the inputs whose derivative by the logits is the cotangent.

    An Adapter without `pullback` is asked for one cross-entropy per class that counts: their
    gradients differ by the difference of the labels' scores, so the softmax drops out of any
    combination that sums to zero.
    """
    if isinstance(adapter, Pullback):
        return adapter.pullback(x, cotangent)
    logits = adapter.logits(x)
    weights = np.asarray(cotangent(logits), dtype=np.float64)
    order = np.argsort(-np.abs(weights), axis=1)
    enough = _NEGLIGIBLE * np.abs(weights).max(axis=1, initial=0.0)
    gradient = np.zeros(x.shape, dtype=np.float64)
    for rank in range(weights.shape[1]):
        label = order[:, rank]
        weight = weights[np.arange(len(x)), label]
        left = np.flatnonzero(np.abs(weight) > enough)
        if not len(left):
            break
        _, part = adapter.loss_gradient(x[left], label[left])
        gradient[left] -= weight[left].reshape(-1, *(1,) * (x.ndim - 1)) * part
    return logits, gradient.astype(np.float32)
