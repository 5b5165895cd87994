"""Evenness of a group of rows over classes.

classes of the rows → effective number of classes → share of that of as many rows drawn anywhere

Source: Hill, "Diversity and evenness: a unifying notation and its consequences" (1973), for the
effective number, the exponential of Shannon's entropy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DRAWS: Final = 200  # drawn groups for an expectation; chosen: steady to two digits


def evenness(classes: NDArray[np.int64], counts: NDArray[np.int64], *, seed: int) -> float:
    """Effective number of classes in a group, as a share of what chance gives; about 1 if random.

    Few rows cannot show many classes, so that the share is of groups of the same size.

    Args:
        classes: Class of each row of the group `(rows,)`.
        counts: Rows of each class from which a random group would come `(k,)`.
        seed: Seed of the random groups.

    Examples:
        >>> evenness(np.array([1] * 20), np.array([50, 50, 50, 50]), seed=0) < 0.3
        True
    """
    rng = np.random.default_rng([seed, 7])
    drawn = rng.multinomial(len(classes), counts / counts.sum(), _DRAWS)
    expected = float(np.mean([_effective(each) for each in drawn]))
    return _effective(np.bincount(classes)) / expected


def _effective(counts: NDArray[Any]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
