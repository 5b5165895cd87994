"""The trees that are read answer as their library does, at every threshold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.ensemble import (
    AdaBoostRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression

from mlsecops.adapters import adapt
from mlsecops.adapters.trees.ensemble import Ensemble, last_of_float32
from mlsecops.adapters.trees.reader import read_trees
from mlsecops.adapters.trees.xgboost import read_xgboost
from mlsecops.errors import UsageError
from tests.tree_models import CLASSIFIERS, NO_MISSING, REGRESSIONS, fitted, rows


def at_thresholds(trees: Ensemble, x: Any, *, count: int = 200, seed: int = 0) -> Any:
    """Inputs on thresholds and next to them, in float32 and in float64."""
    rng = np.random.default_rng(seed)
    points = x[rng.integers(0, len(x), count)].astype(np.float64)
    split = np.flatnonzero((trees.feature >= 0) & np.isfinite(trees.threshold))
    for point in points:
        for node in rng.choice(split, 4):
            value = trees.threshold[node]
            single = np.float32(value)
            near = [value, np.nextafter(value, np.inf), single, np.nextafter(single, np.float32(9))]
            point[trees.feature[node]] = near[rng.integers(4)]
    return points


def softmax(scores: Any) -> Any:
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_s_trees_answer_as_it_does(name: str, classes: int, missing: float) -> None:
    if missing and name in NO_MISSING:
        return
    x, y = rows(classes)
    if missing:
        x[np.random.default_rng(1).random(x.shape) < missing] = np.nan
    model = fitted(CLASSIFIERS[name], x, y)
    trees = read_trees(model)
    assert trees is not None
    points = at_thresholds(trees, x)
    scores = trees.scores(points)
    found = scores if trees.scale == "probabilities" else softmax(scores)
    np.testing.assert_allclose(found, model.predict_proba(points), atol=1e-5)


@pytest.mark.parametrize("name", REGRESSIONS)
def test_a_regression_s_trees_answer_as_it_does(name: str) -> None:
    x, _ = rows(2)
    y = x @ [3.0, -2.0, 1.0] + 5
    model = fitted(REGRESSIONS[name], x, y)
    trees = read_trees(model)
    assert trees is not None
    points = at_thresholds(trees, x)
    np.testing.assert_allclose(trees.scores(points)[:, 0], model.predict(points), atol=1e-5)


def categories() -> tuple[Any, Any]:
    """A column of numbers, and one of five categories that decides the label."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random(400), rng.integers(0, 5, 400)]).astype(np.float64)
    y = (np.isin(x[:, 1], [0, 3]) ^ (x[:, 0] > 0.7)).astype(int)
    x[::9, 1] = np.nan
    return x, y


def test_categories_go_where_each_library_sends_them() -> None:
    x, y = categories()
    asked = np.array([[n, c] for n in (0.1, 0.9) for c in (0, 1, 2, 3, 4, 7, np.nan)])
    boosted = HistGradientBoostingClassifier(max_iter=5, categorical_features=[1]).fit(x, y)
    light = lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1)
    light.fit(x, y, categorical_feature=[1])
    extreme = xgboost.XGBClassifier(
        n_estimators=5, enable_categorical=True, max_cat_to_onehot=1, feature_types=["q", "c"]
    ).fit(x, y)
    for model, points in ((boosted, asked), (light, asked), (extreme, asked[asked[:, 1] != 7])):
        trees = read_trees(model)
        assert trees is not None
        assert trees.categories
        found = softmax(trees.scores(points))
        np.testing.assert_allclose(found, model.predict_proba(points), atol=1e-5)


