"""Tree ensembles get a verdict: a certified bound passes the gate, and the tree attack fails it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlsecops import Gate, evaluate_robustness
from mlsecops.adapters import adapt
from mlsecops.adapters.sklearn import SklearnAdapter
from mlsecops.errors import UsageError
from mlsecops.robustness import HopSkipJump, Noise, RobustnessReport, Square, Table, TreeAttack
from tests.tree_models import CLASSIFIERS, fitted, rows

FEW = Square(0.05, queries=5)


@pytest.fixture(scope="module")
def data() -> Any:
    x, y = rows(2, count=500)
    return x, (x[:, 0] > 0.5).astype(np.int64), y


@pytest.mark.parametrize("name", ["decision tree", "random forest", "xgboost", "lightgbm",
                                  "catboost", "histogram boosting"])  # fmt: skip
def test_a_tree_ensemble_passes_on_the_bound_and_fails_on_the_attack(name: str, data: Any) -> None:
    x, y, _ = data
    model = fitted(CLASSIFIERS[name], x[:300], y[:300])
    report = evaluate_robustness(model, x[300:], y[300:], FEW)
    assert report.certified is not None
    assert set(report.attacks) == {"square", "trees"}
    assert 0 <= report.worst.hits - report.certified.hits <= 3  # ties of a forest of six trees
    assert report.attacks["trees"].hits <= report.attacks["square"].hits
    assert Gate(min_accuracy=0.8).judge(report).verdict == "pass"
    assert Gate(min_accuracy=0.97).judge(report).verdict == "fail"
    assert [c.name for c in report.checks if c.outcome != "pass"] == []
    again = RobustnessReport.from_dict(report.to_dict())
    assert Gate(min_accuracy=0.8).judge(again).verdict == "pass"


def test_the_gate_does_not_pass_on_an_attack_s_figure_alone(data: Any) -> None:
    """The attack leaves more than the proof: what is between them is open."""
    x, y, _ = data
    model = fitted(CLASSIFIERS["random forest"], x[:300], y[:300])
    report = evaluate_robustness(model, x[300:], y[300:], FEW)
    assert report.certified is not None
    fewer = report.certified.correct.copy()
    fewer[: len(fewer) // 2] = False
    weaker = report.with_certified(
        type(report.certified).of("certified", fewer, params=report.certified.params)
    )
    assert Gate(min_accuracy=0.8).judge(weaker).verdict == "inconclusive"


def test_a_certificate_of_another_kind_decides_no_worst_case(data: Any) -> None:
    x, y, _ = data
    model = fitted(CLASSIFIERS["random forest"], x[:300], y[:300])
    report = evaluate_robustness(model, x[300:], y[300:], FEW)
    smoothed = report.with_certified(type(report.worst).of("certified", np.zeros(200, bool)))
    assert Gate(min_accuracy=0.8).judge(smoothed).verdict == "pass"


class Deceiving(SklearnAdapter):
    """Another class than the one whose trees are read."""


def test_trees_behind_another_adapter_are_not_taken_for_the_model(data: Any) -> None:
    x, y, _ = data
    model = fitted(CLASSIFIERS["random forest"], x[:300], y[:300])
    report = evaluate_robustness(Deceiving(model), x[300:], y[300:], FEW)
    assert report.certified is None
    assert Gate(min_accuracy=0.8).judge(report).verdict != "pass"


def test_a_model_that_answers_otherwise_than_its_trees_is_not_certified(data: Any) -> None:
    x, y, _ = data
    model = fitted(CLASSIFIERS["xgboost"], x[:300], y[:300])
    model.predict_proba = lambda x: np.tile([0.9, 0.1], (len(x), 1))
    report = evaluate_robustness(model, x[300:], y[300:], FEW)
    assert report.certified is None
    failed = {check.name: check.reason for check in report.checks if check.outcome == "fail"}
    assert "answered otherwise" in failed["trees-read"]


def test_trees_that_cannot_be_read_are_said_to_be_so(data: Any) -> None:
    x, y, _ = data
    model = fitted(CLASSIFIERS["xgboost"], x[:300], y[:300])
    model.missing = 0.5
    report = evaluate_robustness(model, x[300:], y[300:], FEW)
    assert report.certified is None
    failed = {check.name: check.reason for check in report.checks if check.outcome == "fail"}
    assert "cannot be read" in failed["trees-read"]
    assert Gate(min_accuracy=0.1).judge(report).verdict == "inconclusive"


def test_noise_alone_keeps_to_no_ball_and_is_not_certified(data: Any) -> None:
    x, y, _ = data
    model = fitted(CLASSIFIERS["decision tree"], x[:300], y[:300])
    report = evaluate_robustness(model, x[300:], y[300:], Noise(0.05))
    assert report.certified is not None or set(report.attacks) == {"noise"}


def test_both_norms_are_proven_where_attacks_have_both(data: Any) -> None:
    x, y, _ = data
    model = fitted(CLASSIFIERS["random forest"], x[:300], y[:300])
    attacks = [HopSkipJump(0.05, norm="l2", queries=20), FEW]
    report = evaluate_robustness(model, x[300:], y[300:], attacks)
    assert {"trees", "trees-l2"} < set(report.attacks)
    assert report.certified is not None
    assert report.certified.params["balls"] == {"l2": 0.05, "linf": 0.05}
    assert report.attacks["trees-l2"].hits >= report.attacks["trees"].hits


def test_one_hot_groups_are_exchanged_and_immutable_columns_kept() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.random((400, 2)).astype(np.float32)
    group = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 400)]
    x = np.column_stack([numbers, group]).astype(np.float32)
    y = (numbers[:, 0] + 0.5 * group[:, 0] > 0.7).astype(np.int64)
    model = fitted(CLASSIFIERS["histogram boosting"], x[:200], y[:200])
    free, fixed = Table(one_hot=((2, 3, 4),)), Table(immutable=(2, 3, 4), one_hot=((2, 3, 4),))
    reports = {
        name: evaluate_robustness(model, x[200:], y[200:], FEW, table=table)
        for name, table in (("free", free), ("fixed", fixed))
    }
    hits = {name: report.worst.hits for name, report in reports.items()}
    assert hits["free"] < hits["fixed"]
    for report in reports.values():
        assert report.certified is not None
        assert report.certified.hits == report.worst.hits
    swapped = np.array([
        [model.predict(np.column_stack([x[200:, :2], np.tile(one, (200, 1))]))]
        for one in np.eye(3)
    ]).reshape(3, -1)  # fmt: skip
    proven = reports["free"].certified
    assert proven is not None
    assert (swapped[:, proven.correct] == y[200:][proven.correct]).all()


def test_the_tree_attack_is_an_attack_and_refuses_other_models(data: Any) -> None:
    x, y, _ = data
    model = fitted(CLASSIFIERS["lightgbm"], x[:300], y[:300])
    alone = evaluate_robustness(model.booster_, x[300:], y[300:], TreeAttack(0.05))
    assert alone.certified is not None
    assert alone.worst.hits == alone.attacks["trees"].hits
    with pytest.raises(UsageError, match="expected a tree ensemble"):
        TreeAttack(0.1).perturb(adapt(LogisticRegression().fit(x, y)), x, y, seed=0, bounds=(0, 1))
    with pytest.raises(UsageError, match="eps"):
        TreeAttack(-1)
