"""Auto-PGD: projected gradient descent with an adaptive step length.

random start → steps with momentum → at checkpoints, halve the step and return to the best point
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np

from mlsecops._choices import one_of, whole
from mlsecops._repr import concise_repr
from mlsecops.robustness.attacks.ball import columns
from mlsecops.robustness.attacks.base import Searching, require_ball
from mlsecops.robustness.attacks.losses import cross_entropy, dlr, margins, targeted_dlr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Batch
    from mlsecops.robustness.attacks.losses import Loss
    from mlsecops.robustness.attacks.losses import Values as _Values

_MOMENTUM: Final = 0.75  # weight of the new step; Croce and Hein (2020), section 3.1
_IMPROVING: Final = 0.75  # share of steps that must raise the loss; ibid., section 3.2
_LOSSES: Final[dict[str, tuple[str, Loss]]] = {
    "cross-entropy": ("ce", cross_entropy),
    "dlr": ("dlr", dlr),
    "targeted-dlr": ("t", targeted_dlr),
}


@concise_repr()
@dataclass(frozen=True, slots=True)
class APGD(Searching):
    """Auto-PGD: projected steps with momentum, whose length adapts to the progress.

    Attributes:
        eps: Radius of the ball, in units of the input.
        loss: `"cross-entropy"` (APGD-CE), `"dlr"`, or `"targeted-dlr"` (APGD-T), which
            searches towards each of the highest-scoring classes.
        steps: Gradient steps per restart and target.
        norm: `"linf"` or `"l2"`.
        restarts: Random starts; each takes only the samples that the earlier ones left.
        targets: Number of classes that APGD-T tries.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
    diverse parameter-free attacks" (2020), algorithm 1.

    Examples:
        >>> APGD(0.1, loss="targeted-dlr", norm="l2").name
        'apgd-t-l2'
    """

    _reported: ClassVar[tuple[str, ...]] = ("norm", "eps", "steps", "restarts", "loss")
    eps: float
    _: KW_ONLY
    loss: Literal["cross-entropy", "dlr", "targeted-dlr"] = "cross-entropy"
    steps: int = 100
    norm: Norm = "linf"
    restarts: int = 1
    targets: int = 9

    def __post_init__(self) -> None:
        require_ball("APGD", self.eps, self.norm)
        for name in ("steps", "restarts", "targets"):
            whole(f"APGD: {name}", getattr(self, name), "a number from 1 on")
        one_of("loss", self.loss, _LOSSES)

    @property
    def name(self) -> str:
        """`"apgd-ce"`, `"apgd-dlr"` or `"apgd-t"`; for L2 with `"-l2"`."""
        suffix = "" if self.norm == "linf" else f"-{self.norm}"
        return f"apgd-{_LOSSES[self.loss][0]}{suffix}"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        names = (*self._reported, *(("targets",) if self.loss == "targeted-dlr" else ()))
        return {name: getattr(self, name) for name in names}

    def search(self, batch: Batch) -> Array:
        """For each sample the point with the smallest margin over all restarts and targets."""
        examples = batch.ball.x.copy()
        logits = batch.scores(examples, batch.y)
        closest = margins(logits, batch.y)
        for turn, targets in enumerate(self._targets(logits, batch.y)):
            for restart in range(self.restarts):
                left = np.flatnonzero(closest >= 0)
                if not len(left):
                    return examples
                z, margin = self._ascend(batch.rows(left), targets[left], restart, turn)
                better = margin < closest[left]
                examples[left[better]] = z[better]
                closest[left[better]] = margin[better]
        return examples

    def _targets(self, logits: Array, y: Labels) -> list[Labels]:
        if self.loss != "targeted-dlr":
            return [y]
        others = np.array(logits, dtype=np.float64)
        others[np.arange(len(y)), y] = -np.inf
        order = np.argsort(-others, axis=1, kind="stable")[:, : logits.shape[1] - 1]
        return list(order.T[: self.targets])

    def _ascend(self, batch: Batch, targets: Labels, *turn: int) -> tuple[Array, _Values]:
        ascent = _Ascent.begin(batch, targets, loss=_LOSSES[self.loss][1], turn=turn)
        ends, closest = batch.ball.x.copy(), np.full(len(batch), np.inf)
        due = checkpoints(self.steps)
        last = 0
        for count in range(1, self.steps + 1):
            ascent = ascent.without_fooled(ends, closest)
            if not len(ascent.z):
                break
            ascent.step(momentum=_MOMENTUM if count > 1 else 1.0)
            if count in due:
                ascent.adjust(window=count - last)
                last = count
        ascent.record(ends, closest)
        return ends, closest


@dataclass(slots=True, kw_only=True, eq=False)
class _Ascent:
    """State of one restart: one row in each array per sample that is still correct."""

    batch: Batch
    loss: Loss
    targets: Labels
    row: Labels  # row in the batch that the restart began with
    z: Array
    before: Array
    value: _Values
    gradient: Array
    margin: _Values
    best: Array
    best_value: _Values
    best_gradient: Array
    nearest: Array  # the point of smallest margin, which need not be that of the highest loss
    nearest_margin: _Values
    length: NDArray[np.float32]
    gains: NDArray[np.int64]
    checkpoint_value: _Values  # best value at the last checkpoint
    halved: NDArray[np.bool_]

    @classmethod
    def begin(cls, batch: Batch, targets: Labels, *, loss: Loss, turn: tuple[int, ...]) -> _Ascent:
        z = batch.ball.scatter(batch.seeds(*turn))
        n = len(z)
        value, gradient, margin = _evaluate(batch, loss, z, targets)
        return cls(
            batch=batch, loss=loss, targets=targets, row=np.arange(n),
            z=z, before=z, value=value, gradient=gradient, margin=margin,
            best=z.copy(), best_value=value.copy(), best_gradient=gradient.copy(),
            nearest=z.copy(), nearest_margin=margin.copy(),
            length=np.full(n, 2.0 * batch.ball.eps, dtype=np.float32),
            gains=np.zeros(n, dtype=np.int64), checkpoint_value=value.copy(),
            halved=np.ones(n, dtype=bool),
        )  # fmt: skip

    def without_fooled(self, ends: Array, closest: _Values) -> _Ascent:
        """The samples that are still correct, after recording the others' examples."""
        correct = self.margin >= 0
        if correct.all():
            return self
        self.record(ends, closest)
        arrays: dict[str, Any] = {
            f.name: getattr(self, f.name)[correct]
            for f in fields(self)
            if f.name not in ("batch", "loss")
        }
        return _Ascent(batch=self.batch.rows(correct), loss=self.loss, **arrays)

    def record(self, ends: Array, closest: _Values) -> None:
        ends[self.row], closest[self.row] = self.nearest, self.nearest_margin

    def step(self, *, momentum: float) -> None:
        ascended = self.batch.ball.ascend(self.z, self.gradient, self.length)
        mixed = self.z + momentum * (ascended - self.z) + (1 - momentum) * (self.z - self.before)
        self.before, self.z = self.z, self.batch.ball.project(mixed)
        earlier = self.value
        found = _evaluate(self.batch, self.loss, self.z, self.targets)
        self.value, self.gradient, self.margin = found
        self.gains += self.value > earlier
        up = self.value > self.best_value
        self.best[up], self.best_gradient[up] = self.z[up], self.gradient[up]
        self.best_value[up] = self.value[up]
        nearer = ~(self.margin >= self.nearest_margin)
        self.nearest[nearer], self.nearest_margin[nearer] = self.z[nearer], self.margin[nearer]

    def adjust(self, *, window: int) -> None:
        """Halve the step and return to the best point where progress has stalled."""
        rarely = self.gains <= _IMPROVING * window
        stuck = ~self.halved & (self.checkpoint_value >= self.best_value)
        halve = rarely | stuck
        self.length = np.where(halve, self.length / 2, self.length)
        back = columns(halve, self.z.ndim)
        self.z = np.where(back, self.best, self.z)
        self.gradient = np.where(back, self.best_gradient, self.gradient)
        self.halved, self.checkpoint_value = halve, self.best_value.copy()
        self.gains = np.zeros_like(self.gains)


def _evaluate(
    batch: Batch, loss: Loss, z: Array, targets: Labels
) -> tuple[_Values, Array, _Values]:
    seen: list[_Values] = []

    def slope(logits: Array) -> Array:
        value, by_logits = loss(logits, batch.y, targets)
        seen.append(value)
        return by_logits.astype(np.float32)

    logits, gradient = batch.pullback(z, batch.y, slope)
    margin = margins(logits, batch.y)
    # NaN scores are a wrong answer, and a loss that nothing exceeds.
    broken = np.isnan(logits).any(axis=1)
    return seen[0], gradient, np.where(broken, -np.inf, margin)


def checkpoints(steps: int) -> list[int]:
    """Steps after which the step length is reviewed.

    Source: Croce and Hein (2020), section 3.2.

    Examples:
        >>> checkpoints(100)
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1.0:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return sorted({math.ceil(round(share * steps, 9)) for share in shares[1:] if share <= 1.0})
