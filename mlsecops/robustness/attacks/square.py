"""Random search on the scores alone, square by square (Square attack)."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.base import Searching, require_radius
from mlsecops.robustness.attacks.image_layout import Planes
from mlsecops.robustness.attacks.margins import margins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Batch

__all__ = ["Square"]

_HALVINGS: Final = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries, of ten thousand
_SCHEDULE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Square(Searching):
    """Squares of the ball's corners, kept where they lower the margin; needs scores, no gradient.

    On a line of features (a table) a square is a run of neighbours.

    Attributes:
        eps: Radius of the Linf ball, in units of the input.
        queries: Times that the model is asked about a sample, at most.
        share: Share of the elements that the first squares cover.

    Source:
        Andriushchenko et al., "Square attack: a query-efficient black-box adversarial attack via
        random search" (2020), algorithms 1 and 2.
    """

    needs_gradients: ClassVar[bool] = False
    eps: float
    _: KW_ONLY
    queries: int = 1000
    share: float = 0.8

    def __post_init__(self) -> None:
        require_radius("Square", self.eps)
        if self.queries < 1 or not 0 < self.share <= 1:
            raise UsageError(
                "Square: expected queries >= 1 and a share in (0, 1], "
                f"got {self.queries} and {self.share}"
            )

    @property
    def name(self) -> str:
        """`"square"`."""
        return "square"

    @property
    def norm(self) -> Norm:
        """`"linf"`."""
        return "linf"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"norm": self.norm, "eps": self.eps, "queries": self.queries, "share": self.share}

    def search(self, batch: Batch) -> Array:
        """Examples for one batch; the samples still standing are asked about together."""
        planes = Planes(shape=batch.ball.x.shape[1:], channels_first=batch.adapter.channels_first)
        lower, upper = planes.of(batch.ball.lower), planes.of(batch.ball.upper)
        generators = [np.random.default_rng(seed) for seed in batch.seeds()]
        stripes = _signs(generators, (lower.shape[1], 1, lower.shape[3]))
        best = np.where(stripes, upper, lower)
        margin = margins(batch.adapter.logits(planes.back(best)), batch.y)
        for query in range(1, self.queries):
            left = np.flatnonzero(margin >= 0)
            if not len(left):
                break
            window, sign = self._square([generators[i] for i in left], lower.shape[1:], query)
            tried = np.where(window, np.where(sign, upper[left], lower[left]), best[left])
            found = margins(batch.adapter.logits(planes.back(tried)), batch.y[left])
            better = ~(found >= margin[left])  # scores that are not numbers are a wrong answer
            best[left[better]], margin[left[better]] = tried[better], found[better]
        examples: Array = planes.back(best)
        return examples

    def _square(
        self, generators: list[np.random.Generator], shape: tuple[int, ...], query: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where each sample changes `(n, 1, h, w)`, and to which side `(n, c, 1, 1)`."""
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


def _signs(generators: list[np.random.Generator], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.stack([g.random(shape) < 0.5 for g in generators])  # noqa: PLR2004 - a coin