def test_a_booster_is_read_and_adapted_as_its_classifier() -> None:
    x, y = rows(3)
    classifiers = [fitted(CLASSIFIERS[n], x, y) for n in ("xgboost", "lightgbm", "catboost")]
    raw = [classifiers[0].get_booster(), classifiers[1].booster_, classifiers[2]]
    for model, booster in zip(classifiers, raw, strict=True):
        adapter = adapt(booster)
        np.testing.assert_allclose(adapter.predict(x), model.predict_proba(x), atol=1e-5)
        trees = read_trees(booster)
        assert trees is not None
        np.testing.assert_allclose(adapt(trees).predict(x), model.predict_proba(x), atol=1e-5)


def test_early_stopping_counts_for_the_classifier_and_not_for_its_booster() -> None:
    x, y = rows(2)
    model = xgboost.XGBClassifier(n_estimators=30, early_stopping_rounds=2, max_depth=2)
    model.fit(x[:100], y[:100], eval_set=[(x[100:], y[100:])], verbose=False)
    trees, whole = read_trees(model), read_trees(model.get_booster())
    assert trees is not None
    assert whole is not None
    assert trees.trees < whole.trees
    np.testing.assert_allclose(softmax(trees.scores(x)), model.predict_proba(x), atol=1e-5)


def test_what_is_no_sum_of_trees_is_refused_with_the_reason() -> None:
    x, y = rows(2)
    hard = VotingClassifier([("a", RandomForestClassifier(2))], voting="hard").fit(x, y)
    linear = lightgbm.LGBMRegressor(linear_tree=True, n_estimators=2, verbose=-1).fit(x, y)
    zero = lightgbm.LGBMClassifier(zero_as_missing=True, n_estimators=2, verbose=-1).fit(x, y)
    init = GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(x, y)
    flat = xgboost.XGBClassifier(n_estimators=2, booster="gblinear").fit(x, y)
    odd = xgboost.XGBClassifier(n_estimators=2, missing=0.5).fit(x, y)
    frame = pd.DataFrame({"n": x[:, 0], "c": np.where(x[:, 1] > 0.5, "u", "v")})
    named = catboost.CatBoostClassifier(
        iterations=3, verbose=0, allow_writing_files=False, one_hot_max_size=4
    ).fit(frame, (x[:, 1] > 0.5).astype(int), cat_features=["c"])
    for model, reason in (
        (hard, "hard voting"), (linear, "linear_tree"), (zero, "zero_as_missing"),
        (init, "no constant"), (flat, "no trees"), (odd, "ordinary number"),
        (named, "only splits of numbers"), (AdaBoostRegressor(n_estimators=2).fit(x, y), "median"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=reason):
            read_trees(model)
    assert read_trees(LogisticRegression().fit(x, y)) is None


def test_a_document_that_is_none_is_refused(tmp_path: Path) -> None:
    x, y = rows(2)
    model = fitted(CLASSIFIERS["xgboost"], x, y)
    model.save_model(tmp_path / "model.json")
    document = json.loads((tmp_path / "model.json").read_text("utf-8"))
    assert read_xgboost(document).trees == 4
    first = document["learner"]["gradient_booster"]["model"]["trees"][0]
    kept, first["left_children"][0] = first["left_children"][0], first["right_children"][0]
    with pytest.raises(UsageError, match="parent of its own"):
        read_xgboost(document)
    first["left_children"][0] = kept
    document["learner"]["learner_model_param"]["num_feature"] = "1"
    with pytest.raises(UsageError, match="asks for another"):
        read_xgboost(document)
    del document["learner"]["gradient_booster"]["model"]["tree_info"]
    with pytest.raises(UsageError, match="not as its schema says"):
        read_xgboost(document)


def test_float32_thresholds_move_to_the_last_float64_that_rounds_to_them() -> None:
    rng = np.random.default_rng(0)
    limits = np.concatenate([rng.normal(size=200), [0.0, 1.0, 0.5, np.float32(0.1)]])
    last = last_of_float32(limits)
    assert (last.astype(np.float32) <= limits).all()
    assert (np.nextafter(last, np.inf).astype(np.float32) > limits).all()
