"""Statistics of attempts that are not independent: repetitions and pairs.

(successes, tries) of each attempt → number of independent attempts that they amount to
outcomes without and with spotlighting → difference of the rates with its interval

Source: Kish, "Survey Sampling" (1965), section 8.2 (design effect); Newcombe, "Improved confidence
intervals for the difference between binomial proportions based on paired data" (1998), method 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from mlsecops._intervals import Interval, wilson
from mlsecops._repr import concise_repr

__all__ = ["SpotlightEffect", "independent", "paired_interval"]


def independent(groups: Sequence[tuple[int, int]]) -> float:
    """Number of independent attempts that repeated ones amount to.

    Between the number of groups (repetitions agree) and the number of tries (they do not).

    Args:
        groups: Successes and tries of each attempt; tries ≥ 1.

    Examples:
        >>> independent([(0, 5), (5, 5), (5, 5), (0, 5)])
        4.0
    """
    tries = sum(count for _, count in groups)
    rate = sum(hits for hits, _ in groups) / tries
    if rate in {0, 1} or len(groups) == 1:
        return float(len(groups))
    k = len(groups)
    spread = sum((hits - rate * count) ** 2 for hits, count in groups) * k / (k - 1)
    variance = spread / tries**2
    found = rate * (1 - rate) / variance if variance else tries
    return float(min(max(found, k), tries))


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class SpotlightEffect:
    """Success rates of the same attacks without and with spotlighting.

    Attributes:
        name: Name of the method.
        pairs: Pairs in which both were answered.
        plain: Successes without it.
        spotlit: Successes with it.
        both: Pairs in which both succeeded.
        dropped: Pairs in which one was not answered.
    """

    name: str
    pairs: int
    plain: int
    spotlit: int
    both: int
    dropped: int = 0

    @property
    def difference(self) -> float | None:
        """Rate with spotlighting less the rate without; below 0 if it helps. None without pairs."""
        return (self.spotlit - self.plain) / self.pairs if self.pairs else None

    @property
    def interval(self) -> Interval:
        """Two-sided 95 % interval of the difference."""
        return paired_interval(self.spotlit, self.plain, self.both, self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "method": self.name,
            "pairs": self.pairs,
            "dropped": self.dropped,
            "plain": self.plain,
            "spotlit": self.spotlit,
            "difference": self.difference,
            "interval": list(self.interval),
        }


def paired_interval(first: int, second: int, both: int, pairs: int) -> Interval:
    """Interval of the difference of two rates on the same pairs.

    Examples:
        >>> low, high = paired_interval(2, 18, 2, 20)
        >>> round(low, 2), round(high, 2)
        (-0.9, -0.52)
    """
    if not pairs:
        return Interval(-1.0, 1.0)
    p, q = first / pairs, second / pairs
    (p_low, p_high), (q_low, q_high) = wilson(first, pairs), wilson(second, pairs)
    phi = _correlation(first, second, both, pairs)

    def bound(one: float, other: float) -> float:
        return sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))

    low = p - q - bound(p - p_low, q_high - q)
    high = p - q + bound(p_high - p, q - q_low)
    return Interval(max(low, -1.0), min(high, 1.0))


def _correlation(first: int, second: int, both: int, pairs: int) -> float:
    """Correlation of the pairs, corrected for continuity as in Newcombe's method 10."""
    only_first, only_second = first - both, second - both
    neither = pairs - first - second + both
    margins = first * second * (pairs - first) * (pairs - second)
    if margins == 0:
        return 0.0
    product = both * neither - only_first * only_second
    corrected = max(product - pairs / 2, 0.0) if product > 0 else float(product)
    return corrected / sqrt(margins)
