"""Limit of chance for an accuracy, by Fisher's exact test against the reference.

    hits of the reference, number of labels, risk of a look → accuracy that is no drop yet

Sources: Fisher 1922 (exact test of two shares); Leadbetter, Lindgren and Rootzén 1983, chapter 12
(extremes of a sliding mean: one that is tested at each of its n steps is worth z² independent tests
every n steps, at a threshold of z deviations).
"""

from __future__ import annotations

import functools
import math
from typing import Final

LOOKS: Final = 25  # independent tests while all labels are replaced; z = 5 deviations (see above)


@functools.lru_cache(maxsize=256)
def lowest_by_chance(*, hits: int, rows: int, labels: int, risk: float) -> float:
    """Smallest share of right answers among so many labels that chance explains, in [0, 1].

    Args:
        hits: Right answers of the reference.
        rows: Answers of the reference, ≥ 1.
        labels: Answers that are compared with them, ≥ 1.
        risk: Probability of a smaller share without a drop, in (0, 1).
    """
    least, most = 0, labels + 1  # of the right answers, the first number that chance explains
    while least < most:
        middle = (least + most) // 2
        if middle <= labels and _tail(middle, hits, rows, labels) <= risk:
            least = middle + 1
        else:
            most = middle
    return min(least, labels) / labels


def _tail(right: int, hits: int, rows: int, labels: int) -> float:
    """Probability of at most `right` among the labels, if their share is the reference's."""
    every = hits + right
    term = math.exp(
        _log_choices(labels, right) + _log_choices(rows, hits) - _log_choices(labels + rows, every)
    )
    total = term
    for x in range(right, max(0, every - rows), -1):
        term *= x * (rows - every + x) / ((labels - x + 1) * (every - x + 1))
        total += term
    return total


def _log_choices(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
