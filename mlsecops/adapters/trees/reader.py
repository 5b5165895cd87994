"""Reading of a model's trees, whatever library it is of.

model of scikit-learn, XGBoost, LightGBM or CatBoost → `read_trees` → Ensemble, or None
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, Final

from mlsecops.adapters.trees.ensemble import Ensemble
from mlsecops.errors import UsageError

_HALF: Final = 0.5  # probability from which on CatBoost answers the second of two classes


def read_trees(model: Any) -> Ensemble | None:
    """The trees of a fitted model; None if it is no tree ensemble.

    Raises:
        UsageError: It is a tree ensemble that cannot be read, with the reason.
    """
    if isinstance(model, Ensemble):
        return model
    for library, reader in (
        ("xgboost", _xgboost), ("lightgbm", _lightgbm), ("catboost", _catboost),
        ("sklearn", _sklearn),
    ):  # fmt: skip
        if library in sys.modules and type(model).__module__.split(".")[0] == library:
            return reader(model)
    return None


def _xgboost(model: Any) -> Ensemble | None:
    from mlsecops.adapters.trees import xgboost as own  # noqa: PLC0415 - only for its models

    booster = model
    if hasattr(model, "get_booster"):
        missing = getattr(model, "missing", None)
        if missing is not None and missing == missing:  # noqa: PLR0124 - no NaN
            raise UsageError(f"{type(model).__name__}: missing={missing} is an ordinary number too")
        booster = model.get_booster()
        if (best := booster.attr("best_iteration")) is not None:
            booster = booster[: int(best) + 1]  # a Booster of its own answers with all rounds
    if not hasattr(booster, "save_raw"):
        return None
    return own.read_xgboost(own.booster_document(booster))


def _lightgbm(model: Any) -> Ensemble | None:
    from mlsecops.adapters.trees.lightgbm import read_lightgbm  # noqa: PLC0415 - as above

    booster = getattr(model, "booster_", model)
    text = getattr(booster, "model_to_string", None)
    if getattr(booster, "params", {}).get("pred_early_stop"):
        raise UsageError(f"{type(model).__name__}: pred_early_stop leaves out trees, row by row")
    return None if text is None else read_lightgbm(text())


def _catboost(model: Any) -> Ensemble | None:
    from mlsecops.adapters.trees import catboost as own  # noqa: PLC0415 - as above

    if not hasattr(model, "save_model"):
        return None
    threshold = getattr(model, "get_probability_threshold", lambda: None)()
    if threshold not in {None, _HALF}:
        raise UsageError(f"{type(model).__name__}: answers by a threshold of {threshold:g}")
    trees = own.read_catboost(own.model_document(model))
    return replace(trees, link="identity") if type(model).__name__ == "CatBoost" else trees


def _sklearn(model: Any) -> Ensemble | None:
    from mlsecops.adapters.trees.scikit import read_sklearn  # noqa: PLC0415 - as above

    return read_sklearn(model)
