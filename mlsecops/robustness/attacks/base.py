"""What an Attack is, and what every search of ours has: a ball, batches, keys and progress."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.ball import Ball, Norm, spread

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks.ball import Bounds

__all__ = ["Attack", "Batch", "Progress", "Searching", "require_norm", "require_radius"]

Progress: TypeAlias = Callable[[int, int], object]


@runtime_checkable
class Attack(Protocol):
    """What perturbs inputs.

    Attributes:
        name: Short name (`"fgsm"`, `"pgd"`, `"pgd-l2"`).
        norm: Norm of the ball.
        eps: Radius of the ball, in units of the input; infinite for what keeps to none.
        params: Everything that decides its result, as plain values.
    """

    @property
    def name(self) -> str:
        """Short name."""

    @property
    def norm(self) -> Norm:
        """Norm of the ball."""

    @property
    def eps(self) -> float:
        """Radius of the ball."""

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""

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
        """Search an example for each input.

        Args:
            adapter: The model.
            x: Inputs `(n, *shape)`, float32, inside `bounds`.
            y: True labels `(n,)`.
            seed: Seed; with a sample's index it decides that sample's draws.
            bounds: Smallest and largest value: numbers, or arrays per feature or per input.
            batch_size: Samples per call of the model.
            index: Index `(n,)` of each sample in its data set; by default its row.
            progress: Called with (samples done, samples in all).

        Returns:
            Examples, shaped as `x`, inside the ball and the bounds.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Some samples under attack; each array has a row for each of them.

    Attributes:
        adapter: The model.
        ball: Where their examples may lie.
        low: Smallest values that a model may be asked, ball or not.
        high: Largest such values.
        y: True labels.
        keys: Index of each sample in its data set.
        seed: Seed of the evaluation.
        size: Samples per call of the model.
    """

    adapter: Adapter
    ball: Ball
    low: Array
    high: Array
    y: Labels
    keys: Labels
    seed: int
    size: int

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, which: Any) -> Batch:
        """The batch of some of the samples, by index, mask or slice."""
        return Batch(
            adapter=self.adapter,
            ball=self.ball.rows(which),
            low=self.low[which],
            high=self.high[which],
            y=self.y[which],
            keys=self.keys[which],
            seed=self.seed,
            size=self.size,
        )

    def seeds(self, *turn: int) -> list[list[int]]:
        """What decides each sample's draws in a turn of the attack, whatever batch it is in."""
        return [[self.seed, *turn, int(key)] for key in self.keys]


class Searching(ABC):
    """An Attack that searches batch by batch, or pool by pool.

    Attributes:
        needs_gradients: Whether the model has to give them.
        pool: How many batches it takes at a time, to fill up the places of samples that leave.
    """

    __slots__ = ()
    needs_gradients: ClassVar[bool] = True
    pool: ClassVar[int] = 1

    if TYPE_CHECKING:  # dataclass fields at run time, where a property would be their default

        @property
        def norm(self) -> Norm:
            """Norm of the ball."""

        @property
        def eps(self) -> float:
            """Radius of the ball."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name."""

    @property
    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""

    @abstractmethod
    def search(self, batch: Batch) -> Array:
        """Examples for one batch (or pool of batches), in its ball."""

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
        """Search an example for each input; see `Attack.perturb`."""
        if self.needs_gradients:
            require_differentiable(adapter, self.name)
        ball = Ball.around(x, norm=self.norm, eps=self.eps, bounds=bounds)
        low, high = spread(bounds, ball.x.shape)
        keys = np.arange(len(ball)) if index is None else np.asarray(index)
        whole = Batch(
            adapter=adapter, ball=ball, low=low, high=high, y=y, keys=keys, seed=seed,
            size=batch_size,
        )  # fmt: skip
        examples, step = ball.x.copy(), batch_size * self.pool
        for begin in range(0, len(ball), step):
            rows = slice(begin, begin + step)
            examples[rows] = self.search(whole.rows(rows))
            if progress is not None:
                progress(min(begin + step, len(ball)), len(ball))
        return examples


def require_differentiable(adapter: Adapter, attack: str) -> None:
    """Refuse a gradient attack on a model that gives none."""
    if not adapter.differentiable:
        raise UsageError(
            f"{attack} needs gradients, and a {adapter.framework} model of type "
            f"{type(adapter.model).__name__} gives none: adapt a differentiable model, or attack "
            "it by its answers (Square, HopSkipJump)"
        )


def require_radius(attack: str, eps: float) -> None:
    """Refuse a ball without an inside."""
    if not (math.isfinite(eps) and eps > 0):
        raise UsageError(f"{attack}: expected eps above 0 in units of the input, got {eps}")


def require_norm(attack: str, norm: str) -> None:
    """Refuse a norm that no ball here has."""
    if norm not in get_args(Norm):
        raise UsageError(f"{attack}: expected norm {' or '.join(get_args(Norm))}, got {norm!r}")
