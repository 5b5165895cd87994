"""Confidence intervals of a binomial proportion, exact and score, without SciPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONFIDENCE", "Interval", "clopper_pearson", "wilson"]

CONFIDENCE: Final = 0.95  # probability; chosen: the usual level of a one-sided test at 5 %
_HALVINGS: Final = 60  # past double precision on [0, 1]
_SIGMAS: Final = 1.959963984540054  # of a two-sided interval of 95 %


class Interval(NamedTuple):
    """Lower and upper bounds of a proportion.

    Attributes:
        low: The true proportion is at least this.
        high: The true proportion is at most this.
    """

    low: float
    high: float


def clopper_pearson(hits: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Exact bounds of a binomial proportion.

    Each bound is one-sided: with `confidence=0.95` the pair is a two-sided interval of 90 %.

    Args:
        hits: Successes, in `[0, n]`.
        n: Trials, at least 1.
        confidence: Confidence of each bound, in `(0, 1)`.

    Raises:
        UsageError: The counts or the confidence are out of range.

    Source:
        Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of
        the binomial", Biometrika 26 (1934).
    """
    if n < 1 or not 0 <= hits <= n:
        raise UsageError(f"expected 0 <= hits <= n and n >= 1, got hits={hits}, n={n}")
    if not 0.0 < confidence < 1.0:
        raise UsageError(f"confidence: expected a value in (0, 1), got {confidence}")
    alpha = 1.0 - confidence
    return Interval(_low(hits, n, alpha), 1.0 - _low(n - hits, n, alpha))


def wilson(hits: float, n: float) -> Interval:
    """Score bounds of a binomial proportion: a two-sided interval of 95 %.

    Args:
        hits: Successes, in `[0, n]`.
        n: Trials; none says nothing, so that the interval is all of [0, 1].

    Raises:
        UsageError: The counts are out of range.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    if not 0 <= hits <= n:
        raise UsageError(f"expected 0 <= hits <= n, got hits={hits}, n={n}")
    if n == 0:
        return Interval(0.0, 1.0)
    share, doubt = hits / n, _SIGMAS**2 / n
    half = math.sqrt(doubt * share * (1 - share) + doubt**2 / 4)
    low, high = ((share + doubt / 2 + side) / (1 + doubt) for side in (-half, half))
    return Interval(0.0 if hits == 0 else low, 1.0 if hits == n else high)


def _low(hits: int, n: int, alpha: float) -> float:
    """Largest p at which `hits` or more of `n` have a chance of at most `alpha`."""
    if hits == 0:
        return 0.0
    tail = _upper_tail(hits, n)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if tail(middle) <= alpha:
            low = middle
        else:
            high = middle
    return low


def _upper_tail(hits: int, n: int) -> Callable[[float], float]:
    """P(X >= hits) as a function of p, summed in log space so that large n does not underflow."""
    import numpy as np  # noqa: PLC0415 - score bounds do without

    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    k = np.arange(hits, n + 1)
    log_choose = log_factorial[n] - log_factorial[k] - log_factorial[n - k]

    def tail(p: float) -> float:
        if not 0.0 < p < 1.0:
            return float(p >= 1.0)
        return float(np.exp(log_choose + k * math.log(p) + (n - k) * math.log1p(-p)).sum())

    return tail
