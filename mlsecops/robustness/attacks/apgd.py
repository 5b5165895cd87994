"""Projected gradient descent that chooses its steps itself (Auto-PGD)."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.ball import columns
from mlsecops.robustness.attacks.base import Searching, require_norm, require_radius
from mlsecops.robustness.attacks.losses import cross_entropy, dlr, pullback, targeted_dlr
from mlsecops.robustness.attacks.margins import margins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Batch
    from mlsecops.robustness.attacks.losses import Loss

__all__ = ["APGD", "checkpoints"]

_MOMENTUM: Final = 0.75
_IMPROVING: Final = 0.75  # share of steps that have to raise the loss, or the step is halved
_LOSSES: Final[dict[str, tuple[str, Loss]]] = {
    "cross-entropy": ("ce", cross_entropy),
    "dlr": ("dlr", dlr),
    "targeted-dlr": ("t", targeted_dlr),
}


@dataclass(frozen=True, slots=True)
class APGD(Searching):
    """Projected steps with momentum; the step is halved, and the best point taken up, as needed.

    Attributes:
        eps: Radius of the ball, in units of the input.
        loss: `"cross-entropy"` (APGD-CE), `"dlr"`, or `"targeted-dlr"` (APGD-T), which
            searches towards each of the classes that score highest.
        steps: Gradient steps per restart and target.
        norm: `"linf"` or `"l2"`.
        restarts: Random starts; each takes only the samples that the earlier ones left.
        targets: Classes that APGD-T tries.

    Source:
        Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks" (2020), algorithm 1.
    """

    eps: float
    _: KW_ONLY
    loss: Literal["cross-entropy", "dlr", "targeted-dlr"] = "cross-entropy"
    steps: int = 100
    norm: Norm = "linf"
    restarts: int = 1
    targets: int = 9

    def __post_init__(self) -> None:
        require_radius("APGD", self.eps)
        require_norm("APGD", self.norm)
        if min(self.steps, self.restarts, self.targets) < 1:
            raise UsageError(
                "APGD: expected steps, restarts and targets of at least 1, "
                f"got {self.steps}, {self.restarts} and {self.targets}"
            )
        if self.loss not in _LOSSES:
            raise UsageError(f"APGD: expected a loss of {', '.join(_LOSSES)}, got {self.loss!r}")

    @property
    def name(self) -> str:
        """`"apgd-ce"`, `"apgd-dlr"` or `"apgd-t"`; for L2 with `"-l2"`."""
        short = f"apgd-{_LOSSES[self.loss][0]}"
        return short if self.norm == "linf" else f"{short}-{self.norm}"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        targeted = {"targets": self.targets} if self.loss == "targeted-dlr" else {}
        return {
            "norm": self.norm,
            "eps": self.eps,
            "steps": self.steps,
            "restarts": self.restarts,
            "loss": self.loss,
            **targeted,
        }

    def search(self, batch: Batch) -> Array:
        """For each sample the point with the smallest margin over all restarts and targets."""
        examples = batch.ball.x.copy()
        logits = batch.adapter.logits(examples)
        closest = margins(logits, batch.y)
        for turn, aims in enumerate(self._aims(logits, batch.y)):
            for restart in range(self.restarts):
                left = np.flatnonzero(closest >= 0)
                if not len(left):
                    return examples
                z, margin = self._climb(batch.rows(left), aims[left], restart, turn)
                better = margin < closest[left]
                examples[left[better]] = z[better]
                closest[left[better]] = margin[better]
        return examples

    def _aims(self, logits: Array, y: Labels) -> list[Labels]:
        """Classes to search towards, one after the other; the loss may not heed them."""
        if self.loss != "targeted-dlr":
            return [y]
        others = np.array(logits, dtype=np.float64)
        others[np.arange(len(y)), y] = -np.inf
        order = np.argsort(-others, axis=1, kind="stable")[:, : logits.shape[1] - 1]
        return list(order.T[: self.targets])

    def _climb(self, batch: Batch, aims: Labels, *turn: int) -> tuple[Array, NDArray[np.float64]]:
        """One restart: the point of smallest margin for each sample, and that margin."""
        climb = _Climb.begin(batch, aims, loss=_LOSSES[self.loss][1], turn=turn)
        ends, closest = batch.ball.x.copy(), np.full(len(batch), np.inf)
        marks = checkpoints(self.steps)
        last = 0
        for count in range(1, self.steps + 1):
            climb = climb.without_fooled(ends, closest)
            if not len(climb.z):
                break
            climb.step(momentum=_MOMENTUM if count > 1 else 1.0)
            if count in marks:
                climb.adjust(window=count - last)
                last = count
        climb.record(ends, closest)
        return ends, closest


@dataclass(slots=True, kw_only=True, eq=False)
class _Climb:
    """The samples that still stand in one restart; each array has one row for each of them."""

    batch: Batch
    loss: Loss
    aims: Labels
    place: Labels  # row in the batch that the restart began with
    z: Array
    before: Array
    value: NDArray[np.float64]
    gradient: Array
    margin: NDArray[np.float64]
    best: Array
    best_value: NDArray[np.float64]
    best_gradient: Array
    nearest: Array  # the point of smallest margin, which need not be that of the highest loss
    nearest_margin: NDArray[np.float64]
    length: NDArray[np.float32]
    gains: NDArray[np.int64]
    marked_value: NDArray[np.float64]  # best value at the last checkpoint
    halved: NDArray[np.bool_]

    @classmethod
    def begin(cls, batch: Batch, aims: Labels, *, loss: Loss, turn: tuple[int, ...]) -> _Climb:
        z = batch.ball.scatter(batch.seeds(*turn))
        n = len(z)
        value, gradient, margin = _look(batch, loss, z, aims)
        return cls(
            batch=batch, loss=loss, aims=aims, place=np.arange(n),
            z=z, before=z, value=value, gradient=gradient, margin=margin,
            best=z.copy(), best_value=value.copy(), best_gradient=gradient.copy(),
            nearest=z.copy(), nearest_margin=margin.copy(),
            length=np.full(n, 2.0 * batch.ball.eps, dtype=np.float32),
            gains=np.zeros(n, dtype=np.int64), marked_value=value.copy(),
            halved=np.ones(n, dtype=bool),
        )  # fmt: skip

    def without_fooled(self, ends: Array, closest: NDArray[np.float64]) -> _Climb:
        """The samples that stand; what fooled the model is written down first."""
        stands = self.margin >= 0
        if stands.all():
            return self
        self.record(ends, closest)
        arrays: dict[str, Any] = {
            f.name: getattr(self, f.name)[stands]
            for f in fields(self)
            if f.name not in ("batch", "loss")
        }
        return _Climb(batch=self.batch.rows(stands), loss=self.loss, **arrays)

    def record(self, ends: Array, closest: NDArray[np.float64]) -> None:
        ends[self.place] = self.nearest
        closest[self.place] = self.nearest_margin

    def step(self, *, momentum: float) -> None:
        """One step with momentum, and a look at where it led."""
        ascended = self.batch.ball.ascend(self.z, self.gradient, self.length)
        mixed = self.z + momentum * (ascended - self.z) + (1 - momentum) * (self.z - self.before)
        self.before, self.z = self.z, self.batch.ball.project(mixed)
        earlier = self.value
        self.value, self.gradient, self.margin = _look(self.batch, self.loss, self.z, self.aims)
        self.gains += self.value > earlier
        up = self.value > self.best_value
        self.best[up], self.best_gradient[up] = self.z[up], self.gradient[up]
        self.best_value[up] = self.value[up]
        nearer = ~(self.margin >= self.nearest_margin)
        self.nearest[nearer], self.nearest_margin[nearer] = self.z[nearer], self.margin[nearer]

    def adjust(self, *, window: int) -> None:
        """Halve the step and go back to the best point, where one of two conditions holds."""
        rarely = self.gains <= _IMPROVING * window
        stuck = ~self.halved & (self.marked_value >= self.best_value)
        halve = rarely | stuck
        self.length = np.where(halve, self.length / 2, self.length)
        back = columns(halve, self.z.ndim)
        self.z = np.where(back, self.best, self.z)
        self.gradient = np.where(back, self.best_gradient, self.gradient)
        self.halved, self.marked_value = halve, self.best_value.copy()
        self.gains = np.zeros_like(self.gains)


def _look(
    batch: Batch, loss: Loss, z: Array, aims: Labels
) -> tuple[NDArray[np.float64], Array, NDArray[np.float64]]:
    """Loss, its gradient, and margin at some points."""
    seen: list[NDArray[np.float64]] = []

    def slope(logits: Array) -> Array:
        value, by_logits = loss(logits, batch.y, aims)
        seen.append(value)
        scaled: Array = by_logits.astype(np.float32)
        return scaled

    logits, gradient = pullback(batch.adapter, z, slope)
    margin = margins(logits, batch.y)
    # Scores that are not numbers are a wrong answer, and a loss that nothing exceeds.
    broken = np.isnan(logits).any(axis=1)
    return seen[0], gradient, np.where(broken, -np.inf, margin)


def checkpoints(steps: int) -> list[int]:
    """Steps after which the step length is looked at, the last one included if it is due.

    Source:
        Croce and Hein (2020), section 3.2: `p_0 = 0`, `p_1 = 0.22`, then
        `p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)`.
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1.0:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return sorted({math.ceil(round(share * steps, 9)) for share in shares[1:] if share <= 1.0})
