"""What chance does to a model: noise in the ball, and the common corruptions of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.base import Searching, require_norm, require_radius
from mlsecops.robustness.attacks.image_layout import Planes
from mlsecops.robustness.attacks.margins import is_correct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Batch

    Image: TypeAlias = NDArray[np.float64]

__all__ = ["KINDS", "Corruption", "Noise"]

_GREYEST: Final = 3  # axes of an image in planes


@dataclass(frozen=True, slots=True)
class Noise(Searching):
    """Points drawn from the ball: what an attack has to beat to be one.

    Attributes:
        eps: Radius of the ball, in units of the input.
        norm: `"linf"` or `"l2"`.
        draws: Points tried for each sample.
    """

    needs_gradients: ClassVar[bool] = False
    eps: float
    _: KW_ONLY
    norm: Norm = "linf"
    draws: int = 10

    def __post_init__(self) -> None:
        require_radius("Noise", self.eps)
        require_norm("Noise", self.norm)
        if self.draws < 1:
            raise UsageError(f"Noise: expected draws >= 1, got {self.draws}")

    @property
    def name(self) -> str:
        """`"noise"`, or `"noise-l2"`."""
        return "noise" if self.norm == "linf" else f"noise-{self.norm}"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"norm": self.norm, "eps": self.eps, "draws": self.draws}

    def search(self, batch: Batch) -> Array:
        """Examples for one batch; a sample that was fooled is drawn no more."""
        examples = batch.ball.x.copy()
        left = np.arange(len(batch))
        for turn in range(self.draws):
            some = batch.rows(left)
            examples[left] = some.ball.scatter(some.seeds(turn))
            stands = is_correct(batch.adapter.logits(examples[left]), some.y)
            left = left[stands]
            if not len(left):
                break
        return examples


@dataclass(frozen=True, slots=True)
class Corruption(Searching):
    """What cameras, networks and weather do to images; keeps to no ball, and is no attacker.

    Attributes:
        kind: One of `KINDS`; those of images need height and width.
        severity: From 1 to 5.

    Source:
        Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions
        and perturbations" (2019); the severities are those of its CIFAR-10-C, the blur is a
        Gaussian one in place of glass and lens, and brightness is added in RGB.
    """

    needs_gradients: ClassVar[bool] = False
    kind: str
    _: KW_ONLY
    severity: int = 3

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"Corruption: expected one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.severity not in range(1, 6):
            raise UsageError(f"Corruption: expected a severity from 1 to 5, got {self.severity}")

    @property
    def name(self) -> str:
        """The kind."""
        return self.kind

    @property
    def norm(self) -> Norm:
        """`"linf"`."""
        return "linf"

    @property
    def eps(self) -> float:
        """Infinite."""
        return math.inf

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"kind": self.kind, "severity": self.severity}

    def search(self, batch: Batch) -> Array:
        """The corrupted samples."""
        low, span = batch.low, batch.high - batch.low
        if not (np.isfinite(span).all() and (span > 0).all()):
            raise UsageError(f"{self.kind}: expected finite bounds around every value")
        planes = Planes(shape=low.shape[1:], channels_first=batch.adapter.channels_first)
        unit = planes.of((batch.ball.x.astype(np.float64) - low) / span)
        corrupt, severities = KINDS[self.kind]
        amount = severities[self.severity - 1]
        rows = [
            corrupt(image, amount, np.random.default_rng(seed))
            for image, seed in zip(unit, batch.seeds(), strict=True)
        ]
        changed = planes.back(np.clip(np.stack(rows), 0.0, 1.0)) if rows else planes.back(unit)
        return batch.ball.project(low + span * changed)


def _gaussian(image: Image, deviation: float, rng: np.random.Generator) -> Image:
    return image + deviation * rng.standard_normal(image.shape)


def _shot(image: Image, photons: float, rng: np.random.Generator) -> Image:
    arrived: Image = rng.poisson(np.clip(image, 0, 1) * photons) / photons
    return arrived


def _impulse(image: Image, share: float, rng: np.random.Generator) -> Image:
    drawn = rng.random(image.shape)
    return np.where(drawn < share / 2, 0.0, np.where(drawn > 1 - share / 2, 1.0, image))


def _blur(image: Image, deviation: float, _: np.random.Generator) -> Image:
    reach = max(1, math.ceil(3 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2):
        widths = [(reach, reach) if each == axis else (0, 0) for each in range(_GREYEST)]
        padded = np.pad(image, widths, mode="edge")
        image = np.apply_along_axis(np.convolve, axis, padded, kernel, "valid")
    return image


def _brightness(image: Image, by: float, _: np.random.Generator) -> Image:
    return image + by


def _contrast(image: Image, share: float, _: np.random.Generator) -> Image:
    mean: Image = image.mean(axis=(1, 2), keepdims=True)
    return (image - mean) * share + mean


def _pixelate(image: Image, share: float, _: np.random.Generator) -> Image:
    """Each pixel takes the value of the coarse pixel it lies in."""
    for axis in (1, 2):
        size = image.shape[axis]
        coarse = max(1, int(size * share))
        cells = np.arange(size) * coarse // size
        means = [image.take(np.flatnonzero(cells == c), axis=axis).mean(axis=axis)
                 for c in range(coarse)]  # fmt: skip
        image = np.stack(means, axis=axis).take(cells, axis=axis)
    return image


_Corrupt: TypeAlias = "Callable[[Image, float, np.random.Generator], Image]"
KINDS: Final[dict[str, tuple[_Corrupt, tuple[float, ...]]]] = {
    "gaussian-noise": (_gaussian, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot-noise": (_shot, (500, 250, 100, 75, 50)),
    "impulse-noise": (_impulse, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "blur": (_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
}
