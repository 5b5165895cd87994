"""Random noise in the ball, and common corruptions of images.

samples, severity, seed → `Noise` or `Corruption` → perturbed samples, without an adversary
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

import numpy as np

from mlsecops._choices import one_of, whole
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.base import Searching, require_ball
from mlsecops.robustness.attacks.image_layout import from_chw, to_chw
from mlsecops.robustness.attacks.losses import is_correct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Batch

    Image: TypeAlias = NDArray[np.float64]


@concise_repr()
@dataclass(frozen=True, slots=True)
class Noise(Searching):
    """Random points of the ball: the baseline that an attack has to beat.

    Attributes:
        eps: Radius of the ball, in units of the input.
        norm: `"linf"` or `"l2"`.
        draws: Points tried for each sample.

    Examples:
        >>> Noise(0.5, norm="l2").params
        {'norm': 'l2', 'eps': 0.5, 'draws': 10}
    """

    needs_gradients: ClassVar[bool] = False
    _label: ClassVar[str] = "noise"
    _reported: ClassVar[tuple[str, ...]] = ("norm", "eps", "draws")
    eps: float
    _: KW_ONLY
    norm: Norm = "linf"
    draws: int = 10

    def __post_init__(self) -> None:
        require_ball("Noise", self.eps, self.norm)
        whole("Noise: draws", self.draws, "a number from 1 on")

    def search(self, batch: Batch) -> Array:
        """Examples for one batch; a misclassified sample gets no further draws."""
        examples = batch.ball.x.copy()
        left = np.arange(len(batch))
        for turn in range(self.draws):
            remaining = batch.rows(left)
            examples[left] = remaining.ball.scatter(remaining.seeds(turn))
            left = left[is_correct(remaining.scores(examples[left], remaining.y), remaining.y)]
            if not len(left):
                break
        return examples


@concise_repr()
@dataclass(frozen=True, slots=True)
class Corruption(Searching):
    """Common corruption of images (noise, blur, contrast, …), without a ball.

    Attributes:
        kind: One of `KINDS`; blur, contrast and pixelate need images.
        severity: From 1 to 5.

    Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions
    and perturbations" (2019); the severities are those of its CIFAR-10-C, the blur is a Gaussian
    one in place of glass and lens, and brightness is added in RGB.

    Examples:
        >>> Corruption("blur", severity=2).name
        'blur'
    """

    needs_gradients: ClassVar[bool] = False
    _reported: ClassVar[tuple[str, ...]] = ("kind", "severity")
    kind: str
    _: KW_ONLY
    severity: int = 3

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        if self.severity not in range(1, 6):
            raise UsageError(f"Corruption: expected a severity from 1 to 5, got {self.severity}")

    @property
    def name(self) -> str:
        """The kind."""
        return self.kind

    @property
    def eps(self) -> float:
        """Infinite."""
        return math.inf

    def search(self, batch: Batch) -> Array:
        """The corrupted samples."""
        low, span = batch.low, batch.high - batch.low
        if not (np.isfinite(span).all() and (span > 0).all()):
            raise UsageError(f"{self.kind}: expected finite bounds around every value")
        first = batch.adapter.channels_first
        unit = to_chw((batch.ball.x.astype(np.float64) - low) / span, channels_first=first)
        corrupt, severities = KINDS[self.kind]
        amount = severities[self.severity - 1]
        rows = [
            corrupt(image, amount, np.random.default_rng(seed))
            for image, seed in zip(unit, batch.seeds(), strict=True)
        ]
        images = np.clip(np.stack(rows), 0.0, 1.0) if rows else unit
        changed = from_chw(images, low, channels_first=first)
        return batch.ball.project(low + span * changed)


def _gaussian(image: Image, deviation: float, rng: np.random.Generator) -> Image:
    return image + deviation * rng.standard_normal(image.shape)


def _shot(image: Image, photons: float, rng: np.random.Generator) -> Image:
    return rng.poisson(np.clip(image, 0, 1) * photons) / photons


def _impulse(image: Image, share: float, rng: np.random.Generator) -> Image:
    drawn = rng.random(image.shape)
    return np.where(drawn < share / 2, 0.0, np.where(drawn > 1 - share / 2, 1.0, image))


def _blur(image: Image, deviation: float, _: np.random.Generator) -> Image:
    reach = max(1, math.ceil(3 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2):
        widths = [(reach, reach) if each == axis else (0, 0) for each in range(image.ndim)]
        padded = np.pad(image, widths, mode="edge")
        image = np.apply_along_axis(np.convolve, axis, padded, kernel, "valid")
    return image


def _brightness(image: Image, by: float, _: np.random.Generator) -> Image:
    return image + by


def _contrast(image: Image, share: float, _: np.random.Generator) -> Image:
    mean: Image = image.mean(axis=(1, 2), keepdims=True)
    return (image - mean) * share + mean


def _pixelate(image: Image, share: float, _: np.random.Generator) -> Image:
    for axis in (1, 2):
        size = image.shape[axis]
        coarse = max(1, int(size * share))
        cells = np.arange(size) * coarse // size
        means = [image.take(np.flatnonzero(cells == c), axis=axis).mean(axis=axis)
                 for c in range(coarse)]  # fmt: skip
        image = np.stack(means, axis=axis).take(cells, axis=axis)
    return image


_Corrupt: TypeAlias = "Callable[[Image, float, np.random.Generator], Image]"
# Severities 1 to 5 of CIFAR-10-C: Hendrycks and Dietterich (2019).
KINDS: Final[dict[str, tuple[_Corrupt, tuple[float, ...]]]] = {
    "gaussian-noise": (_gaussian, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot-noise": (_shot, (500, 250, 100, 75, 50)),
    "impulse-noise": (_impulse, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "blur": (_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
}
