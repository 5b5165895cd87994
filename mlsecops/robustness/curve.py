"""Accuracy curve: accuracy under attack as the radius grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.robustness.evaluation.evaluate import evaluate_robustness
from mlsecops.robustness.report import Figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Accuracy at each radius, of the same samples.

    Attributes:
        attack: The attack's name.
        radii: From 0 (no attack) upwards, in units of the input.
        figures: Accuracy at each radius; a sample misclassified at one radius is so at all larger.
    """

    attack: str
    radii: tuple[float, ...]
    figures: tuple[Figure, ...]


@checked
def accuracy_curve(
    model_or_adapter: Any,
    x: Any,
    y: Any,
    attack: Callable[[float], Attack],
    radii: Sequence[float],
    *,
    seed: int = 0,
    batch_size: int = 256,
    bounds: Bounds = (0, 1),
) -> Curve:
    """Attack with growing balls, each time the samples that are still correct.

    A curve runs no self-checks: judge a model by a report of `evaluate_robustness`. A curve that
    does not fall to 0 for huge radii points to a weak attack.

    Args:
        model_or_adapter: A framework's model, or an Adapter; unchanged.
        x: Inputs `(n, *shape)`, inside `bounds`.
        y: True labels `(n,)`, integers.
        attack: Makes the attack of a radius (`lambda eps: PGD(eps, steps=20)`).
        radii: Radii above 0, in rising order.
        seed: Seed of the attacks.
        batch_size: Samples per call of the model.
        bounds: Smallest and largest value of an input.

    Raises:
        UsageError: The radii do not rise from above 0, or the data cannot be used.
    """
    rising = [0.0, *(float(radius) for radius in radii)]
    if len(rising) < 2 or any(not a < b for a, b in pairwise(rising)):  # noqa: PLR2004 - one radius or more
        raise UsageError(f"radii: expected one or more, rising from above 0, got {list(radii)}")
    adapter = adapt(model_or_adapter)
    inputs, labels = np.asarray(x), np.asarray(y)
    correct: NDArray[np.bool_] | None = None
    figures = []
    for radius in rising[1:]:
        left = np.arange(len(inputs)) if correct is None else np.flatnonzero(correct)
        if correct is None or len(left):
            report = evaluate_robustness(
                adapter, inputs[left], labels[left], attack(radius), seed=seed,
                batch_size=batch_size, bounds=bounds, checks=False,
            )  # fmt: skip
            if correct is None:
                correct = report.clean.correct.copy()
                figures.append(Figure.of("curve", correct.copy()))
            correct[left] &= report.worst.correct
        figures.append(Figure.of("curve", correct.copy()))
    return Curve(attack=attack(rising[1]).name, radii=tuple(rising), figures=tuple(figures))
