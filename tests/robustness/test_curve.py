from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.robustness import (
    FGSM,
    PGD,
    accuracy_curve,
    by_class,
    evaluate_robustness,
    worst_cases,
)
from tests.attackers.robustness import Disguised, SoftmaxRegression
from tests.robustness.conftest import Samples


def test_a_curve_is_the_share_of_samples_beyond_each_radius(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    curve = accuracy_curve(two_class, *samples, FGSM, [0.03, 0.11, 0.19, 0.5])
    assert curve.radii == (0.0, 0.03, 0.11, 0.19, 0.5)
    assert [figure.accuracy for figure in curve.figures] == [1.0, 0.9, 0.5, 0.1, 0.0]
    assert curve.attack == "fgsm"


def test_what_was_fooled_in_a_small_ball_stays_fooled(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    """The larger ball's attack is far too weak to fool anything by itself."""

    def attack(eps: float) -> Any:
        return PGD(eps, steps=5) if eps < 0.15 else PGD(eps, steps=1, step=1e-6, start="clean")

    curve = accuracy_curve(two_class, *samples, attack, [0.11, 0.3])
    assert [figure.hits for figure in curve.figures] == [200, 100, 100]
    assert (curve.figures[1].correct == curve.figures[2].correct).all()


def test_samples_that_are_wrong_already_are_wrong_everywhere(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    curve = accuracy_curve(two_class, x, 1 - y, FGSM, [0.03, 0.1])
    assert [figure.hits for figure in curve.figures] == [0, 0, 0]


@pytest.mark.parametrize("radii", [[], [0.0, 0.1], [0.2, 0.1], [0.1, 0.1], [float("nan")]])
def test_radii_that_do_not_rise_are_refused(
    two_class: SoftmaxRegression, samples: Samples, radii: Any
) -> None:
    with pytest.raises(UsageError, match="radii"):
        accuracy_curve(two_class, *samples, FGSM, radii)


def test_a_breakdown_splits_every_figure_by_the_true_class(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    x = x.copy()
    # Class 1 keeps offsets up to 0.1, class 0 up to 0.2.
    x[y == 1] -= np.maximum(x[y == 1].mean(axis=1, keepdims=True) - 0.6, 0)
    report = evaluate_robustness(two_class, x, y, [FGSM(0.11)])
    split = by_class(report, y)
    assert split.classes == (0, 1)
    assert list(split.rows) == ["clean", "fgsm", "worst"]
    assert [figure.n for figure in split.rows["worst"]] == [100, 100]
    assert [figure.accuracy for figure in split.rows["worst"]] == [0.5, 0.0]
    assert sum(figure.hits for figure in split.rows["fgsm"]) == report.attacks["fgsm"].hits


def test_the_worst_cases_are_those_of_the_surest_wrong_answers(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    report = evaluate_robustness(two_class, x, y, [FGSM(0.11)])
    cases = worst_cases(two_class, report, x, y, count=5)
    chances = two_class.predict(report.worst.examples)[np.arange(200), 1 - y]
    chances[report.worst.correct] = 0
    assert [case.confidence for case in cases] == sorted(chances, reverse=True)[:5]
    for case in cases:
        assert (case.label, case.answer) == (y[case.row], 1 - y[case.row])
        assert case.distance == pytest.approx(0.11)
        assert (case.original == x[case.row]).all()
        assert (case.example == report.worst.examples[case.row]).all()


def test_a_case_is_never_of_the_right_answer(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    """Rounding in another batch may turn an example back: here every score is equal."""
    report = evaluate_robustness(two_class, *samples, [FGSM(0.11)])
    undecided = Disguised(two_class, on_scores=np.zeros_like)
    cases = worst_cases(undecided, report, *samples, count=100)
    assert {(case.label, case.answer) for case in cases} == {(0, 1), (1, 0)}


def test_where_nothing_was_fooled_there_is_no_case(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    report = evaluate_robustness(two_class, *samples, [FGSM(0.001)])
    assert worst_cases(two_class, report, *samples) == ()


def test_other_samples_than_the_reports_are_refused(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    report = evaluate_robustness(two_class, *samples, [FGSM(0.1)])
    with pytest.raises(UsageError, match="200 labels"):
        by_class(report, samples[1][:9])
    with pytest.raises(UsageError, match="samples of the report"):
        worst_cases(two_class, report, samples[0][:, :3], samples[1])
