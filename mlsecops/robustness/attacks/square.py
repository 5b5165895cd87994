"""Square attack: black-box random search on the scores.

scores → random squares of the ball's corners → the change that lowers the margin is kept
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from mlsecops._choices import number, whole
from mlsecops._repr import concise_repr
from mlsecops.robustness.attacks.base import Searching, require_ball
from mlsecops.robustness.attacks.image_layout import from_chw, to_chw
from mlsecops.robustness.attacks.losses import margins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.base import Batch

# Queries, of 10,000, after which the area halves: the authors' published code.
_HALVINGS: Final = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_SCHEDULE: Final = 10_000  # queries; the total for which the paper states its halvings


@concise_repr()
@dataclass(frozen=True, slots=True)
class Square(Searching):
    """Random squares of the ball's corners, kept where they lower the margin; needs only scores.

    In a row of features (a table) a square is a run of neighbours.

    Attributes:
        eps: Radius of the Linf ball, in units of the input.
        queries: Most queries of the model per sample.
        share: Share of the elements that the first squares cover, in (0, 1].

    Source: Andriushchenko et al., "Square attack: a query-efficient black-box adversarial attack
    via random search" (2020), algorithms 1 and 2.

    Examples:
        >>> Square(0.1, queries=200).params
        {'norm': 'linf', 'eps': 0.1, 'queries': 200, 'share': 0.8}
    """

    needs_gradients: ClassVar[bool] = False
    _label: ClassVar[str] = "square"
    _reported: ClassVar[tuple[str, ...]] = ("norm", "eps", "queries", "share")
    eps: float
    _: KW_ONLY
    queries: int = 1000
    share: float = 0.8

    def __post_init__(self) -> None:
        require_ball("Square", self.eps)
        whole("Square: queries", self.queries, "a number from 1 on")
        number("Square: share", self.share, "a share in (0, 1]", lambda share: 0 < share <= 1)

    def search(self, batch: Batch) -> Array:
        """Examples for one batch; each query asks for all samples that are still correct."""
        first = batch.adapter.channels_first
        samples = partial(from_chw, like=batch.ball.x, channels_first=first)
        lower, upper = (
            to_chw(bound, channels_first=first) for bound in (batch.ball.lower, batch.ball.upper)
        )
        generators = [np.random.default_rng(seed) for seed in batch.seeds()]
        stripes = np.stack([g.random((lower.shape[1], 1, lower.shape[3])) for g in generators])
        best = np.where(stripes < 0.5, upper, lower)  # noqa: PLR2004 - a coin
        margin = margins(batch.scores(samples(best), batch.y), batch.y)
        for query in range(1, self.queries):
            left = np.flatnonzero(margin >= 0)
            if not len(left):
                break
            window, sign = self._square([generators[i] for i in left], lower.shape[1:], query)
            tried = np.where(window, np.where(sign, upper[left], lower[left]), best[left])
            found = margins(batch.scores(samples(tried), batch.y[left]), batch.y[left])
            better = ~(found >= margin[left])  # NaN scores are a wrong answer
            best[left[better]], margin[left[better]] = tried[better], found[better]
        return samples(best)

    def _square(
        self, generators: list[np.random.Generator], shape: tuple[int, ...], query: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Window of each sample's change `(n, 1, h, w)`, and its sign `(n, c, 1, 1)`."""
        channels, height, width = shape
        halvings = bisect_right(_HALVINGS, query * _SCHEDULE // self.queries)
        area = self.share / 2**halvings * height * width
        side = max(1, round(math.sqrt(area) if min(height, width) > 1 else area))
        tall, wide = min(side, height), min(side, width)
        drawn = np.stack([g.random(2 + channels) for g in generators])
        top = (drawn[:, 0] * (height - tall + 1)).astype(int)[:, None, None]
        left = (drawn[:, 1] * (width - wide + 1)).astype(int)[:, None, None]
        row, column = np.arange(height)[:, None], np.arange(width)[None, :]
        window = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
        return window[:, None], (drawn[:, 2:] < 0.5)[:, :, None, None]  # noqa: PLR2004 - a coin
