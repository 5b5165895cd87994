"""HopSkipJump: decision-based attack along the decision boundary.

predicted labels → a misclassified start → steps along the boundary towards the input
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from mlsecops._choices import whole
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.ball import columns, lengths
from mlsecops.robustness.attacks.base import Searching, require_ball
from mlsecops.robustness.attacks.losses import is_correct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Batch

_STARTS: Final = 50  # random points tried for a first wrong answer; chosen
_FIRST: Final = 100  # directions of the first estimate (B_0); Chen et al. (2020), algorithm 2
_HALVINGS: Final = 12  # halvings of a step that went too far; chosen: down to 1/4096 of it
_BISECTIONS: Final = 25  # most halvings in a line search; chosen: below float32 resolution


@concise_repr()
@dataclass(frozen=True, slots=True)
class HopSkipJump(Searching):
    """Walk along the decision boundary towards the input; needs predicted labels, no scores.

    The attack searches for the nearest example and stops as soon as that is inside the ball.

    Attributes:
        eps: Radius of the ball, in units of the input.
        norm: `"linf"` or `"l2"`.
        queries: Queries of the model per sample; the last gradient estimate may exceed them.

    Source: Chen, Jordan and Wainwright, "HopSkipJumpAttack: a query-efficient decision-based
    attack" (2020), algorithm 2.

    Examples:
        >>> HopSkipJump(0.5, norm="l2").name
        'hopskipjump-l2'
    """

    needs_gradients: ClassVar[bool] = False
    _label: ClassVar[str] = "hopskipjump"
    _reported: ClassVar[tuple[str, ...]] = ("norm", "eps", "queries")
    eps: float
    _: KW_ONLY
    norm: Norm = "linf"
    queries: int = 2000

    def __post_init__(self) -> None:
        require_ball("HopSkipJump", self.eps, self.norm)
        whole("HopSkipJump: queries", self.queries, "a number from 1 on")

    def search(self, batch: Batch) -> Array:
        """Examples for one batch: the end of each walk, projected into the ball."""
        if not (np.isfinite(batch.low).all() and np.isfinite(batch.high).all()):
            raise UsageError(
                "HopSkipJump: expected finite bounds for its random starts, got infinite"
            )
        walk = _Walk(batch=batch, norm=self.norm)
        turn = 0
        while len(left := walk.unsettled(self.eps, self.queries)):
            turn += 1
            walk.step(left, turn)
        arrived = columns(walk.distance() <= self.eps, walk.z.ndim)
        return np.where(arrived, walk.z, batch.ball.project(walk.z))


@dataclass(slots=True, kw_only=True, eq=False)
class _Walk:
    batch: Batch
    norm: Norm
    generators: list[np.random.Generator] = field(init=False)
    z: Array = field(init=False)  # a misclassified point, or the input where none was found
    lost: NDArray[np.bool_] = field(init=False)  # no misclassified point found
    queries: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.generators = [np.random.default_rng(seed) for seed in self.batch.seeds()]
        self.z = self.batch.ball.x.copy()
        self.lost = np.ones(len(self.batch), dtype=bool)
        self.queries = np.zeros(len(self.batch), dtype=np.int64)
        # Search for a misclassified point: the input itself, then random points.
        everyone = np.arange(len(self.z))
        self.lost &= ~self._wrong(everyone, self.z)
        for _ in range(_STARTS):
            rows = np.flatnonzero(self.lost)
            if not len(rows):
                return
            unit = np.stack([self.generators[i].random(self.z.shape[1:]) for i in rows])
            low, high = self.batch.low[rows], self.batch.high[rows]
            tried = self._inside(rows, low + unit * (high - low))
            wrong = self._wrong(rows, tried)
            self.lost[rows[wrong]] = False
            self._approach(rows[wrong], tried[wrong])

    def unsettled(self, eps: float, queries: int) -> NDArray[np.intp]:
        return np.flatnonzero(~self.lost & (self.distance() > eps) & (self.queries < queries))

    def distance(self) -> NDArray[np.float64]:
        offset = (self.z.astype(np.float64) - self.batch.ball.x).reshape(len(self.z), -1)
        order = np.inf if self.norm == "linf" else 2
        return np.where(self.lost, np.inf, np.linalg.norm(offset, ord=order, axis=1))

    def step(self, left: NDArray[np.intp], turn: int) -> None:
        """Estimate the gradient, step while the answer stays wrong, return to the boundary."""
        distance = self.distance()[left]
        ahead = np.stack([self._direction(i, d, turn) for i, d in zip(left, distance, strict=True)])
        length = distance / math.sqrt(turn)
        moved, pending = self.z[left].copy(), np.ones(len(left), dtype=bool)
        for _ in range(_HALVINGS):
            rows = np.flatnonzero(pending)
            if not len(rows):
                break
            step = columns(length[rows], ahead.ndim) * ahead[rows]
            tried = self._inside(left[rows], self.z[left[rows]] + step)
            wrong = self._wrong(left[rows], tried)
            moved[rows[wrong]] = tried[wrong]
            pending[rows[wrong]] = False
            length[rows] /= 2
        self._approach(left, moved)

    def _direction(self, i: int, distance: float, turn: int) -> NDArray[np.float64]:
        shape = self.z.shape[1:]
        size = math.prod(shape)
        # Length of the random steps: the paper's delta, from its theta.
        reach = distance / math.sqrt(size) if self.norm == "linf" else distance / size
        span = float((self.batch.high[i] - self.batch.low[i]).max())
        length = 0.1 * span if turn == 1 else max(reach * math.sqrt(size), 1e-4 * span)
        count = round(_FIRST * math.sqrt(turn))
        noise = self.generators[i].standard_normal((count, *shape))
        noise /= lengths(noise)
        rows = np.full(count, i)
        tried = self._inside(rows, self.z[i] + length * noise)
        vote = np.where(self._wrong(rows, tried), 1.0, -1.0)
        if abs(vote.mean()) < 1:
            vote -= vote.mean()
        real = (tried.astype(np.float64) - self.z[i]) / length
        ahead: NDArray[np.float64] = np.tensordot(vote, real, axes=1)
        if self.norm == "linf":
            return np.sign(ahead)
        return ahead / max(float(np.linalg.norm(ahead)), 1e-12)

    def _approach(self, rows: NDArray[np.intp], far: Array) -> None:
        """Bisect between each input and a misclassified point; keep the nearest wrong answer."""
        if not len(rows):
            return
        x = self.batch.ball.x[rows]
        good, bad = np.zeros(len(rows)), np.ones(len(rows))
        best = far.copy()
        for _ in range(_BISECTIONS):
            middle = (good + bad) / 2
            tried = self._between(x, far, middle)
            wrong = self._wrong(rows, tried)
            best[wrong] = tried[wrong]
            bad, good = np.where(wrong, middle, bad), np.where(wrong, good, middle)
            if (bad - good).max() < 1e-3 / math.sqrt(math.prod(x.shape[1:])):
                break
        self.z[rows] = best

    def _between(self, x: Array, far: Array, share: NDArray[np.float64]) -> Array:
        """Point at a share of the way: on the line for L2, by clipping for Linf."""
        part = columns(share.astype(np.float32), x.ndim)
        if self.norm == "l2":
            mixed: Array = x + part * (far - x)
            return mixed
        offset = far - x
        reach = part * columns(np.abs(offset).reshape(len(x), -1).max(axis=1), x.ndim)
        cut: Array = x + np.clip(offset, -reach, reach)
        return cut

    def _inside(self, rows: NDArray[Any], points: NDArray[Any]) -> Array:
        low, high = self.batch.low[rows], self.batch.high[rows]
        inside: Array = np.clip(points, low, high).astype(np.float32)
        return inside

    def _wrong(self, rows: NDArray[Any], points: Array) -> NDArray[np.bool_]:
        np.add.at(self.queries, rows, 1)
        y = self.batch.y[rows]
        wrong: NDArray[np.bool_] = ~is_correct(self.batch.scores(points, y), y)
        return wrong
