"""Margins and attack losses on the logits, and their gradients with respect to the inputs.

logits, labels, targets → value per sample and derivative by the logits, of arbitrary scale. A shift
of a sample's logits changes no loss, so every derivative sums to zero; a positive factor changes no
direction and no order of values, so that a temperature neither helps nor hinders an attack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mlsecops.adapters import Pullback
from mlsecops.robustness.attacks.ball import columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Cotangent, Labels

    Values: TypeAlias = NDArray[np.float64]
    Loss: TypeAlias = Callable[[Array, Labels, Labels], tuple[Values, Values]]

_TINY: Final = 1e-30  # logits; chosen: keeps the division by a vanishing gap finite
_FAR: Final = 1e100  # chosen: takes the place of an infinite score, and stays finite in sums
_RANGE: Final = 20.0  # nats between the best and the worst class; chosen: as of trained networks
_NEGLIGIBLE: Final = 1e-4  # of the largest weight; chosen: below what float32 sums resolve


def cross_entropy(logits: Array, y: Labels, _: Labels) -> tuple[Values, Values]:
    """Cross-entropy at one temperature for all models, without its saturation.

    The value is `s * logsumexp(others / s) - z_y`, with s a fixed share of the range of the
    sample's scores; for two classes it is the margin. The derivative is, but for the change of s,
    that of the cross-entropy of `logits / s` without the factor `1 - p_y`, which float32 rounds to
    zero for a confident model.
    """
    rows = np.arange(len(y))
    scores = np.array(logits, dtype=np.float64)
    top, bottom = scores, scores
    if not (known := np.isfinite(scores)).all():
        scores = np.nan_to_num(scores, nan=-_FAR, posinf=_FAR, neginf=-_FAR)
        top, bottom = (np.where(known, scores, sign * _FAR) for sign in (-1, 1))
    best, least = top.argmax(axis=1), bottom.argmin(axis=1)
    unit = (top[rows, best] - bottom[rows, least]) / _RANGE
    np.maximum(unit, np.finfo(np.float64).tiny, out=unit)
    label = scores[rows, y]
    scores[rows, y] = -np.inf
    peak = scores.max(axis=1)
    scores -= peak[:, None]
    scores /= unit[:, None]
    slope = np.exp(scores)
    total = slope.sum(axis=1)
    slope /= total[:, None]
    scores[slope == 0] = 0.0  # 0 * log(0) is 0
    growth = (np.log(total) - (slope * scores).sum(axis=1)) / _RANGE  # of s, with the range
    slope[rows, y] = -1.0
    slope[rows, best] += growth
    slope[rows, least] -= growth
    return unit * np.log(total) + peak - label, slope


def dlr(logits: Array, y: Labels, _: Labels) -> tuple[Values, Values]:
    """Difference of logits ratio: the margin divided by the gap of first and third score.

    With two classes there is no third score, and the loss is the plain margin.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
    diverse parameter-free attacks" (2020), equation (6).
    """
    gap = ((0, 1.0), (2, -1.0)) if logits.shape[1] >= 3 else ()  # noqa: PLR2004 - classes
    return _ratio(logits, y, runner_up(logits, y), gap)


def targeted_dlr(logits: Array, y: Labels, target: Labels) -> tuple[Values, Values]:
    """DLR towards a target class; the gap is between first and mean of third and fourth score.

    With three classes or fewer the loss is the plain margin: the ratio would be constant.

    Source: Croce and Hein (2020), equation (7).
    """
    gap = ((0, 1.0), (2, -0.5), (3, -0.5)) if logits.shape[1] >= 4 else ()  # noqa: PLR2004 - classes
    return _ratio(logits, y, target, gap)


def _ratio(
    logits: Array, y: Labels, rival: Labels, gap: tuple[tuple[int, float], ...]
) -> tuple[Values, Values]:
    """`(z_rival - z_y) / gap` and its derivative times the gap, a weighted sum of ranked scores."""
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
    """Logits, and the input gradient of the loss whose derivative by the logits is the cotangent.

    Without `Adapter.pullback` it combines one cross-entropy gradient per class that matters: the
    softmax cancels in any combination that sums to zero.
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
        gradient[left] -= columns(weight[left], x.ndim) * part
    return logits, gradient.astype(np.float32)


def without_abstention(
    logits: Array, y: Labels, abstention: int | None
) -> tuple[Array, NDArray[np.bool_] | None]:
    """Scores without the column of abstention, whose score is lent to the label where it is higher.

    So an answer of the label or an abstention is right, and any other is wrong.

    Args:
        logits: Scores `(n, k)`.
        y: Labels `(n,)` among the columns without that of abstention.
        abstention: The column, or None.

    Returns:
        Scores `(n, k - 1)`, and in which rows the label's score is that of abstention.
    """
    if abstention is None:
        return logits, None
    rows, kept = np.arange(len(y)), np.delete(logits, abstention, axis=1)
    lent: NDArray[np.bool_] = logits[:, abstention] > kept[rows, y]
    kept[rows, y] = np.maximum(kept[rows, y], logits[:, abstention])
    return kept, lent


def with_abstention(
    slope: Array, y: Labels, abstention: int | None, lent: NDArray[np.bool_] | None
) -> Array:
    """Derivative `(n, k)` by all scores, from that by the scores of `without_abstention`."""
    if abstention is None or lent is None:
        return slope
    rows, full = np.arange(len(y)), np.insert(slope, abstention, 0.0, axis=1)
    column = y + (y >= abstention)
    full[rows[lent], abstention] = slope[rows[lent], y[lent]]
    full[rows[lent], column[lent]] = 0.0
    return full.astype(np.float32)


def is_correct(logits: Array, y: Labels) -> NDArray[np.bool_]:
    """Whether the label's score is the highest; a row with NaN is wrong."""
    answer: NDArray[np.bool_] = (logits.argmax(axis=1) == y) & ~np.isnan(logits).any(axis=1)
    return answer


def runner_up(logits: Array, y: Labels) -> Labels:
    """Class of the highest score that is not the label's."""
    others = np.array(logits, dtype=np.float64)
    others[np.arange(len(y)), y] = -np.inf
    rival: Labels = others.argmax(axis=1).astype(np.int64)
    return rival


def margins(logits: Array, y: Labels) -> NDArray[np.float64]:
    """Label's score minus the highest other, in nats; negative where the answer is wrong.

    Examples:
        >>> margins(np.array([[3.0, 1.0], [0.0, 2.0]]), np.array([0, 0])).tolist()
        [2.0, -2.0]
    """
    rows = np.arange(len(y))
    scores = np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        difference: NDArray[np.float64] = scores[rows, y] - scores[rows, runner_up(logits, y)]
    return difference


def margin_gradient(adapter: Adapter, x: Array, y: Labels) -> tuple[Any, Array]:
    """Runner-up classes, and the exact gradient of `score[label] - score[runner-up]`.

    The softmax and its saturation cancel in the difference of two cross-entropies' gradients.
    """
    logits, of_label = adapter.loss_gradient(x, y)
    rival = runner_up(logits, y)
    _, of_rival = adapter.loss_gradient(x, rival)
    return rival, of_rival - of_label
