from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops.robustness import (
    FGSM,
    PGD,
    Attack,
    HopSkipJump,
    Noise,
    RobustnessReport,
    Square,
    evaluate_robustness,
)
from mlsecops.robustness.attacks.ball import Ball
from mlsecops.robustness.evaluation.binarization_test import Altered, readout
from tests.attackers.robustness import Disguised, SoftmaxRegression, with_zero_gradients

BOUNDS = (0.0, 1.0)


@pytest.fixture
def many_class() -> SoftmaxRegression:
    rng = np.random.default_rng(0)
    return SoftmaxRegression(
        weights=rng.normal(size=(12, 5)).astype(np.float32), bias=np.zeros(5, dtype=np.float32)
    )


@pytest.fixture
def data(many_class: SoftmaxRegression) -> Any:
    x = np.random.default_rng(1).random((80, 12), dtype=np.float32)
    return x, many_class.logits(x).argmax(axis=1)


def outcome(report: RobustnessReport, name: str = "altered-model") -> Any:
    return {check.name: check.outcome for check in report.checks}[name]


def test_readout_leaves_the_sample_on_one_side_and_a_point_of_the_ball_on_the_other(
    many_class: SoftmaxRegression, data: Any
) -> None:
    x, _ = data
    for i in range(20):
        ball = Ball.around(x[i : i + 1], norm="linf", eps=0.1, bounds=BOUNDS)
        made = readout(many_class, ball, key=[0, i])
        assert made is not None
        model = Altered(inner=many_class, weights=made[0], threshold=made[1])
        assert model.logits(ball.x).argmax() == 0
        corners = np.where(
            np.random.default_rng(2).random((20_000, 12)) < 0.5, ball.lower, ball.upper
        )
        assert model.logits(corners.astype(np.float32)).argmax(axis=1).any()


def test_gradient_of_an_altered_model_equals_finite_differences(
    many_class: SoftmaxRegression, data: Any
) -> None:
    x, y = data[0][:4], np.array([0, 1, 0, 1])
    weights = np.array([1.0, -2.0, 0.5, 0.25, 0.25])
    model = Altered(inner=many_class, weights=weights, threshold=0.3)
    _, gradient = model.loss_gradient(x, y)

    def loss(values: Any) -> Any:
        z = model.logits(values).astype(np.float64)
        return np.log(np.exp(z).sum(axis=1)) - z[np.arange(4), y]

    for place in (0, 7):
        step = np.zeros(12, dtype=np.float32)
        step[place] = 1e-2
        numeric = (loss(x + step) - loss(x - step)) / 2e-2
        assert np.allclose(gradient[:, place], numeric, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize(
    "attack", [FGSM(0.05), PGD(0.05, steps=10), PGD(0.1, norm="l2", steps=10), Square(0.05)]
)
def test_strong_attack_finds_what_must_exist(
    many_class: SoftmaxRegression, data: Any, attack: Attack
) -> None:
    assert outcome(evaluate_robustness(many_class, *data, [attack])) == "pass"


@pytest.mark.parametrize(
    "attack",
    [
        Noise(0.05),
        PGD(0.05, steps=10, step=1e-4),
        Square(0.05, queries=2),
        HopSkipJump(0.05, queries=60),
    ],
)
def test_weak_attack_does_not_and_the_report_says_so(
    many_class: SoftmaxRegression, data: Any, attack: Attack
) -> None:
    assert outcome(evaluate_robustness(many_class, *data, [attack])) == "fail"


def test_attack_on_a_model_without_gradients_is_tested_too(
    many_class: SoftmaxRegression, data: Any
) -> None:
    masked = with_zero_gradients(many_class)
    assert outcome(evaluate_robustness(masked, *data, [PGD(0.05, steps=10)])) == "fail"
    many_class.differentiable = False
    report = evaluate_robustness(many_class, *data, [Square(0.05, queries=300)])
    assert {check.name: check.outcome for check in report.checks} == {
        "deterministic": "pass",
        "output-range": "pass",
        "random-search": "pass",
        "altered-model": "pass",
        "stateless": "pass",
        "eps-unit": "pass",
        "batch-invariant": "pass",
    }


def test_model_that_does_not_look_at_its_input_passes_no_test(
    many_class: SoftmaxRegression, data: Any
) -> None:
    x, _ = data
    blind = Disguised(many_class, on_scores=lambda s: np.tile([2, 1, 0, 0, 0], (len(s), 1)) * 1.0)
    report = evaluate_robustness(blind, x, np.zeros(len(x), dtype=int), [PGD(0.05, steps=3)])
    assert outcome(report) == "fail"
