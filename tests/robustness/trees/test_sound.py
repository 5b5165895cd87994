"""Certificates against what may deceive a reader: rounding, codes, sentinels, options of libraries.

Each case once had a proof of a sample that the model answers wrongly inside its ball.
"""

from __future__ import annotations

from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlsecops import adapt, evaluate_robustness
from mlsecops.adapters.base import softmax
from mlsecops.adapters.trees.reader import read_trees
from mlsecops.errors import UsageError
from mlsecops.robustness import RobustnessReport, Square, Table, TreeAttack
from tests.tree_models import fitted, rows

FEW = Square(0.05, queries=5)


def failed(report: RobustnessReport) -> dict[str, str]:
    return {check.name: check.reason for check in report.checks if check.outcome == "fail"}


@pytest.mark.parametrize("kind", [np.float64, np.int64])
@pytest.mark.parametrize(
    "build",
    [lambda: DecisionTreeClassifier(random_state=0),
     lambda: HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2),
     lambda: make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0))],
    ids=["one tree", "histogram boosting", "scaled forest"],
)  # fmt: skip
def test_a_ball_around_numbers_that_float32_rounds_is_the_caller_s(kind: Any, build: Any) -> None:
    """Time stamps: float32 keeps 1.6e9 to 128 seconds."""
    time = 1.6e9 + np.arange(400) * 97.0
    x = np.column_stack([time, time[::-1]]).astype(kind)
    y = np.arange(400) // 10 % 2
    model = fitted(build, x, y)
    report = evaluate_robustness(model, x, y, Square(40.0, queries=5), bounds=(1.5e9, 1.7e9))
    assert report.n == len(x)
    if report.certified is None:
        why = "float32 rounds inputs by up to" if hasattr(model, "steps") else "answered otherwise"
        assert why in failed(report)["trees-read"]
        return
    assert report.certified.hits < report.clean.hits
    for offset in (-40, -20, 20, 40):
        right = model.predict(x + kind(offset)) == y
        assert right[report.certified.correct].all()


def test_values_that_float32_rounds_by_the_tolerance_are_refused() -> None:
    x, _ = rows(2)
    y = 3e9 + 100 * x[:, 0].astype(np.float64)
    model = fitted(lambda: lightgbm.LGBMRegressor(n_estimators=5, verbose=-1), x, y)
    with pytest.raises(UsageError, match="y: float32 rounds"):
        evaluate_robustness(model, x, y, FEW, tolerance=20)


FLAGGED = {
    "decision tree": lambda: DecisionTreeClassifier(max_depth=4),
    "histogram boosting": lambda: HistGradientBoostingClassifier(
        max_iter=3, learning_rate=1, max_leaf_nodes=3, min_samples_leaf=5, early_stopping=False
    ),
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=4, enable_categorical=True),
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=9, learning_rate=0.5, verbose=-1),
    "catboost": lambda: catboost.CatBoostClassifier(
        iterations=4, verbose=0, allow_writing_files=False
    ),
}


