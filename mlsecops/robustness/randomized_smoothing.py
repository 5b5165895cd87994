"""Inside which radius no attack can change the answer: a certificate by randomised smoothing.

The certificate is of the *smoothed* model, which answers with the class that the given model gives
most often under Gaussian noise. It is a proof up to `alpha`, not the result of an attack, and it
says nothing about the given model without noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._intervals import clopper_pearson
from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.robustness.report import Figure, Outcomes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks.base import Progress

__all__ = ["ABSTAINED", "Certificate", "certify"]

ABSTAINED: Final = -1
"""Answer where no class is certain enough."""

_FIRST: Final = 100  # draws that choose the class; they are not counted for its probability


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certificate:
    """What is proven of the smoothed model.

    Attributes:
        answers: Class of each sample, int64 `(n,)`; `ABSTAINED` where none is certain.
        radii: L2 radius inside which the answer cannot change, in units of the input, `(n,)`;
            0 where it abstained.
        labels: True labels `(n,)`.
        sigma: Standard deviation of the noise, in units of the input.
        draws: Noisy copies of each sample.
        alpha: Chance that one sample's radius is wrong, at most.
    """

    answers: NDArray[np.int64]
    radii: NDArray[np.float64]
    labels: NDArray[np.int64]
    sigma: float
    draws: int
    alpha: float

    @property
    def abstained(self) -> int:
        """Samples without an answer."""
        return int((self.answers == ABSTAINED).sum())

    def figure(self, radius: float) -> Figure:
        """Certified accuracy: the share answered correctly, whatever happens inside the radius.

        Args:
            radius: L2 radius, in units of the input, at least 0.
        """
        if not radius >= 0:
            raise UsageError(f"radius: expected at least 0, got {radius}")
        correct = (self.answers == self.labels) & (self.radii >= radius)
        params = {
            "norm": "l2",
            "radius": radius,
            "sigma": self.sigma,
            "draws": self.draws,
            "alpha": self.alpha,
            "abstained": self.abstained,
        }
        return Figure(
            name="certified",
            params=params,
            hits=int(correct.sum()),
            n=len(correct),
            outcomes=Outcomes(correct=correct, examples=None),
        )


def certify(
    model_or_adapter: Any,
    x: Any,
    y: Any,
    *,
    sigma: float,
    draws: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
    batch_size: int = 1000,
    progress: Progress | None = None,
) -> Certificate:
    """Prove a radius for each sample.

    A model that was not trained with such noise is seldom certain of anything.

    Args:
        model_or_adapter: A framework's model, or an Adapter; left as it was.
        x: Inputs `(n, *shape)`. The noise is not clipped to any bounds.
        y: True labels `(n,)`, integers.
        sigma: Standard deviation of the noise, in units of the input.
        draws: Noisy copies of each sample that count, besides 100 that choose its class. The
            largest radius that can be proven grows with it.
        alpha: Chance of a wrong radius per sample, in (0, 1).
        seed: Seed; each sample's noise depends on it and on the sample's row alone.
        batch_size: Noisy copies per call of the model.
        progress: Called with (samples done, samples in all).

    Raises:
        UsageError: The data or an option cannot be used.

    Source:
        Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing"
        (2019), section 3.2.2, CERTIFY.
    """
    inputs, labels = np.asarray(x, dtype=np.float32), np.asarray(y)
    if not len(inputs) or labels.shape != (len(inputs),) or labels.dtype.kind not in "iu":
        raise UsageError(
            f"expected x of shape (n, *shape), n >= 1, and y of n integers; got {inputs.shape} and "
            f"{labels.shape} of {labels.dtype}"
        )
    if not sigma > 0 or not 0 < alpha < 1 or draws < 1 or batch_size < 1 or seed < 0:
        raise UsageError(
            "expected sigma > 0, alpha in (0, 1), draws and batch_size >= 1 and seed >= 0, got "
            f"{sigma}, {alpha}, {draws}, {batch_size} and {seed}"
        )
    adapter = adapt(model_or_adapter)
    votes = _Votes(adapter=adapter, sigma=sigma, batch_size=batch_size)
    answers = np.full(len(inputs), ABSTAINED, dtype=np.int64)
    radii = np.zeros(len(inputs))
    for row, sample in enumerate(inputs):
        rng = np.random.default_rng([seed, 4, row])
        best = int(votes.count(sample, _FIRST, rng).argmax())
        probability = _at_least(int(votes.count(sample, draws, rng)[best]), draws, alpha)
        if probability > 0.5:  # noqa: PLR2004 - a majority, else another class may be as likely
            answers[row], radii[row] = best, sigma * NormalDist().inv_cdf(probability)
        if progress is not None:
            progress(row + 1, len(inputs))
    return Certificate(
        answers=answers,
        radii=radii,
        labels=labels.astype(np.int64),
        sigma=sigma,
        draws=draws,
        alpha=alpha,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Votes:
    """Counts a model's answers under noise."""

    adapter: Adapter
    sigma: float
    batch_size: int

    def count(self, sample: Array, draws: int, rng: np.random.Generator) -> Labels:
        """How often each class was answered."""
        total: Labels | None = None
        for start in range(0, draws, self.batch_size):
            size = min(self.batch_size, draws - start)
            noise = rng.standard_normal((size, *sample.shape), dtype=np.float32)
            logits = self.adapter.logits(sample + np.float32(self.sigma) * noise)
            sane = logits[~np.isnan(logits).any(axis=1)]  # NaN is an answer of no class
            counts = np.bincount(sane.argmax(axis=1), minlength=logits.shape[1])
            total = counts if total is None else total + counts
        return np.zeros(0, dtype=np.int64) if total is None else total


@lru_cache(maxsize=4096)
def _at_least(hits: int, draws: int, alpha: float) -> float:
    """Lower bound of the class's probability; most samples share a few counts."""
    return clopper_pearson(hits, draws, confidence=1 - alpha).low
