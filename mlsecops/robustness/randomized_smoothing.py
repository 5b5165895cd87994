"""Randomized smoothing: certified L2 radius of each sample.

model, samples, Gaussian noise → class votes → `Certificate`

The certificate proves, up to `alpha`, the answer of the *smoothed* model: the class that the given
model predicts most often under Gaussian noise. It does not apply to the model without noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from mlsecops._choices import checked
from mlsecops._intervals import clopper_pearson
from mlsecops._repr import concise_repr
from mlsecops.adapters import adapt
from mlsecops.adapters.answers.class_names import label_columns
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.base import require_samples
from mlsecops.robustness.report import Figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks.base import Progress

ABSTAINED: Final = -1  # predicted class where none is certain enough; chosen: no class has it
_FIRST: Final = 100  # draws that only select the class (n0); Cohen et al. (2019), section 4


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certificate:
    """Certified radii of the smoothed model.

    Attributes:
        answers: Class of each sample, int64 `(n,)`; `ABSTAINED` where none is certain.
        radii: L2 radius in which the answer cannot change `(n,)`, in units of the input, or 0.
        labels: True labels `(n,)`.
        sigma: Standard deviation of the noise, in units of the input.
        draws: Noisy copies of each sample.
        alpha: Largest probability that one sample's radius is wrong.

    Examples:
        >>> arrays = {"answers": np.array([0, -1]), "labels": np.array([0, 1])}
        >>> options = {"radii": np.array([0.5, 0.0]), "sigma": 0.25, "draws": 1000, "alpha": 0.001}
        >>> certificate = Certificate(**arrays, **options)
        >>> certificate.figure(0.2).hits, certificate.abstained
        (1, 1)
    """

    answers: NDArray[np.int64]
    radii: NDArray[np.float64]
    labels: NDArray[np.int64]
    sigma: float
    draws: int
    alpha: float

    @property
    def abstained(self) -> int:
        """Number of samples without an answer."""
        return int((self.answers == ABSTAINED).sum())

    def figure(self, radius: float) -> Figure:
        """Certified accuracy: the share answered correctly everywhere inside an L2 radius.

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
        return Figure.of("certified", correct, params=params)


@checked
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
    """Certify an L2 radius for each sample.

    A model that was not trained with such noise is rarely certain of any class.

    Args:
        model_or_adapter: A framework's model, or an Adapter; unchanged.
        x: Inputs `(n, *shape)`. The noise is not clipped to any bounds.
        y: True labels `(n,)`, integers.
        sigma: Standard deviation of the noise, in units of the input.
        draws: Noisy copies of each sample that estimate the probability, after 100 that select
            its class. The largest radius that can be proven grows with it.
        alpha: Probability of a wrong radius per sample, in (0, 1).
        seed: Seed; each sample's noise depends only on it and on the sample's row.
        batch_size: Noisy copies per call of the model.
        progress: Called with (samples done, samples in all).

    Raises:
        UsageError: The data or an option cannot be used.

    Source: Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing"
    (2019), section 3.2.2, CERTIFY.
    """
    inputs, names = require_samples(np.asarray(x, dtype=np.float32), y)
    if not sigma > 0 or not 0 < alpha < 1 or draws < 1 or batch_size < 1 or seed < 0:
        raise UsageError(
            "expected sigma > 0, alpha in (0, 1), draws and batch_size >= 1 and seed >= 0, got "
            f"{sigma}, {alpha}, {draws}, {batch_size} and {seed}"
        )
    adapter = adapt(model_or_adapter)
    labels = label_columns(adapter, names)
    votes = partial(_votes, adapter, sigma=sigma, size=batch_size)
    answers = np.full(len(inputs), ABSTAINED, dtype=np.int64)
    radii = np.zeros(len(inputs))
    for row, sample in enumerate(inputs):
        rng = np.random.default_rng([seed, 4, row])
        best = int(votes(sample, rng, draws=_FIRST).argmax())
        probability = _at_least(int(votes(sample, rng, draws=draws)[best]), draws, alpha)
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


def _votes(
    adapter: Adapter,
    sample: Array,
    rng: np.random.Generator,
    *,
    draws: int,
    sigma: float,
    size: int,
) -> Labels:
    """Number of answers by class under noise."""
    counts = []
    for start in range(0, draws, size):
        shape = (min(size, draws - start), *sample.shape)
        noise = rng.standard_normal(shape, dtype=np.float32)
        logits = adapter.logits(sample + np.float32(sigma) * noise)
        sane = logits[~np.isnan(logits).any(axis=1)]  # NaN scores vote for no class
        counts.append(np.bincount(sane.argmax(axis=1), minlength=logits.shape[1]))
    return cast("Labels", np.sum(counts, axis=0))


@lru_cache(maxsize=4096)
def _at_least(hits: int, draws: int, alpha: float) -> float:
    """Lower bound of the class's probability; cached, since most samples share a few values."""
    return clopper_pearson(hits, draws, confidence=1 - alpha).low
