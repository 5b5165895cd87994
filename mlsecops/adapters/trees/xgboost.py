"""Reader of XGBoost models: the JSON or UBJSON document that every XGBoost object saves.

document → trees of `learner.gradient_booster` → Ensemble

Source: XGBoost "Introduction to Model IO", JSON schema; `include/xgboost/tree_model.h` and
`src/common/categorical.h` (float32 x, `<`; a listed category goes right).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from mlsecops._json import parse_json
from mlsecops.adapters.trees.ensemble import (
    CategorySplit,
    Ensemble,
    Nodes,
    joined,
    last_of_float32,
)
from mlsecops.errors import UsageError

_PROBABILITY_BASE: Final = ("binary:", "reg:logistic")  # objectives whose base is a probability
_LOG_LINK: Final = ("count:", "reg:gamma", "reg:tweedie", "survival:")
_NUMERIC: Final = 0  # `split_type`; XGBoost, `tree_model.h`, FeatureType::kNumerical


def read_xgboost(document: Mapping[str, Any]) -> Ensemble:
    """The ensemble of a model's document.

    Raises:
        UsageError: It is no sum of trees with one score a leaf.
    """
    try:
        return _read(document["learner"])
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(f"XGBoost model: not as its schema says: {error!r}") from error


def booster_document(booster: Any) -> Any:
    """The document of an `xgboost.Booster`."""
    text = bytes(booster.save_raw(raw_format="json"))
    return parse_json(text, what="XGBoost model", error=UsageError, constants=True)


def _read(learner: Mapping[str, Any]) -> Ensemble:
    booster, weights = learner["gradient_booster"], None
    if booster["name"] == "dart":
        weights, booster = booster["weight_drop"], booster["gbtree"]
    if "model" not in booster or "trees" not in booster["model"]:
        raise UsageError(f"XGBoost model: booster {booster['name']!r} has no trees")
    model, settings = booster["model"], learner["learner_model_param"]
    objective = str(learner["objective"]["name"])
    if int(settings.get("num_target", 1)) > 1:
        raise UsageError("XGBoost model: several targets; measure each with a model of its own")
    count = max(int(settings["num_class"]), 1)
    classifier = objective.startswith(("binary:", "multi:"))
    width = 2 if classifier and count == 1 else count
    nodes = [
        _nodes(
            tree,
            int(group) + width - count,
            width,
            1.0 if weights is None else float(weights[number]),
        )
        for number, (tree, group) in enumerate(zip(model["trees"], model["tree_info"], strict=True))
    ]
    return joined(
        nodes, base=_base(settings["base_score"], objective, count, width),
        features=int(settings["num_feature"]), scale="logits" if classifier else "values",
        link="log" if objective.startswith(_LOG_LINK) else "identity", single=True,
    )  # fmt: skip


def _base(written: Any, objective: str, count: int, width: int) -> Any:
    """Scores before any tree, from numbers in the unit of the answers."""
    text = str(written)
    is_list = text.startswith("[")
    listed = parse_json(text, what="XGBoost base_score", error=UsageError) if is_list else [written]
    given = [float(each) for each in listed]
    if objective.startswith(_PROBABILITY_BASE):
        given = [math.log(p / (1 - p)) if 0 < p < 1 else p for p in given]
    elif objective.startswith(_LOG_LINK):
        given = [math.log(p) if p > 0 else p for p in given]
    if len(given) == 1:
        given *= count
    return [0.0, *given] if width > count else given


def _nodes(tree: Mapping[str, Any], group: int, width: int, weight: float) -> Nodes:
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise UsageError("XGBoost model: leaves with a vector (multi_output_tree) are not read")
    left = np.asarray(tree["left_children"], dtype=np.int64)
    condition = np.asarray(tree["split_conditions"], dtype=np.float32)
    leaf = left < 0
    value = np.zeros((len(left), width))
    value[leaf, group] = weight * condition[leaf]
    return Nodes(
        feature=np.where(leaf, -1, np.asarray(tree["split_indices"], dtype=np.int64)),
        threshold=last_of_float32(np.nextafter(condition, np.float32(-np.inf))),
        left=left,
        right=np.asarray(tree["right_children"], dtype=np.int64),
        missing_left=np.asarray(tree["default_left"], dtype=bool),
        value=value,
        categories=dict(_categories(tree, leaf)),
    )


def _categories(tree: Mapping[str, Any], leaf: Any) -> Any:
    kinds = tree.get("split_type") or [_NUMERIC] * len(leaf)
    spans = zip(
        tree.get("categories_nodes", ()), tree.get("categories_segments", ()),
        tree.get("categories_sizes", ()), strict=True,
    )  # fmt: skip
    for node, start, size in spans:
        if int(kinds[int(node)]) != _NUMERIC:
            listed = tree["categories"][int(start) : int(start) + int(size)]
            right = frozenset(float(each) for each in listed)
            yield int(node), CategorySplit(left=frozenset(), right=right, other_left=True)
