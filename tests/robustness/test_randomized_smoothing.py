from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.robustness import PGD, certify, evaluate_robustness
from mlsecops.robustness.randomized_smoothing import ABSTAINED
from tests.attackers.robustness import SoftmaxRegression, with_nan_scores
from tests.robustness.conftest import Samples

SIGMA = 0.25


def true_radius(x: NDArray[np.float32]) -> Any:
    """A linear model's smoothed twin is the model itself: the radius is the boundary's distance."""
    return np.abs(x[:, 0] - 0.5) * np.sqrt(10)


def test_certified_radii_are_below_the_true_ones_as_often_as_promised(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = np.tile(samples[0], (2, 1)), np.tile(samples[1], 2)
    alpha = 0.1
    certificate = certify(two_class, x, y, sigma=SIGMA, draws=300, alpha=alpha, seed=3)
    wrong = int((certificate.radii > true_radius(x) + 1e-6).sum())
    assert 0 < wrong <= 55  # 40 of 400 are expected at most; above 55 with a chance under 1 %
    sure = certificate.radii > 0
    assert np.median(certificate.radii[sure] / true_radius(x)[sure]) > 0.8


def test_certified_accuracy_is_below_what_an_attack_leaves(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    certificate = certify(two_class, x, y, sigma=SIGMA, draws=1000, seed=1)
    report = evaluate_robustness(two_class, x, y, [PGD(0.3, norm="l2", steps=10)], checks=False)
    proven = certificate.figure(0.3)
    assert 0 < proven.hits <= report.worst.hits
    assert certificate.figure(0.0).hits > certificate.figure(0.2).hits > proven.hits
    assert report.with_certified(proven).to_dict()["certified"]["params"]["radius"] == 0.3


def test_more_draws_prove_larger_radii_up_to_the_limit(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    few, many = (certify(two_class, *samples, sigma=SIGMA, draws=n).radii.max() for n in (50, 2000))
    assert few < many


def test_no_radius_is_claimed_where_no_class_is_certain(two_class: SoftmaxRegression) -> None:
    x = np.full((20, 10), 0.5, dtype=np.float32)
    certificate = certify(two_class, x, np.zeros(20, int), sigma=SIGMA, draws=200)
    assert (certificate.answers == ABSTAINED).all()
    assert certificate.abstained == 20
    assert certificate.figure(0).hits == 0


def test_a_wrong_answer_is_no_certified_accuracy(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    certificate = certify(two_class, x, 1 - y, sigma=SIGMA, draws=200)
    assert certificate.radii.max() > 0
    assert certificate.figure(0).hits == 0


def test_scores_that_are_not_numbers_are_no_answer(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    certificate = certify(with_nan_scores(two_class), *samples, sigma=SIGMA, draws=100)
    assert certificate.abstained == len(samples[0])


def test_the_same_seed_proves_the_same_whatever_the_batch(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    first, second, other = (
        certify(two_class, *samples, sigma=SIGMA, draws=120, batch_size=size, seed=seed).radii
        for size, seed in ((1000, 0), (7, 0), (1000, 1))
    )
    assert (first == second).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    "options",
    [{"sigma": 0}, {"sigma": 1, "alpha": 1}, {"sigma": 1, "draws": 0}, {"sigma": 1, "seed": -1}],
)
def test_what_cannot_be_certified_is_wrong_use(
    two_class: SoftmaxRegression, samples: Samples, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="sigma"):
        certify(two_class, *samples, **options)


def test_data_or_radius_that_cannot_work_are_wrong_use(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    with pytest.raises(UsageError, match="of n labels"):
        certify(two_class, samples[0], samples[1][:3], sigma=1)
    with pytest.raises(UsageError, match="radius"):
        certify(two_class, *samples, sigma=1, draws=10).figure(-1)
