"""Regressions within a tolerance, several labels at once, and tasks that are refused by name."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xgboost
from sklearn.ensemble import (
    BaggingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsecops import PGD, Gate, evaluate_robustness
from mlsecops.adapters.trees.xgboost import read_xgboost
from mlsecops.errors import UsageError
from mlsecops.loading import SecureLoader
from mlsecops.robustness import APGD, Square, Table
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.tree_models import LOG_LINKS, REGRESSIONS, fitted

WEIGHTS = np.array([3.0, -2.0, 1.0])
FEW = Square(0.05, queries=30)


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.random((260, 3)).astype(np.float32)
    return x, x @ WEIGHTS + rng.normal(0, 0.2, len(x))


def linear_net() -> torch.nn.Module:
    net = torch.nn.Sequential(torch.nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight[:] = torch.tensor(WEIGHTS)
        net[0].bias[:] = 0
    return net


def test_a_linear_regression_errs_under_attack_as_on_paper(data: Any) -> None:
    """The largest error in the ball is the error plus eps times the sum of the weights."""
    x, y = data
    net = linear_net()
    report = evaluate_robustness(net, x, y, APGD(0.05, steps=10), bounds=(-1, 2),
                                 tolerance=0.5)  # fmt: skip
    error = np.abs(x @ WEIGHTS - y)
    assert report.clean.hits == (error <= 0.5).sum()
    on_paper = error + 0.05 * 6 <= 0.5
    assert report.worst.correct[on_paper].all()
    assert (report.worst.correct == on_paper).mean() > 0.98
    assert report.worst.examples.shape == x.shape
    assert np.abs(report.worst.examples - x).max() <= 0.0501
    assert [c.name for c in report.checks if c.outcome != "pass"] == []


@pytest.mark.parametrize("name", REGRESSIONS)
def test_regression_trees_are_proven(name: str, data: Any) -> None:
    x, y = data
    model = fitted(REGRESSIONS[name], x[:160], y[:160])
    report = evaluate_robustness(model, x[160:], y[160:], FEW, tolerance=0.8)
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits < report.clean.hits
    examples, fooled = report.worst.examples, report.clean.correct & ~report.worst.correct
    off = np.abs(np.asarray(model.predict(examples)).ravel() - y[160:])
    assert (off[fooled] > 0.8).all()
    assert Gate(min_accuracy=0.01).judge(report).verdict == "pass"
    rng = np.random.default_rng(1)
    for _ in range(30):
        moved = np.clip(x[160:] + rng.uniform(-0.05, 0.05, x[160:].shape), 0, 1)
        off = np.abs(np.asarray(model.predict(moved)).ravel() - y[160:])
        assert (off <= 0.8)[report.certified.correct].all()


@pytest.mark.parametrize("name", LOG_LINKS)
def test_regressions_that_answer_an_exponent_are_proven_too(name: str, data: Any) -> None:
    x, y = data
    y = np.exp(y)
    model = fitted(LOG_LINKS[name], x[:160], y[:160])
    report = evaluate_robustness(model, x[160:], y[160:], FEW, tolerance=2.0)
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits < report.clean.hits
    off = np.abs(np.asarray(model.predict(x[160:])).ravel() - y[160:])
    assert report.clean.hits == (off <= 2.0).sum()
    assert Gate(min_accuracy=0.01).judge(report).verdict == "pass"


@pytest.mark.parametrize("objective", ["reg:squarederror", "count:poisson"])
def test_a_regression_from_a_file_is_measured_without_its_library(
    objective: str, data: Any, tmp_path: Any
) -> None:
    x, y = data
    y = np.exp(y)
    model = xgboost.XGBRegressor(n_estimators=4, max_depth=2, objective=objective).fit(x, y)
    model.save_model(tmp_path / "model.json")
    read = read_xgboost(json.loads((tmp_path / "model.json").read_text()))
    options = {"tolerance": 2.0, "bounds": (0, 1)}
    theirs = evaluate_robustness(model, x[160:], y[160:], FEW, **options)
    ours = evaluate_robustness(read, x[160:], y[160:], FEW, **options)
    assert ours.certified is not None
    assert theirs.certified is not None
    assert ours.certified.hits == theirs.certified.hits > 0
    assert ours.clean.hits == theirs.clean.hits


def test_a_loaded_regression_has_no_adapter_and_is_measured(data: Any, tmp_path: Any) -> None:
    x, y = data
    xgboost.XGBRegressor(n_estimators=4, max_depth=2).fit(x, y).save_model(tmp_path / "m.json")
    signer = Signer.generate("p256")
    sign(tmp_path / "m.json", signer)
    loaded = SecureLoader(TrustPolicy(keys=[signer.public_key])).load(tmp_path / "m.json")
    assert loaded.adapter is None
    report = evaluate_robustness(loaded, x, y, FEW, tolerance=0.8)
    assert report.model_digest == loaded.digest
    assert report.certified is not None


def test_values_outside_the_bounds_are_those_of_the_inputs(data: Any) -> None:
    x, y = data
    with pytest.raises(UsageError, match=r"inside bounds \(0, 1\), got -0\.\d+ to 0\.\d+;"):
        evaluate_robustness(LinearRegression().fit(x, y), x - 0.5, y + 100, FEW, tolerance=1)


def test_a_model_that_was_fitted_without_names_gets_the_numbers_of_a_frame(data: Any) -> None:
    x, y = data
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_robustness(LinearRegression().fit(x, y), frame, y, FEW, tolerance=0.5)
        evaluate_robustness(LogisticRegression().fit(x, y > 1), frame, y > 1, FEW)


def test_labels_in_percent_are_no_logits(data: Any) -> None:
    x, _ = data
    net = torch.nn.Sequential(label_net(4.0), torch.nn.Sigmoid())

    class Percent(torch.nn.Module):
        def forward(self, given: Any) -> Any:
            return 100 * net(given)

    with pytest.raises(UsageError, match="divide percentages by 100"):
        evaluate_robustness(Percent(), x, labels_of(x), FEW)


def test_copies_with_a_little_noise_count_once_in_a_regression_too(data: Any) -> None:
    x, y = data
    noise = np.random.default_rng(0).uniform(0, 1e-9, (40, 3, 3))
    many = (x[:3].astype(np.float64) + noise).reshape(-1, 3)
    report = evaluate_robustness(LinearRegression().fit(x, y), many, np.tile(y[:3], 40), FEW,
                                 tolerance=0.5)  # fmt: skip
    assert (report.n, report.given) == (3, 120)


def test_a_mean_of_exponents_is_no_exponent_of_a_sum(data: Any) -> None:
    x, y = data
    parts = HistGradientBoostingRegressor(loss="poisson", max_iter=3)
    model = BaggingRegressor(parts, 2, random_state=0).fit(x[:160], np.exp(y[:160]))
    report = evaluate_robustness(model, x[160:], np.exp(y[160:]), FEW, tolerance=2.0)
    assert report.certified is None
    failed = {check.name: check.reason for check in report.checks if check.outcome == "fail"}
    assert "whose answers are a sum" in failed["trees-read"]


def test_a_regression_of_a_frame_takes_an_eps_for_each_column(data: Any) -> None:
    x, y = data
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    model = make_pipeline(StandardScaler(), RandomForestRegressor(5, max_depth=4, random_state=0))
    model.fit(frame[:160], y[:160])
    report = evaluate_robustness(model, frame[160:], y[160:], FEW, tolerance=0.8,
                                 table=Table(eps={"a": 0.1}))  # fmt: skip
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits < report.clean.hits
    assert isinstance(report.worst.examples, pd.DataFrame)
    pd.testing.assert_frame_equal(report.worst.examples[["b", "c"]], frame[160:][["b", "c"]])


def labels_of(x: Any) -> Any:
    return np.stack([x[:, 0] > 0.5, x[:, 1] + x[:, 2] > 1], axis=1).astype(int)


def label_net(weight: float) -> torch.nn.Module:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight[:] = weight * torch.tensor([[1.0, 0, 0], [0, 1, 1]])
        net[0].bias[:] = -weight * torch.tensor([0.5, 1.0])
    return net


@pytest.mark.parametrize("last", [None, torch.nn.Sigmoid()], ids=["logits", "probabilities"])
def test_every_label_has_to_be_right(last: Any, data: Any) -> None:
    x, _ = data
    y = labels_of(x)
    net = label_net(4.0) if last is None else torch.nn.Sequential(label_net(4.0), last)
    report = evaluate_robustness(net, x, y, [PGD(0.05, steps=5), FEW] if last is None else FEW)
    near = (np.abs(x[:, 0] - 0.5) < 0.05) | (np.abs(x[:, 1] + x[:, 2] - 1) < 0.1)
    assert report.clean.accuracy == 1
    assert (report.worst.correct == ~near).mean() > 0.97
    assert not report.worst.correct[near].all()


@pytest.mark.parametrize(
    "build",
    [lambda: MultiOutputClassifier(LogisticRegression()),
     lambda: RandomForestClassifier(5, max_depth=4, random_state=0)],
    ids=["one model a label", "one forest"],
)  # fmt: skip
def test_several_labels_of_scikit_learn_are_measured(build: Callable[[], Any], data: Any) -> None:
    x, _ = data
    y = labels_of(x)
    model = build().fit(x[:160], y[:160])
    report = evaluate_robustness(model, x[160:], y[160:], FEW)
    assert report.clean.hits == (model.predict(x[160:]) == y[160:]).all(axis=1).sum()
    assert report.worst.hits < report.clean.hits
    fooled = report.clean.correct & ~report.worst.correct
    assert (model.predict(report.worst.examples) != y[160:])[fooled].any(axis=1).all()
    if isinstance(model, RandomForestClassifier):
        assert report.certified is not None
        assert 0 <= report.worst.hits - report.certified.hits <= 3


@pytest.mark.parametrize("always", [0, 1])
def test_a_label_of_which_training_met_one_value_has_that_one(always: int, data: Any) -> None:
    x, _ = data
    y = np.column_stack([labels_of(x), np.full(len(x), always)])
    model = RandomForestClassifier(5, max_depth=4, random_state=0).fit(x[:160], y[:160])
    report = evaluate_robustness(model, x[160:], y[160:], FEW)
    assert report.clean.hits == (model.predict(x[160:]) == y[160:]).all(axis=1).sum() > 0


def test_a_booster_with_names_of_columns_is_a_regression_of_arrays_too(data: Any) -> None:
    x, y = data
    named = xgboost.DMatrix(x[:160], y[:160], feature_names=["a", "b", "c"])
    model = xgboost.train({"max_depth": 3}, named, 5)
    report = evaluate_robustness(model, x[160:], y[160:], FEW, tolerance=0.8)
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits < report.clean.hits


def test_repeated_samples_count_once_and_an_adapter_says_what_its_column_is(data: Any) -> None:
    x, y = data
    model = LinearRegression().fit(x, y)
    once = evaluate_robustness(model, x[:50], y[:50], FEW, tolerance=0.5)
    again = evaluate_robustness(
        model, np.tile(x[:50], (3, 1)), np.tile(y[:50], 3), FEW, tolerance=0.5
    )
    assert (again.n, again.given, again.worst.hits) == (50, 150, once.worst.hits)


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([{"boxes": [], "labels": []}] * 260, {}, "object detection"),
        (np.full(260, 0.5), {}, "give tolerance="),
        (np.full((260, 2), 2), {}, "0 or 1 for each"),
        (np.eye(2)[np.arange(260) % 2], {}, r"one-hot\); pass y.argmax"),
        (np.zeros((260, 3)), {}, "as the model answers"),
        (np.zeros(260), {"tolerance": 0}, "tolerance: expected"),
        (np.zeros(250), {"tolerance": 1}, "as many rows"),
        (["a"] * 260, {"tolerance": 1}, "expected numbers"),
    ],
)
def test_other_tasks_are_refused_by_name(y: Any, options: Any, message: str, data: Any) -> None:
    x, _ = data
    with pytest.raises(UsageError, match=message):
        evaluate_robustness(label_net(1.0), x, y, FEW, **options)
