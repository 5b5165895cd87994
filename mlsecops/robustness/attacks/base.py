"""Attack protocol, and the base class of this package's attacks.

adapter, inputs, labels, seed → `Searching.perturb` → batches in their balls → `search` → examples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np

from mlsecops._choices import number, one_of
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.ball import Ball, Norm, spread
from mlsecops.robustness.attacks.losses import pullback, with_abstention, without_abstention

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Cotangent, Labels
    from mlsecops.robustness.attacks.ball import Bounds

Progress: TypeAlias = Callable[[int, int], object]


@runtime_checkable
class Attack(Protocol):
    """Search for perturbed inputs that a model misclassifies."""

    @property
    def name(self) -> str:
        """Short name (`"fgsm"`, `"pgd"`, `"pgd-l2"`)."""

    @property
    def norm(self) -> Norm:
        """Norm of the ball."""

    @property
    def eps(self) -> float:
        """Radius of the ball, in units of the input; infinite for an attack without a ball."""

    @property
    def params(self) -> dict[str, Any]:
        """Every setting that decides the result, as plain values."""

    def perturb(
        self,
        adapter: Adapter,
        x: Array,
        y: Labels,
        *,
        seed: int,
        bounds: Bounds,
        batch_size: int = 256,
        index: Labels | None = None,
        progress: Progress | None = None,
    ) -> Array:
        """Search for an adversarial example of each input.

        Args:
            adapter: The model.
            x: Inputs `(n, *shape)`, float32, inside `bounds`.
            y: True labels `(n,)`.
            seed: Seed; together with a sample's index it decides that sample's draws.
            bounds: Smallest and largest value: numbers, or arrays per feature or per input.
            batch_size: Samples per call of the model.
            index: Index `(n,)` of each sample in its data set; by default its row.
            progress: Called with (samples done, samples in all).

        Returns:
            Examples, shaped as `x`, inside the ball and the bounds.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Samples under attack; each array has one row per sample.

    Where the Adapter has a column for abstention, `y` counts the columns without it.
    """

    adapter: Adapter
    ball: Ball
    low: Array  # smallest values that the model may be queried with, inside the ball or not
    high: Array
    y: Labels
    keys: Labels  # index of each sample in its data set
    seed: int
    size: int  # samples per call of the model

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, which: Any) -> Batch:
        """The batch of selected samples, by index, mask or slice."""
        arrays: dict[str, Any] = {
            name: getattr(self, name)[which] for name in ("low", "high", "y", "keys")
        }
        return replace(self, ball=self.ball.rows(which), **arrays)

    @property
    def abstention(self) -> int | None:
        """Column of the Adapter's scores that means abstention, or None."""
        found: int | None = getattr(self.adapter, "abstention", None)
        return found

    def scores(self, points: Array, y: Labels) -> Array:
        """Scores `(m, k)` of points of samples with labels `(m,)`, without abstention."""
        return without_abstention(self.adapter.logits(points), y, self.abstention)[0]

    def pullback(self, points: Array, y: Labels, cotangent: Cotangent) -> tuple[Array, Array]:
        """Scores as of `scores`, and each point's gradient of a loss of them."""
        if self.abstention is None:
            logits, gradient = pullback(self.adapter, points, cotangent)
            return logits, _followed(gradient)

        def behind(logits: Array) -> Array:
            kept, lent = without_abstention(logits, y, self.abstention)
            return with_abstention(cotangent(kept), y, self.abstention, lent)

        logits, gradient = pullback(self.adapter, points, behind)
        return without_abstention(logits, y, self.abstention)[0], _followed(gradient)

    def seeds(self, *turn: int) -> list[list[int]]:
        """Seed of each sample's draws in one turn of the attack, whatever batch it is in."""
        return [[self.seed, *turn, int(key)] for key in self.keys]


class Searching(ABC):
    """Base of the attacks that search batch by batch, or pool by pool.

    Attributes:
        needs_gradients: Whether the model must provide gradients.
        pool: Batches handed to `search` at a time, for refilling a batch that samples have left.
    """

    __slots__ = ()
    needs_gradients: ClassVar[bool] = True
    pool: ClassVar[int] = 1
    _label: ClassVar[str] = ""
    _reported: ClassVar[tuple[str, ...]] = ("norm", "eps")  # attributes in `params`, in order

    if TYPE_CHECKING:  # a dataclass field at run time; a property would become its default

        @property
        def eps(self) -> float:
            """Radius of the ball."""

    @property
    def norm(self) -> Norm:
        """Norm of the ball."""
        return "linf"

    @property
    def name(self) -> str:
        """Short name, with `-l2` for an L2 ball."""
        return self._label if self.norm == "linf" else f"{self._label}-{self.norm}"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {name: getattr(self, name) for name in self._reported}

    @abstractmethod
    def search(self, batch: Batch) -> Array:
        """Examples for one batch (or pool of batches), inside its ball."""

    def perturb(
        self,
        adapter: Adapter,
        x: Array,
        y: Labels,
        *,
        seed: int,
        bounds: Bounds,
        batch_size: int = 256,
        index: Labels | None = None,
        progress: Progress | None = None,
    ) -> Array:
        """Search for an adversarial example of each input; see `Attack.perturb`."""
        if self.needs_gradients and not adapter.differentiable:
            raise UsageError(
                f"{self.name} needs gradients, and a {adapter.framework} model of type "
                f"{type(adapter.model).__name__} provides none: adapt a differentiable model, or "
                "use an attack that needs only scores or labels (Square, HopSkipJump)"
            )
        centres = np.asarray(x, dtype=np.float32)
        low, high = spread(bounds, centres.shape)
        keys = np.arange(len(centres)) if index is None else np.asarray(index)
        column = getattr(adapter, "abstention", None)
        labels = y if column is None else y - (y > column)
        examples, step = centres.copy(), batch_size * self.pool
        for begin in range(0, len(centres), step):
            rows = slice(begin, begin + step)
            limits = low[rows], high[rows]
            ball = Ball.around(centres[rows], norm=self.norm, eps=self.eps, bounds=limits)
            examples[rows] = self.search(
                Batch(
                    adapter=adapter, ball=ball, low=limits[0], high=limits[1], y=labels[rows],
                    keys=keys[rows], seed=seed, size=batch_size,
                )
            )  # fmt: skip
            if progress is not None:
                progress(min(begin + step, len(centres)), len(centres))
        return examples


def _followed(gradient: Array) -> Array:
    """A gradient as an attack follows it: zero where it is no number."""
    if math.isfinite(float(gradient.sum())):
        return gradient
    return np.nan_to_num(gradient, nan=0.0, posinf=1.0, neginf=-1.0)


def require_ball(attack: str, eps: float, norm: str = "linf") -> None:
    """Refuse a radius that is not positive and finite, and an unknown norm."""
    number(f"{attack}: eps", eps, "a radius above 0 in units of the input", lambda eps: eps > 0)
    one_of(f"{attack}: norm", norm, get_args(Norm))


def require_samples(x: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs `(n, *shape)` and labels `(n,)` as arrays, at least one."""
    inputs, labels = np.asarray(x), np.asarray(y)
    samples = inputs.shape[:1]
    if samples in {(), (0,)} or labels.shape != samples:
        raise UsageError(
            "expected x of shape (n, *shape), n >= 1, and y of n labels, integers or the model's "
            f"class names; got x {inputs.shape} and y {labels.shape} of {labels.dtype}"
        )
    return inputs, labels
