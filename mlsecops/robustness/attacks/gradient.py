"""Which inputs near the given ones does a model get wrong: FGSM, PGD, and suites of attacks.

An Attack takes correctly labelled inputs and returns examples inside its ball and the bounds. It
judges nothing: the evaluation recomputes the accuracy from the examples.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.apgd import APGD
from mlsecops.robustness.attacks.ball import Bounds, Norm
from mlsecops.robustness.attacks.base import (
    Attack,
    Progress,
    Searching,
    require_norm,
    require_radius,
)
from mlsecops.robustness.attacks.pgd_search import Search
from mlsecops.robustness.attacks.square import Square

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.base import Batch

__all__ = ["FGSM", "PGD", "Attack", "Bounds", "Norm", "Progress", "suite"]


@dataclass(frozen=True, slots=True)
class FGSM(Searching):
    """One step of the gradient's sign, across the whole ball.

    Attributes:
        eps: Radius of the Linf ball, in units of the input.

    Source:
        Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples" (2015).
    """

    eps: float

    def __post_init__(self) -> None:
        require_radius("FGSM", self.eps)

    @property
    def name(self) -> str:
        """`"fgsm"`."""
        return "fgsm"

    @property
    def norm(self) -> Norm:
        """`"linf"`."""
        return "linf"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"norm": self.norm, "eps": self.eps}

    def search(self, batch: Batch) -> Array:
        """Examples for one batch."""
        search = Search(batch=batch, steps=1, step=self.eps, restarts=1, start="clean", until="end")
        return search.run()


@dataclass(frozen=True, slots=True)
class PGD(Searching):
    """Projected steps along the gradient from a random start, on the samples not fooled yet.

    Attributes:
        eps: Radius of the ball, in units of the input.
        steps: Gradient steps per restart.
        step: Length of a step; by default `2.5 * eps / steps`.
        norm: `"linf"` or `"l2"`.
        restarts: Random starts; each takes only the samples that the earlier ones left.
        start: `"random"` inside the ball, or `"clean"`.
        until: `"fooled"` drops a sample as soon as it is misclassified (as strong, and
            cheaper); `"end"` gives every sample every step, as adversarial training wants.

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018).
    """

    pool: ClassVar[int] = 4
    eps: float
    _: KW_ONLY
    steps: int = 40
    step: float | None = None
    norm: Norm = "linf"
    restarts: int = 1
    start: Literal["random", "clean"] = "random"
    until: Literal["fooled", "end"] = "fooled"

    def __post_init__(self) -> None:
        require_radius("PGD", self.eps)
        if self.steps < 1 or self.restarts < 1:
            raise UsageError(
                f"PGD: expected steps >= 1 and restarts >= 1, got {self.steps} and {self.restarts}"
            )
        require_norm("PGD", self.norm)
        if self.start not in ("random", "clean") or self.until not in ("fooled", "end"):
            raise UsageError(f"PGD: unknown start {self.start!r} or until {self.until!r}")
        if self.step is None:
            object.__setattr__(self, "step", 2.5 * self.eps / self.steps)
        elif not (math.isfinite(self.step) and self.step > 0):
            raise UsageError(f"PGD: expected a step above 0, got {self.step}")

    @property
    def name(self) -> str:
        """`"pgd"`, or `"pgd-l2"`."""
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

    def search(self, batch: Batch) -> Array:
        """Examples for one batch."""
        search = Search(
            batch=batch,
            steps=self.steps,
            step=self.step or 0.0,
            restarts=self.restarts,
            start=self.start,
            until=self.until,
        )
        return search.run()


def suite(profile: Literal["quick", "standard", "nightly"], *, eps: float) -> list[Attack]:
    """Attacks for an occasion.

    Args:
        profile: `"quick"` (seconds, each commit): FGSM and PGD; `"standard"` (each candidate):
            APGD-CE with 4 starts of 50 steps, and APGD-T with 30 steps a class; `"nightly"`: the
            same with 100 steps, and Square, which needs no gradient.
        eps: Radius of the Linf ball, in units of the input.

    Raises:
        UsageError: The profile is unknown or the radius is out of range.
    """
    targeted = APGD(eps, loss="targeted-dlr")
    profiles: dict[str, list[Attack]] = {
        "quick": [FGSM(eps), PGD(eps, steps=10)],
        "standard": [APGD(eps, steps=50, restarts=4), replace(targeted, steps=30)],
        "nightly": [APGD(eps, restarts=4), targeted, Square(eps, queries=5000)],
    }
    if profile not in profiles:
        raise UsageError(f"unknown suite {profile!r}: expected one of {', '.join(profiles)}")
    return profiles[profile]
