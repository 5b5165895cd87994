"""Oracle: recall of a linear model that knows the trigger's pixels and rows.

Fisher's discriminant between the planted rows and those of other labels, on the residual of the
trigger's pixels after prediction from the rest of the image.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from benchmarks.poison.cases import Case, Stamp, backdoored, untouched
from mlsecops.poisoning.image_layout import around, steps

_RIDGE: Final = 1e-2  # of the mean variance; as in `mlsecops.poisoning.linear_model`
_CHANGED: Final = 0.01  # pixel value; chosen: a smaller change is rounding


def oracle_recall(stamp: Stamp, rate: float, seed: int, shares: tuple[float, ...]) -> list[float]:
    """Recall at some false-positive rates among other labels' rows, for the better of two views.

    Args:
        stamp: The trigger.
        rate: Share of planted rows.
        seed: Seed of the case.
        shares: False-positive rates.
    """
    case = backdoored(stamp, rate, seed)
    flat, clean = (x.reshape(len(x), -1) for x in (case.x, untouched(seed).x))
    under = np.flatnonzero(np.abs(flat - clean).max(axis=0) > _CHANGED)
    near = around(case.x.shape[1:])
    views = (flat, steps(flat, np.arange(flat.shape[1]), near))
    scores = [_discriminant(view, case, under) for view in views]
    return [max(_recall(each, case, share) for each in scores) for share in shares]


def _discriminant(view: Any, case: Case, under: Any) -> Any:
    centred = view - view.mean(axis=0)
    spread = (centred.T @ centred / len(centred)).astype(np.float64)
    spread[np.diag_indices_from(spread)] += _RIDGE * np.trace(spread) / len(spread)
    precision = np.linalg.inv(spread)[:, under]
    beyond = centred @ precision
    shift = beyond[case.planted].mean(axis=0) - beyond[case.y != case.target].mean(axis=0)
    return beyond @ np.linalg.solve(precision[under], shift)


def _recall(scores: Any, case: Case, share: float) -> float:
    bar = np.quantile(scores[case.y != case.target], 1 - share)
    return float((scores[case.planted] > bar).mean())
