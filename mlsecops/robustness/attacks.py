"""Which inputs near the given ones does a model get wrong: gradient attacks on an Adapter.

An Attack takes correctly labelled inputs and returns examples inside its ball and the bounds. It
judges nothing: the evaluation recomputes the accuracy from the examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.robustness.descent import Search

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Labels

__all__ = ["FGSM", "PGD", "Attack", "Bounds", "Norm", "Progress", "suite"]

Bounds: TypeAlias = tuple[float, float]
Norm: TypeAlias = Literal["linf", "l2"]
Progress: TypeAlias = Callable[[int, int], object]


@runtime_checkable
class Attack(Protocol):
    """What perturbs inputs.

    Attributes:
        name: Short name (``"fgsm"``, ``"pgd"``, ``"pgd-l2"``).
        norm: Norm of the ball.
        eps: Radius of the ball, in units of the input.
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
            x: Inputs ``(n, *shape)``, float32, inside ``bounds``.
            y: True labels ``(n,)``.
            seed: Seed; with a sample's index it decides that sample's random start.
            bounds: Smallest and largest value of an input.
            batch_size: Samples per call of the model.
            index: Index ``(n,)`` of each sample in its data set; by default its row.
            progress: Called with (samples done, samples in all).

        Returns:
            Examples, shaped as ``x``, inside the ball and the bounds.
        """


@dataclass(frozen=True, slots=True)
class FGSM:
    """One step of the gradient's sign, across the whole ball.

    Attributes:
        eps: Radius of the Linf ball, in units of the input.

    Source:
        Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples" (2015).
    """

    eps: float

    def __post_init__(self) -> None:
        _require_radius("FGSM", self.eps)

    @property
    def name(self) -> str:
        """``"fgsm"``."""
        return "fgsm"

    @property
    def norm(self) -> Norm:
        """``"linf"``."""
        return "linf"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"norm": self.norm, "eps": self.eps}

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
        single = PGD(self.eps, steps=1, step=self.eps, start="clean", until="end")
        return single.perturb(
            adapter,
            x,
            y,
            seed=seed,
            bounds=bounds,
            batch_size=batch_size,
            index=index,
            progress=progress,
        )


@dataclass(frozen=True, slots=True)
class PGD:
    """Projected steps along the gradient from a random start, on the samples not fooled yet.

    Attributes:
        eps: Radius of the ball, in units of the input.
        steps: Gradient steps per restart.
        step: Length of a step; by default ``2.5 * eps / steps``.
        norm: ``"linf"`` or ``"l2"``.
        restarts: Random starts; each takes only the samples that the earlier ones left.
        start: ``"random"`` inside the ball, or ``"clean"``.
        until: ``"fooled"`` drops a sample as soon as it is misclassified (as strong, and
            cheaper); ``"end"`` gives every sample every step, as adversarial training wants.

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018).
    """

    eps: float
    _: KW_ONLY
    steps: int = 40
    step: float | None = None
    norm: Norm = "linf"
    restarts: int = 1
    start: Literal["random", "clean"] = "random"
    until: Literal["fooled", "end"] = "fooled"

    def __post_init__(self) -> None:
        _require_radius("PGD", self.eps)
        if self.steps < 1 or self.restarts < 1:
            raise UsageError(
                f"PGD: expected steps >= 1 and restarts >= 1, got {self.steps} and {self.restarts}"
            )
        if self.norm not in ("linf", "l2"):
            raise UsageError(f"PGD: expected norm 'linf' or 'l2', got {self.norm!r}")
        if self.start not in ("random", "clean") or self.until not in ("fooled", "end"):
            raise UsageError(f"PGD: unknown start {self.start!r} or until {self.until!r}")
        if self.step is None:
            object.__setattr__(self, "step", 2.5 * self.eps / self.steps)
        elif not (math.isfinite(self.step) and self.step > 0):
            raise UsageError(f"PGD: expected a step above 0, got {self.step}")

    @property
    def name(self) -> str:
        """``"pgd"``, or ``"pgd-l2"``."""
        return "pgd" if self.norm == "linf" else f"pgd-{self.norm}"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {
            "norm": self.norm,
            "eps": self.eps,
            "steps": self.steps,
            "step": self.step,
            "restarts": self.restarts,
            "start": self.start,
        }

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
        require_differentiable(adapter, self.name)
        search = Search(adapter=adapter, pgd=self, bounds=bounds, seed=seed)
        keys = np.arange(len(x)) if index is None else index
        examples = np.array(x, dtype=np.float32)
        for begin in range(0, len(x), batch_size):
            rows = slice(begin, begin + batch_size)
            examples[rows] = search.run(examples[rows], y[rows], keys[rows])
            if progress is not None:
                progress(min(begin + batch_size, len(x)), len(x))
        return examples


def suite(profile: Literal["quick", "standard", "nightly"], *, eps: float) -> list[Attack]:
    """Attacks for an occasion.

    Args:
        profile: ``"quick"`` (each commit), ``"standard"`` (each candidate) or ``"nightly"``.
        eps: Radius of the Linf ball, in units of the input.

    Raises:
        UsageError: The profile is unknown or the radius is out of range.
    """
    profiles: dict[str, PGD] = {
        "quick": PGD(eps, steps=10),
        "standard": PGD(eps, steps=40),
        "nightly": PGD(eps, steps=100, restarts=5),
    }
    if profile not in profiles:
        raise UsageError(f"unknown suite {profile!r}: expected one of {', '.join(profiles)}")
    return [FGSM(eps), profiles[profile]]


def require_differentiable(adapter: Adapter, attack: str) -> None:
    """Refuse a gradient attack on a model that gives none."""
    if not adapter.differentiable:
        raise UsageError(
            f"{attack} needs gradients, and a {adapter.framework} model of type "
            f"{type(adapter.model).__name__} gives none: adapt a differentiable model"
        )


def _require_radius(attack: str, eps: float) -> None:
    if not (math.isfinite(eps) and eps > 0):
        raise UsageError(f"{attack}: expected eps above 0 in units of the input, got {eps}")