@pytest.mark.parametrize("name", FLAGGED)
def test_a_flag_of_a_frame_is_0_or_1(name: str) -> None:
    """As a value that is never there, it let rows seem safe that its truth decides."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"income": rng.random(900) * 100, "flag": rng.random(900) < 0.3})
    if name in {"histogram boosting", "lightgbm", "xgboost"}:
        frame["job"] = pd.Categorical(rng.choice(["a", "b"], 900))
    y = ((frame["income"] > 50) & frame["flag"]).astype(int).to_numpy()
    model = fitted(FLAGGED[name], frame[:600], y[:600])
    held, labels = frame[600:700], model.predict(frame[600:700])
    table = Table(eps={"income": 15.0})
    report = evaluate_robustness(model, held, labels, TreeAttack(15.0), table=table)
    assert report.certified is not None
    assert 0 < report.certified.hits < len(held)
    for offset in np.linspace(-15, 15, 13):
        right = model.predict(held.assign(income=held["income"] + offset)) == labels
        assert right[report.certified.correct].all()


@pytest.mark.parametrize("objective", ["multi:softprob", "multi:softmax"])
def test_two_classes_with_a_score_each_are_read_as_such(objective: str) -> None:
    x, y = rows(2)
    settings = {"objective": objective, "num_class": 2, "max_depth": 3}
    booster = xgboost.train(settings, xgboost.DMatrix(x, y), 6)
    trees = read_trees(booster)
    assert trees is not None
    margins = booster.predict(xgboost.DMatrix(x), output_margin=True)
    np.testing.assert_allclose(trees.scores(x), margins, atol=1e-5)


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_two_classes_of_lightgbm_with_a_score_each_are_read_as_such(objective: str) -> None:
    x, y = rows(2)
    settings = {"objective": objective, "num_class": 2, "verbose": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y), 6)
    trees = read_trees(booster)
    assert trees is not None
    np.testing.assert_allclose(trees.scores(x), booster.predict(x, raw_score=True), atol=1e-9)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"reg_sqrt": True}, "reg_sqrt"), ({"pred_early_stop": True}, "pred_early_stop")],
)
def test_options_of_lightgbm_that_change_its_sums_are_refused(option: Any, message: str) -> None:
    x, y = rows(2)
    model = fitted(lambda: lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, **option), x, y)
    with pytest.raises(UsageError, match=message):
        read_trees(model)


def test_a_threshold_of_catboost_is_no_argmax() -> None:
    x, y = rows(2)
    model = fitted(FLAGGED["catboost"], x, y)
    model.set_probability_threshold(0.8)
    assert "threshold of 0.8" in failed(evaluate_robustness(model, x, y, FEW))["trees-read"]


def test_catboost_answers_by_its_class_and_its_loss() -> None:
    x, y = rows(2)
    settings = {"iterations": 4, "verbose": 0, "allow_writing_files": False}
    plain = catboost.CatBoost({"loss_function": "Poisson", **settings}).fit(x, y + 1.0)
    trees = read_trees(plain)
    assert trees is not None
    np.testing.assert_allclose(trees.answers(x)[:, 0], plain.predict(x), atol=1e-6)
    shares = catboost.CatBoostClassifier(loss_function="CrossEntropy", **settings).fit(x, y)
    trees = read_trees(shares)
    assert trees is not None
    np.testing.assert_allclose(softmax(trees.scores(x)), shares.predict_proba(x), atol=1e-5)
    assert adapt(shares).logits(x).shape == (len(x), 2)


@pytest.mark.parametrize("sentinel", [-1, np.int64(-1), np.float32(-1)])
def test_a_sentinel_of_any_type_reorders_values(sentinel: Any) -> None:
    x = np.random.default_rng(0).integers(-1, 6, (300, 2)).astype(np.float32)
    y = (x[:, 0] > 2).astype(int)
    steps = SimpleImputer(missing_values=sentinel, strategy="constant", fill_value=5)
    model = make_pipeline(steps, DecisionTreeClassifier()).fit(x, y)
    with pytest.raises(UsageError, match="reorders values"):
        evaluate_robustness(model, x, y, TreeAttack(1.0), bounds=(-1, 6))


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float16", "Int64"])
def test_narrow_types_of_a_frame_are_followed_through_a_pipeline(kind: str) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 200, 300), "b": rng.integers(0, 200, 300)})
    frame = frame.astype(kind)
    y = (frame["a"].astype(int) > 100).astype(int).to_numpy()
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=3)).fit(frame, y)
    report = evaluate_robustness(model, frame, y, Square(5, queries=5))
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits < report.clean.hits


def test_small_features_behind_a_scaler_are_certified() -> None:
    x, y = rows(2)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0))
    model.fit(x * 1e-9, y)
    report = evaluate_robustness(model, x * 1e-9, y, Square(1e-11, queries=5), bounds=(0, 1e-9))
    assert report.certified is not None


def test_missing_values_of_every_type_of_a_frame_are_missing() -> None:
    x, y = rows(2)
    frame = pd.DataFrame({"a": x[:, 0], "b": pd.array(x[:, 1], dtype="Float64")})
    frame.loc[::9, "b"] = pd.NA
    model = HistGradientBoostingClassifier(max_iter=3).fit(frame.astype("float64"), y)
    report = evaluate_robustness(model, frame.astype({"a": "Float64"}), y, FEW)
    assert report.clean.hits == (model.predict(frame.astype("float64")) == y).sum()
    whole = pd.DataFrame({"age": (x[:, 0] * 50).astype(int), "pay": x[:, 1]})
    light = fitted(FLAGGED["lightgbm"], whole, y)
    table = Table(eps={"pay": 0.05}, missing=["age"])
    assert evaluate_robustness(light, whole, y, FEW, table=table).certified is not None


def test_no_crash_where_nothing_is_right_or_answers_have_another_width() -> None:
    x, y = rows(2)
    model = fitted(lambda: lightgbm.LGBMRegressor(n_estimators=3, verbose=-1), x, y)
    report = evaluate_robustness(model, x, y + 50.0, FEW, tolerance=0.1)
    assert report.clean.hits == 0
    both = catboost.CatBoostRegressor(
        loss_function="RMSEWithUncertainty", iterations=3, verbose=0, allow_writing_files=False
    ).fit(x, y + 0.0)
    with pytest.raises(UsageError, match="expected 1 values for each input"):
        evaluate_robustness(both, x, y + 0.0, FEW, tolerance=0.5)


def test_answers_that_differ_off_the_samples_contradict_a_proof() -> None:
    x, y = rows(2, count=400)
    model = RandomForestClassifier(9, random_state=0).fit(x, y)
    honest, known = model.predict_proba, {row.tobytes() for row in x}

    def elsewhere(given: Any) -> Any:
        answers = honest(given)
        off = [row.tobytes() not in known for row in np.asarray(given, np.float32)]
        return np.where(np.array(off)[:, None], answers[:, ::-1], answers)

    model.predict_proba = elsewhere
    with pytest.raises(UsageError, match="proven samples are beaten all the same"):
        evaluate_robustness(model, x, y, TreeAttack(0.02))


def test_classifiers_that_answer_by_a_threshold_are_refused() -> None:
    x, y = rows(2)
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.9).fit(x, y)
    with pytest.raises(UsageError, match="answers by a threshold"):
        evaluate_robustness(model, x, y, FEW)
    shifted = lambda given: np.log(model.predict_proba(given) / [0.1, 0.9])  # noqa: E731 - as told
    report = evaluate_robustness(shifted, x, y, FEW)
    assert report.clean.hits == (model.predict(x) == y).sum()


def test_weights_of_a_vote_may_be_an_array() -> None:
    x, y = rows(2)
    parts = [("a", DecisionTreeClassifier(max_depth=2)), ("b", DecisionTreeClassifier(max_depth=3))]
    model = VotingClassifier(parts, voting="soft", weights=np.array([1.0, 2.0])).fit(x, y)
    trees = read_trees(model)
    assert trees is not None
    np.testing.assert_allclose(trees.scores(x), model.predict_proba(x), atol=1e-6)


def test_columns_of_other_offsets_do_not_hide_that_samples_differ() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([1.6e9 + np.arange(50.0), rng.integers(0, 2000, 50)])
    y = np.arange(50) % 2
    model = DecisionTreeClassifier().fit(x, y)
    assert evaluate_robustness(model, x, y, Square(1, queries=2), bounds=(0, 2e9)).n == 50


@pytest.mark.parametrize("tolerance", [None, 0.4], ids=["classes", "values"])
def test_a_step_that_raises_leaves_no_proof_and_no_crash(tolerance: float | None) -> None:
    x, y = rows(2)

    class Moody(StandardScaler):
        """Fails on inputs far from those that it was fitted on."""

        def transform(self, given: Any, copy: Any = None) -> Any:
            if np.abs(given).max() > 1e3:
                raise ZeroDivisionError("too far")
            return super().transform(given, copy)

    Moody.__name__ = "StandardScaler"
    kind = DecisionTreeClassifier if tolerance is None else DecisionTreeRegressor
    model = make_pipeline(Moody(), kind(max_depth=3)).fit(x, y)
    report = evaluate_robustness(model, x, y, FEW, tolerance=tolerance)
    assert report.certified is None
    assert "too far" in failed(report)["trees-read"]


def test_numbers_in_a_column_of_objects_have_no_code_and_no_proof() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(300), "b": rng.integers(0, 3, 300)})
    frame["job"] = pd.Categorical(rng.choice(["x", "y"], 300))
    y = ((frame["a"] > 0.5) & (frame["b"] > 0)).astype(int).to_numpy()
    model = HistGradientBoostingClassifier(max_iter=5).fit(frame, y)
    odd = frame.assign(b=frame["b"].astype(object))
    report = evaluate_robustness(model, odd, y, FEW, table=Table(eps={"a": 0.05}))
    assert report.certified is None
    assert "'b' holds categories whose codes cannot be read" in failed(report)["trees-read"]


def test_trees_of_an_objective_of_the_user_s_own_certify_nothing() -> None:
    """LightGBM writes none into the file, so that the trees pass for those of a regression."""
    x, y = rows(2)

    def logistic(labels: Any, scores: Any) -> Any:
        share = 1 / (1 + np.exp(-scores))
        return share - labels, share * (1 - share)

    model = lightgbm.LGBMClassifier(objective=logistic, n_estimators=5, verbose=-1).fit(x, y)
    report = evaluate_robustness(model, x, y, FEW)
    assert report.certified is None
    assert "answered otherwise" in failed(report)["trees-read"]
