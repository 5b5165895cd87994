"""Margins: score of the label minus the highest other score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Labels

__all__ = ["batched_logits", "is_correct", "margin_gradient", "margins", "runner_up"]


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

    Example:
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

    The cross-entropies of two labels differ by the difference of their scores, so the softmax
    and its saturation cancel in the difference of their gradients.
    """
    logits, of_label = adapter.loss_gradient(x, y)
    rival = runner_up(logits, y)
    _, of_rival = adapter.loss_gradient(x, rival)
    return rival, of_rival - of_label


def batched_logits(adapter: Adapter, x: Array, *, batch_size: int) -> Array:
    """Logits of all samples, computed `batch_size` at a time."""
    return np.concatenate(
        [adapter.logits(x[i : i + batch_size]) for i in range(0, len(x), batch_size)]
    )
