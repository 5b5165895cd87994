"""Duties of every attack, whichever way it searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.robustness import (
    APGD,
    FGSM,
    PGD,
    Corruption,
    HopSkipJump,
    Noise,
    Square,
    evaluate_robustness,
)
from mlsecops.robustness.attacks.base import Attack
from mlsecops.robustness.attacks.losses import is_correct
from tests.attackers.robustness import (
    Disguised,
    SoftmaxRegression,
    with_nan_scores,
    with_zero_gradients,
)
from tests.robustness.conftest import Samples

BOUNDS = (0.0, 1.0)
EPS = 0.11
GRADIENT = [
    FGSM(EPS),
    PGD(EPS, steps=10),
    APGD(EPS, steps=20),
    APGD(EPS, steps=20, loss="dlr"),
    APGD(EPS, steps=20, loss="targeted-dlr"),
]
BLIND = [Square(EPS, queries=300), HopSkipJump(EPS, queries=2000)]
IN_BALL = [
    *GRADIENT,
    *BLIND,
    Noise(EPS, draws=3),
    PGD(0.3, norm="l2", steps=10),
    APGD(0.3, norm="l2", steps=20),
    HopSkipJump(0.3, norm="l2", queries=1000),
    Noise(0.3, norm="l2"),
]


def names(attacks: Sequence[Attack]) -> Any:
    return [attack.name for attack in attacks]


def survivors(model: Any, attack: Attack, x: NDArray[np.float32], y: NDArray[np.int64]) -> Any:
    examples = attack.perturb(model, x, y, seed=0, bounds=BOUNDS)
    return is_correct(model.logits(examples), y)


@pytest.mark.parametrize("attack", [*GRADIENT, *BLIND], ids=names([*GRADIENT, *BLIND]))
def test_exactly_the_samples_within_eps_of_the_boundary_are_fooled(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    x, y = samples
    distance = np.abs(x[:, 0] - 0.5)
    assert (survivors(two_class, attack, x, y) == (distance > EPS)).all()


@pytest.mark.parametrize(
    "attack", [APGD(0.36, norm="l2", steps=30), HopSkipJump(0.36, norm="l2", queries=6000)]
)
def test_l2_radius_is_that_of_the_whole_input(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    x, y = samples
    distance = np.abs(x[:, 0] - 0.5) * np.sqrt(10)
    assert (survivors(two_class, attack, x, y) == (distance > 0.36)).all()


@pytest.mark.parametrize("attack", IN_BALL, ids=names(IN_BALL))
def test_examples_stay_inside_the_ball_and_the_bounds(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    x, y = samples
    x = np.clip(x * 2 - 0.5, 0, 1)
    examples = attack.perturb(two_class, x, y, seed=1, bounds=BOUNDS)
    offset = (examples.astype(float) - x).reshape(len(x), -1)
    order = np.inf if attack.norm == "linf" else 2
    assert np.linalg.norm(offset, ord=order, axis=1).max() <= attack.eps + 1e-6
    assert examples.min() >= 0
    assert examples.max() <= 1
    assert examples.dtype == np.float32
    assert examples.shape == x.shape


@pytest.mark.parametrize("attack", IN_BALL, ids=names(IN_BALL))
def test_a_sample_s_example_depends_on_its_index_and_not_on_its_batch(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    x, y = samples
    rows = np.array([3, 41, 77, 120, 158, 199])
    whole = attack.perturb(two_class, x, y, seed=3, bounds=BOUNDS)
    some = attack.perturb(
        two_class, x[rows], y[rows], seed=3, bounds=BOUNDS, index=rows, batch_size=2
    )
    assert np.allclose(whole[rows], some, atol=1e-6)


@pytest.mark.parametrize("attack", IN_BALL, ids=names(IN_BALL))
def test_every_attack_fits_the_protocol_and_tells_its_settings(attack: Attack) -> None:
    assert isinstance(attack, Attack)
    assert attack.params["eps"] == attack.eps
    assert attack.params["norm"] == attack.norm


@pytest.mark.parametrize("attack", [*BLIND, Noise(EPS)], ids=names([*BLIND, Noise(EPS)]))
def test_attacks_by_answers_need_no_gradient(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    x, y = samples
    two_class.differentiable = False
    two_class.loss_gradient = None
    survivors(two_class, attack, x, y)


@pytest.mark.parametrize("attack", GRADIENT[2:], ids=names(GRADIENT[2:]))
def test_gradient_attacks_refuse_a_model_without_gradients(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    two_class.differentiable = False
    with pytest.raises(UsageError, match="needs gradients"):
        survivors(two_class, attack, *samples)


def test_label_attack_heeds_nothing_but_labels(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    def answers(scores: Any) -> Any:
        return np.eye(2, dtype=np.float32)[scores.argmax(axis=1)]

    x, y = samples
    distance = np.abs(x[:, 0] - 0.5)
    stands = survivors(Disguised(two_class, on_scores=answers), HopSkipJump(EPS), x, y)
    assert (stands == (distance > EPS)).all()


@pytest.mark.parametrize("attack", [Square(EPS, queries=50), HopSkipJump(EPS, queries=300)])
def test_query_budget_is_kept(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    x, y = samples
    far = np.abs(x[:, 0] - 0.5) > 0.15
    model = Disguised(two_class)
    attack.perturb(model, x[far], y[far], seed=0, bounds=BOUNDS)
    estimate = 0 if attack.name == "square" else 200
    assert sum(model.seen) <= (attack.queries + estimate) * far.sum()


@pytest.mark.parametrize("attack", [*GRADIENT[1:], BLIND[0]], ids=names([*GRADIENT[1:], BLIND[0]]))
def test_fooled_samples_are_asked_about_no_more(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    x, y = samples
    near = np.abs(x[:, 0] - 0.5) < 0.05
    cost = {}
    for name, rows in (("near", near), ("far", ~near)):
        model = Disguised(two_class)
        attack.perturb(model, x[rows], y[rows], seed=0, bounds=BOUNDS)
        cost[name] = sum(model.seen) / rows.sum()
    assert cost["near"] < 0.7 * cost["far"]


@pytest.mark.parametrize("attack", GRADIENT[2:] + BLIND, ids=names(GRADIENT[2:] + BLIND))
def test_scores_that_are_not_numbers_end_the_search(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    report = evaluate_robustness(two_class, *samples, [attack], checks=False)
    assert report.worst.accuracy == 0.5
    assert not survivors(with_nan_scores(two_class), attack, *samples).any()


def test_square_sees_through_a_model_that_hides_its_gradient(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    masked = with_zero_gradients(two_class)
    masked.on_gradient = lambda _, gradient: np.zeros_like(gradient)
    x, y = samples
    weak = survivors(masked, APGD(EPS, steps=10), x, y)
    strong = survivors(masked, Square(EPS, queries=300), x, y)
    assert weak.mean() > strong.mean() == 0.5


def test_restarts_of_apgd_only_take_what_the_earlier_ones_left(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    model = Disguised(two_class)
    APGD(EPS, steps=10, restarts=2).perturb(model, *samples, seed=0, bounds=BOUNDS)
    assert model.seen[0] == len(samples[0])
    assert model.seen[-1] == 100


@pytest.mark.parametrize(
    "build",
    [
        lambda: APGD(0),
        lambda: APGD(0.1, steps=0),
        lambda: APGD(0.1, loss="mse"),
        lambda: APGD(0.1, norm="l1"),
        lambda: APGD(0.1, targets=0),
        lambda: Square(float("inf")),
        lambda: Square(0.1, queries=0),
        lambda: Square(0.1, share=0),
        lambda: HopSkipJump(-1),
        lambda: HopSkipJump(0.1, norm="l1"),
        lambda: HopSkipJump(0.1, queries=0),
        lambda: Noise(0.1, draws=0),
        lambda: Corruption("fog-of-war"),
        lambda: Corruption("blur", severity=6),
    ],
)
def test_settings_that_cannot_work_are_refused(build: Any) -> None:
    with pytest.raises(UsageError):
        build()


def test_label_attack_refuses_infinite_bounds(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    with pytest.raises(UsageError, match="finite bounds"):
        HopSkipJump(0.1).perturb(two_class, *samples, seed=0, bounds=(-np.inf, np.inf))
