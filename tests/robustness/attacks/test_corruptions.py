from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.robustness import PGD, Corruption, Gate, Noise, evaluate_robustness
from mlsecops.robustness.attacks.corruptions import KINDS
from tests.attackers.robustness import SoftmaxRegression
from tests.robustness.conftest import Samples


def images(shape: Any = (12, 10, 3)) -> Any:
    rng = np.random.default_rng(0)
    smooth = rng.random((8, 1, 1, 1)) * np.ones((8, *shape))
    smooth[:, 3:7, 2:8] = 0.9
    return np.clip(smooth + 0.1 * rng.random(smooth.shape), 0, 1).astype(np.float32)


def regression(size: Any) -> Any:
    rng = np.random.default_rng(1)
    return SoftmaxRegression(
        weights=rng.normal(size=(size, 3)).astype(np.float32), bias=np.zeros(3, dtype=np.float32)
    )


def corrupted(
    kind: str, severity: Any, *, bounds: Any = (0, 1), x: NDArray[np.float32] | None = None
) -> Any:
    x = images() if x is None else x
    return Corruption(kind, severity=severity).perturb(
        regression(x[0].size), x, np.zeros(len(x), dtype=int), seed=0, bounds=bounds
    )


@pytest.mark.parametrize("kind", KINDS)
def test_corruption_grows_with_its_severity_and_stays_in_the_bounds(kind: str) -> None:
    x = images()
    distances = [np.abs(corrupted(kind, s) - x).mean() for s in (1, 5)]
    assert 0 < distances[0] < distances[1]
    harsh = corrupted(kind, 5)
    assert harsh.shape == x.shape
    assert harsh.dtype == np.float32
    assert 0 <= harsh.min() <= harsh.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_corruption_is_the_same_in_other_units(kind: str) -> None:
    scaled = corrupted(kind, 3, bounds=(0, 255), x=images() * 255)
    assert np.allclose(
        scaled / 255, corrupted(kind, 3), atol=2e-2 if kind == "shot-noise" else 1e-4
    )


@pytest.mark.parametrize("kind", ["blur", "pixelate"])
def test_channels_are_not_mixed(kind: str) -> None:
    x = images()
    x[..., 1] = 0
    assert np.abs(corrupted(kind, 5, x=x)[..., 1]).max() < 1e-6


def test_blur_keeps_a_flat_image() -> None:
    flat = np.full((2, 9, 9), 0.4, dtype=np.float32)
    assert np.allclose(corrupted("blur", 5, x=flat), flat, atol=1e-6)


def test_corruption_without_bounds_is_refused() -> None:
    with pytest.raises(UsageError, match="finite bounds"):
        corrupted("contrast", 3, bounds=(0, np.inf))


def test_noise_is_weaker_than_an_attack(two_class: SoftmaxRegression, samples: Samples) -> None:
    report = evaluate_robustness(two_class, *samples, [Noise(0.11), PGD(0.11, steps=10)])
    assert 1.0 >= report.attacks["noise"].accuracy > report.attacks["pgd"].accuracy


def test_corruptions_are_figures_beside_attacks(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    attacks = [Corruption("gaussian-noise", severity=5), PGD(0.11, steps=10)]
    report = evaluate_robustness(two_class, *samples, attacks)
    assert report.attacks["gaussian-noise"].accuracy > 0.8
    assert {check.outcome for check in report.checks} == {"pass"}
    assert Gate(min_accuracy=0.4).judge(report).verdict == "pass"
