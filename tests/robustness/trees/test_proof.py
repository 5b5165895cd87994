"""Tree ensembles get a verdict: a certified bound passes the gate, and the tree attack fails it."""

from __future__ import annotations

from typing import Any

import catboost
import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from mlsecops import Gate, evaluate_robustness
from mlsecops.adapters import adapt
from mlsecops.adapters.base import softmax
from mlsecops.adapters.sklearn import SklearnAdapter
from mlsecops.adapters.trees.reader import read_trees
from mlsecops.errors import UsageError
from mlsecops.robustness import HopSkipJump, Noise, RobustnessReport, Square, Table, TreeAttack
from mlsecops.robustness.evaluation import evaluation_run
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


def early(x: Any, y: Any, folder: Any) -> dict[str, Any]:
    """Boosters that leave their last rounds out, each told so in another way."""
    held = {"eval_set": [(x[40:], y[40:])], "verbose": False}
    settings = {"n_estimators": 60, "learning_rate": 0.9, "n_jobs": 1}
    stopping = xgboost.callback.EarlyStopping(3)
    model = xgboost.XGBClassifier(early_stopping_rounds=3, **settings).fit(x[:40], y[:40], **held)
    model.save_model(folder / "model.json")
    loaded = xgboost.XGBClassifier()
    loaded.load_model(folder / "model.json")
    called = xgboost.XGBClassifier(callbacks=[stopping], **settings).fit(x[:40], y[:40], **held)
    light = lightgbm.LGBMClassifier(verbose=-1, min_child_samples=3, **settings)
    light.fit(x[:40], y[:40], eval_set=[(x[40:], y[40:])],
              callbacks=[lightgbm.early_stopping(3, verbose=False)])  # fmt: skip
    return {
        "by its setting": model, "from its file": loaded, "by a callback": called,
        "its Booster": model.get_booster(), "lightgbm": light,
    }  # fmt: skip


def test_rounds_after_an_early_stop_are_no_part_of_the_proof(data: Any, tmp_path: Any) -> None:
    x, _, y = data  # with noise, so that later rounds are worse
    for name, model in early(x[:120], y[:120], tmp_path).items():
        trees, view = read_trees(model), adapt(model)
        assert trees is not None
        np.testing.assert_allclose(
            softmax(trees.scores(x)), view.predict(x), atol=1e-5, err_msg=name
        )
        report = evaluate_robustness(model, x[300:], y[300:], FEW)
        assert report.certified is not None, name


def test_trees_with_other_scores_are_not_the_model_s_even_if_they_answer_alike(
    data: Any, monkeypatch: Any
) -> None:
    x, y, _ = data
    model = fitted(CLASSIFIERS["xgboost"], x[:300], y[:300])
    shorter = read_trees(model.get_booster()[:3])
    assert shorter is not None
    same = shorter.scores(x).argmax(axis=1) == model.predict(x)
    x, y = x[same], y[same]
    monkeypatch.setattr(evaluation_run, "array_trees", lambda *_: shorter)
    report = evaluate_robustness(model, x, y, FEW)
    assert report.certified is None
    failed = {check.name: check.reason for check in report.checks if check.outcome == "fail"}
    assert "answered otherwise" in failed["trees-read"]


@pytest.mark.parametrize(
    "build",
    [lambda: GradientBoostingClassifier(loss="exponential", n_estimators=6),
     lambda: lightgbm.LGBMClassifier(n_estimators=6, sigmoid=2.5, verbose=-1),
     lambda: xgboost.XGBClassifier(n_estimators=6, objective="binary:hinge"),
     lambda: catboost.CatBoostClassifier(
         iterations=6, loss_function="MultiClassOneVsAll", verbose=0, allow_writing_files=False
     )],
    ids=["exponential loss", "steeper sigmoid", "hinge", "one against all"],
)  # fmt: skip
def test_probabilities_that_libraries_make_otherwise_are_known(build: Any, data: Any) -> None:
    x, y, _ = data
    report = evaluate_robustness(fitted(build, x[:300], y[:300]), x[300:], y[300:], FEW)
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits


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
