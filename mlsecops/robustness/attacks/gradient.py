"""Gradient attacks FGSM and PGD, and suites of attacks.

Correctly classified inputs → search along the gradient → examples inside the ball and the bounds.
The evaluation recomputes the accuracy from the examples.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from mlsecops._choices import checked, number, one_of, whole
from mlsecops._repr import concise_repr
from mlsecops.robustness.attacks.apgd import APGD
from mlsecops.robustness.attacks.ball import Norm
from mlsecops.robustness.attacks.base import Attack, Searching, require_ball
from mlsecops.robustness.attacks.losses import cross_entropy, is_correct
from mlsecops.robustness.attacks.square import Square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.attacks.base import Batch


@concise_repr()
@dataclass(frozen=True, slots=True)
class FGSM(Searching):
    """Fast gradient sign method: one step along the gradient's sign to the edge of the ball.

    Attributes:
        eps: Radius of the Linf ball, in units of the input.

    Source: Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples" (2015).

    Examples:
        >>> FGSM(eps=8 / 255).params
        {'norm': 'linf', 'eps': 0.03137254901960784}
    """

    _label: ClassVar[str] = "fgsm"
    eps: float

    def __post_init__(self) -> None:
        require_ball("FGSM", self.eps)

    def search(self, batch: Batch) -> Array:
        """Examples for one batch."""
        return PGD(self.eps, steps=1, step=self.eps, start="clean", until="end").search(batch)


@concise_repr()
@dataclass(frozen=True, slots=True)
class PGD(Searching):
    """Projected gradient descent from a random start, on the samples not misclassified yet.

    Attributes:
        eps: Radius of the ball, in units of the input.
        steps: Gradient steps per restart.
        step: Length of a step, in units of the input; by default `2.5 * eps / steps`.
        norm: `"linf"` or `"l2"`.
        restarts: Random starts; each takes only the samples that the earlier ones left.
        start: `"random"` inside the ball, or `"clean"`: the input itself.
        until: `"fooled"` drops a sample as soon as it is misclassified (as strong, and
            cheaper); `"end"` gives every sample every step, as adversarial training needs.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018),
    section 2.1; the default step is that of section 5.

    Examples:
        >>> attack = PGD(eps=0.1, steps=50, norm="l2")
        >>> attack.name, attack.step
        ('pgd-l2', 0.005)
    """

    pool: ClassVar[int] = 4
    _label: ClassVar[str] = "pgd"
    _reported: ClassVar[tuple[str, ...]] = ("norm", "eps", "steps", "step", "restarts", "start")
    eps: float
    _: KW_ONLY
    steps: int = 40
    step: float | None = None
    norm: Norm = "linf"
    restarts: int = 1
    start: Literal["random", "clean"] = "random"
    until: Literal["fooled", "end"] = "fooled"

    def __post_init__(self) -> None:
        require_ball("PGD", self.eps, self.norm)
        for name in ("steps", "restarts"):
            whole(f"PGD: {name}", getattr(self, name), "a number from 1 on")
        one_of("start", self.start, ("random", "clean"))
        one_of("until", self.until, ("fooled", "end"))
        if self.step is None:
            object.__setattr__(self, "step", 2.5 * self.eps / self.steps)
        number("PGD: step", self.step, "a length above 0", lambda step: step > 0)

    def search(self, batch: Batch) -> Array:
        """Examples for a pool of batches."""
        examples = batch.ball.x.copy()
        left = np.arange(len(batch))
        for restart in range(self.restarts):
            fooled, examples[left] = self._restart(batch.rows(left), restart)
            left = left[~fooled]
            if not len(left):
                break
        return examples

    def _restart(self, batch: Batch, restart: int) -> tuple[NDArray[np.bool_], Array]:
        """Whether each sample was misclassified, and its end; the next one takes its place."""
        random = self.start == "random"
        ends = batch.ball.scatter(batch.seeds(restart)) if random else batch.ball.x.copy()
        fooled = np.zeros(len(batch), dtype=bool)
        active = np.arange(min(batch.size, len(batch)))
        entered = len(active)
        z, ball, taken = ends[active], batch.ball.rows(active), np.zeros(len(active), dtype=int)
        while len(active):
            y = batch.y[active]
            logits, gradient = _cross_entropy_gradient(batch, z, y)
            correct = np.full(len(active), self.until == "end") | is_correct(logits, y)
            fooled[active[~correct]] = True
            ends[active[~correct]] = z[~correct]
            z, taken = ball.ascend(z, gradient, self.step), taken + 1
            finished = correct & (taken == self.steps)
            ends[active[finished]] = z[finished]
            free = np.flatnonzero(~correct | finished)
            entering = np.arange(entered, min(entered + len(free), len(batch)))
            entered += len(entering)
            slots, empty = free[: len(entering)], free[len(entering) :]
            active[slots], z[slots], taken[slots] = entering, ends[entering], 0
            ball.put(slots, batch.ball.rows(entering))
            if len(empty):
                kept = np.delete(np.arange(len(active)), empty)
                active, z, taken, ball = active[kept], z[kept], taken[kept], ball.rows(kept)
        return fooled, ends


def _cross_entropy_gradient(batch: Batch, z: Array, y: Labels) -> tuple[Array, Array]:
    """Logits, and the cross-entropy's gradient without its saturation."""
    return batch.pullback(z, y, lambda logits: cross_entropy(logits, y, y)[1].astype(np.float32))


@checked
def suite(profile: Literal["quick", "standard", "nightly"], *, eps: float) -> list[Attack]:
    """Attacks of a profile.

    Args:
        profile: `"quick"` (seconds, each commit): FGSM and PGD; `"standard"` (each candidate):
            APGD-CE with 4 starts of 50 steps, and APGD-T with 30 steps a class; `"nightly"`: the
            same with 100 steps, and Square, which needs no gradient.
        eps: Radius of the Linf ball, in units of the input.

    Raises:
        UsageError: The profile is unknown or the radius is out of range.

    Examples:
        >>> [attack.name for attack in suite("nightly", eps=0.1)]
        ['apgd-ce', 'apgd-t', 'square']
    """
    targeted = APGD(eps, loss="targeted-dlr")
    profiles: dict[str, list[Attack]] = {
        "quick": [FGSM(eps), PGD(eps, steps=10)],
        "standard": [APGD(eps, steps=50, restarts=4), replace(targeted, steps=30)],
        "nightly": [APGD(eps, restarts=4), targeted, Square(eps, queries=5000)],
    }
    return profiles[one_of("profile", profile, profiles)]
