"""Goals of an attacker against a tree ensemble: another class or label, too large an error.

labels or values, ensemble → `Targets` of each input
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.robustness.trees.boxes import Targets

if TYPE_CHECKING:
    from mlsecops.adapters.trees.ensemble import Ensemble

_MARGIN: Final = 1e-6  # logits; chosen: float32 probabilities of two classes differ from there on
_SHARE: Final = 2e-7  # probability; chosen: likewise, for probabilities that trees average
_VALUE: Final = 1e-6  # of the largest value; chosen: float32 answers of regressions


def another_class(ensemble: Ensemble, y: Any) -> Targets:
    """Any class but the label has the highest score; of equal scores the first class wins.

    Args:
        ensemble: A classifier of `k` classes.
        y: Labels `(n,)`, columns of the scores.
    """
    labels, classes = np.asarray(y, dtype=np.int64), ensemble.classes
    rivals = np.array([np.delete(np.arange(classes), label) for label in range(classes)])[labels]
    rows, groups = np.arange(len(labels))[:, None], np.arange(classes - 1)
    weights = np.zeros((len(labels), classes - 1, classes))
    weights[rows, groups, rivals] = 1
    weights[rows, groups, labels[:, None]] = -1
    averaged = ensemble.scale == "probabilities"
    slack = _SHARE * ensemble.divisor if averaged else _MARGIN
    return Targets(
        weights=weights,
        offset=np.zeros(rivals.shape),
        strict=rivals > labels[:, None],
        slack=max(slack, ensemble.rounding),
    )


def beyond_tolerance(ensemble: Ensemble, y: Any, tolerance: float) -> Targets:
    """The answer is further from the value than a tolerance.

    Args:
        ensemble: A regression.
        y: Values `(n,)`, or `(n, k)` of several outputs.
        tolerance: Largest error that is still right, at least 0.
    """
    values = np.asarray(y, dtype=np.float64).reshape(len(y), ensemble.classes)
    (count, outputs), divisor = values.shape, ensemble.divisor
    above = np.eye(outputs)
    low, high = (_linked(ensemble, each) for each in (values - tolerance, values + tolerance))
    weights = np.broadcast_to(np.concatenate([above, -above]), (count, 2 * outputs, outputs))
    offset = divisor * np.concatenate([-high, low], axis=1)
    largest = float(np.abs(values).max(initial=0)) + tolerance if ensemble.link == "identity" else 1
    slack = _VALUE * divisor * largest  # of a logarithm: what a share of the answer is there
    return Targets(
        weights=weights, offset=offset, strict=np.ones(offset.shape, bool),
        slack=max(slack, ensemble.rounding),
    )  # fmt: skip


def _linked(ensemble: Ensemble, answers: Any) -> Any:
    """Scores at which a regression gives answers; -inf where no score gives one so small."""
    if ensemble.link == "identity":
        return answers
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(answers, 0))


def another_label(ensemble: Ensemble, y: Any) -> Targets:
    """Any of several labels is wrong; one applies where its score is above 0.

    Args:
        ensemble: One score for each of `k` labels.
        y: 0 or 1 for each label `(n, k)`.
    """
    labels = np.asarray(y) > 0
    sign = np.where(labels, -1.0, 1.0)
    return Targets(
        weights=sign[:, :, None] * np.eye(labels.shape[1]),
        offset=np.zeros(labels.shape),
        strict=~labels,
        slack=max(_SHARE * ensemble.divisor, ensemble.rounding),
    )
