"""Small tree ensembles of every library, for tests of their readers and of proofs on them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import catboost
import lightgbm
import numpy as np
import xgboost
from numpy.typing import NDArray
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

Rows = NDArray[np.float32]


def _catboost(kind: Any, **options: Any) -> Any:
    settings = {"iterations": 5, "depth": 3, "verbose": 0, "thread_count": 1} | options
    return kind(allow_writing_files=False, random_seed=0, **settings)


def _lightgbm(kind: Any, **options: Any) -> Any:
    return kind(n_estimators=5, num_leaves=6, min_child_samples=5, verbose=-1, n_jobs=1, **options)


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "decision tree": lambda: DecisionTreeClassifier(max_depth=5, random_state=0),
    "extra tree": lambda: ExtraTreeClassifier(max_depth=5, random_state=0),
    "random forest": lambda: RandomForestClassifier(6, max_depth=4, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(6, max_depth=4, random_state=0),
    "gradient boosting": lambda: GradientBoostingClassifier(
        n_estimators=4, max_depth=2, random_state=0
    ),
    "histogram boosting": lambda: HistGradientBoostingClassifier(
        max_iter=4, max_leaf_nodes=5, random_state=0
    ),
    "adaboost": lambda: AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=2, random_state=0), n_estimators=4, random_state=0
    ),
    "bagging": lambda: BaggingClassifier(
        DecisionTreeClassifier(max_depth=3), 4, max_features=0.7, random_state=0
    ),
    "voting": lambda: VotingClassifier(
        [("a", RandomForestClassifier(3, max_depth=3, random_state=0)),
         ("b", DecisionTreeClassifier(max_depth=3, random_state=0))],
        voting="soft", weights=[2, 1],
    ),
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=4, max_depth=2, n_jobs=1),
    "xgboost dart": lambda: xgboost.XGBClassifier(
        n_estimators=4, max_depth=2, booster="dart", rate_drop=0.5, n_jobs=1
    ),
    "lightgbm": lambda: _lightgbm(lightgbm.LGBMClassifier),
    "lightgbm forest": lambda: _lightgbm(
        lightgbm.LGBMClassifier, boosting_type="rf", bagging_freq=1, bagging_fraction=0.7
    ),
    "catboost": lambda: _catboost(catboost.CatBoostClassifier),
    "catboost lossguide": lambda: _catboost(
        catboost.CatBoostClassifier, grow_policy="Lossguide"
    ),
}  # fmt: skip
REGRESSIONS: dict[str, Callable[[], Any]] = {
    "random forest": lambda: RandomForestRegressor(5, max_depth=4, random_state=0),
    "gradient boosting": lambda: GradientBoostingRegressor(
        n_estimators=5, max_depth=2, random_state=0
    ),
    "histogram boosting": lambda: HistGradientBoostingRegressor(max_iter=5, max_leaf_nodes=6),
    "xgboost": lambda: xgboost.XGBRegressor(n_estimators=4, max_depth=2, n_jobs=1),
    "lightgbm": lambda: _lightgbm(lightgbm.LGBMRegressor),
    "catboost": lambda: _catboost(catboost.CatBoostRegressor),
}
LOG_LINKS: dict[str, Callable[[], Any]] = {
    "histogram boosting, gamma": lambda: HistGradientBoostingRegressor(
        loss="gamma", max_iter=5, max_leaf_nodes=6
    ),
    "xgboost, poisson": lambda: xgboost.XGBRegressor(
        n_estimators=4, max_depth=2, objective="count:poisson", n_jobs=1
    ),
    "xgboost, tweedie": lambda: xgboost.XGBRegressor(
        n_estimators=4, max_depth=2, objective="reg:tweedie", n_jobs=1
    ),
    "lightgbm, gamma": lambda: _lightgbm(lightgbm.LGBMRegressor, objective="gamma"),
    "catboost, poisson": lambda: _catboost(
        catboost.CatBoostRegressor, loss_function="Poisson", learning_rate=0.5
    ),
}
NO_MISSING = {"gradient boosting", "adaboost"}  # models that refuse NaN


def rows(classes: int, *, seed: int = 0, count: int = 160, coarse: bool = False) -> Any:
    """Inputs `(n, 3)` in [0, 1] and labels that two thresholds and some noise decide."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, 3)).astype(np.float32)
    if coarse:
        x = (np.round(x * 8) / 8).astype(np.float32)
    y = (x.sum(axis=1) * 2 + rng.normal(0, 0.3, count)).astype(np.int64) % classes
    return x, y


def fitted(build: Callable[[], Any], x: Any, y: Any) -> Any:
    """The model, trained without the libraries' warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build().fit(x, y)
