"""Verification of trees: proofs hold at every input, and the model itself falls for its attacks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from mlsecops.adapters.trees.ensemble import Ensemble
from mlsecops.adapters.trees.reader import read_trees
from mlsecops.robustness.trees.boxes import Boxes, Forest
from mlsecops.robustness.trees.goals import another_class, beyond_tolerance
from mlsecops.robustness.trees.verification import Verdicts, verify
from tests.tree_models import CLASSIFIERS, LOG_LINKS, REGRESSIONS, fitted, rows

NAMES = [
    "decision tree", "random forest", "gradient boosting", "histogram boosting", "bagging",
    "adaboost", "xgboost", "lightgbm", "catboost",
]  # fmt: skip


def boxes(x: Any, norm: str, eps: float) -> Boxes:
    x = x.astype(np.float64)
    return Boxes(x=x, low=x - eps, high=x + eps, radius=eps if norm == "l2" else None)


def grid(trees: Ensemble) -> tuple[Any, Any]:
    """Lower and upper end of every cell of the whole space, `(cells, d)`."""
    inner = trees.feature >= 0
    edges = [np.unique(trees.threshold[inner & (trees.feature == j)]) for j in range(3)]
    low = list(itertools.product(*(np.append(-np.inf, each) for each in edges)))
    high = list(itertools.product(*(np.append(each, np.inf) for each in edges)))
    return np.array(low), np.array(high)


def reached(box: Boxes, row: int, low: Any, high: Any) -> Any:
    """Cells that one box reaches, by their ends alone."""
    if box.radius is None:
        return ((box.low[row] <= high) & (box.high[row] > low)).all(axis=1)
    x = box.x[row]
    away = np.maximum(0, np.maximum(low - x, x - high))
    return (away**2).sum(axis=1) <= box.radius**2


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("linf", 0.25), ("l2", 0.2)])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_brute_force_over_all_cells_says_the_same(
    name: str, classes: int, norm: str, eps: float
) -> None:
    x, y = rows(classes, coarse=classes == 3)
    model = fitted(CLASSIFIERS[name], x[:110], y[:110])
    trees, x = read_trees(model), x[110:]
    assert trees is not None
    low, high = grid(trees)
    known = np.unique(y[:110])
    answer = np.searchsorted(known, model.predict(np.where(np.isfinite(high), high, 9)).ravel())
    labels = trees.scores(x).argmax(axis=1)
    box = boxes(x, norm, eps)
    found = verify(Forest(trees), box, another_class(trees, labels))
    beaten = np.array(
        [(answer[reached(box, row, low, high)] != labels[row]).any() for row in range(len(x))]
    )
    tied = found.open  # float sums that round to a tie: the library may answer either
    assert tied.sum() <= (0 if name == "decision tree" else 2)
    np.testing.assert_array_equal(found.beaten[~tied], beaten[~tied])
    np.testing.assert_array_equal(found.proven[~tied], ~beaten[~tied])
    examples = found.examples[found.beaten]
    again = np.searchsorted(known, model.predict(examples).ravel())
    assert (again != labels[found.beaten]).all()
    assert inside(box.rows(found.beaten), examples)


def inside(box: Boxes, examples: Any) -> bool:
    if box.radius is not None:
        return bool((((examples - box.x) ** 2).sum(axis=1) <= box.radius**2 * (1 + 1e-6)).all())
    return bool(((examples >= box.low) & (examples <= box.high)).all())


@pytest.mark.parametrize("name", REGRESSIONS)
def test_errors_of_regressions_are_bounded_from_both_sides(name: str) -> None:
    x, _ = rows(2)
    y = x @ [3.0, -2.0, 1.0]
    found, error = brute_errors(fitted(REGRESSIONS[name], x[:110], y[:110]), x[110:], 0.4)
    np.testing.assert_array_equal(found.beaten, error > 0.4)
    assert 0 < found.beaten.sum() < len(error)


@pytest.mark.parametrize("tolerance", [0.15, 0.7])
@pytest.mark.parametrize("name", LOG_LINKS)
def test_errors_are_those_of_the_answers_where_scores_are_logarithms(
    name: str, tolerance: float
) -> None:
    """At 0.7 some answers may fall to 0, of which there is no logarithm."""
    x, _ = rows(2)
    model = fitted(LOG_LINKS[name], x[:110], np.exp(x[:110] @ [2.0, -2.0, 1.0]))
    found, error = brute_errors(model, x[110:], tolerance)
    np.testing.assert_array_equal(found.beaten, error > tolerance)
    assert found.beaten.sum() < len(error)
    assert tolerance > 0.5 or found.beaten.any()


def brute_errors(model: Any, x: Any, tolerance: float) -> tuple[Any, Any]:
    """What is decided in balls of 0.05 around inputs, and the largest error of all cells there."""
    trees = read_trees(model)
    assert trees is not None
    y = trees.answers(x)[:, 0]
    np.testing.assert_allclose(y, model.predict(x).ravel(), rtol=1e-5)
    low, high = grid(trees)
    answer = model.predict(np.where(np.isfinite(high), high, 9)).ravel()
    box = boxes(x, "linf", 0.05)
    found = verify(Forest(trees), box, beyond_tolerance(trees, y, tolerance))
    error = np.array(
        [np.abs(answer[reached(box, r, low, high)] - y[r]).max() for r in range(len(x))]
    )
    assert not found.open.any()
    return found, error


def test_without_work_nothing_is_proven_that_is_not() -> None:
    x, y = rows(2, count=300)
    model = fitted(CLASSIFIERS["random forest"], x[:200], y[:200])
    trees = read_trees(model)
    assert trees is not None
    labels = trees.scores(x[200:]).argmax(axis=1)
    task = Forest(trees), boxes(x[200:], "linf", 0.1), another_class(trees, labels)
    some, all_of_it = verify(*task, work=0), verify(*task)
    assert not (some.proven & ~all_of_it.proven).any()
    assert not (some.beaten & all_of_it.proven).any()


def test_a_missing_value_goes_its_way_and_stays_missing() -> None:
    x, y = rows(2, count=300)
    x[np.random.default_rng(2).random(x.shape) < 0.3] = np.nan
    model = fitted(CLASSIFIERS["histogram boosting"], x[:200], y[:200])
    trees = read_trees(model)
    assert trees is not None
    x = x[200:].astype(np.float64)
    labels = trees.scores(x).argmax(axis=1)
    found: Verdicts = verify(Forest(trees), boxes(x, "linf", 0.1), another_class(trees, labels))
    assert found.beaten.any()
    np.testing.assert_array_equal(np.isnan(found.examples), np.isnan(x))
    rng = np.random.default_rng(3)
    for _ in range(50):
        moved = model.predict(x + rng.uniform(-0.1, 0.1, x.shape))
        assert (moved == labels)[found.proven].all()
    assert (model.predict(found.examples) != labels)[found.beaten].all()


def test_a_tie_of_boosted_trees_is_not_proven_for_it_goes_to_either_class() -> None:
    """scikit-learn's `predict` answers a score of 0 by the second class, its probabilities not."""
    x = np.repeat([[0.0], [1.0]], 4, axis=0)
    y = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    model = GradientBoostingClassifier(n_estimators=1, max_depth=1, init="zero").fit(x, y)
    trees = read_trees(model)
    assert trees is not None
    assert trees.scores([[1.0]]).tolist() == [[0, 0]]
    found = verify(
        Forest(trees), boxes(np.array([[0.4], [0.4]]), "linf", 0.2), another_class(trees, [0, 1])
    )
    assert model.predict([[0.6]]) == 1
    assert not found.proven.any()
