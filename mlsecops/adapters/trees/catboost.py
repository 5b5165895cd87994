"""Reader of CatBoost models: the JSON document that every CatBoost object saves.

document → symmetric trees (`oblivious_trees`) or others (`trees`) → Ensemble

Source: CatBoost, `catboost/libs/model/model_export/json_model_helpers.cpp`, and
`model/cpu/evaluator_impl.cpp` (float32 x, `>` goes right).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlsecops._json import parse_json
from mlsecops.adapters.trees.ensemble import Ensemble, Nodes, joined, last_of_float32
from mlsecops.errors import UsageError

_LOG_LINK: Final = ("Poisson", "Tweedie")  # losses; a CatBoostRegressor answers exponents then
_TWO_CLASSES: Final = ("Logloss", "CrossEntropy")
_DEEPEST: Final = 16  # levels; CatBoost, the limit of `depth`


def read_catboost(document: Mapping[str, Any]) -> Ensemble:
    """The ensemble of a model's document.

    Raises:
        UsageError: A split asks for a category or a text, or the document is of another shape.
    """
    try:
        return _read(document)
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(f"CatBoost model: not as its format says: {error!r}") from error


def model_document(model: Any) -> Any:
    """The document of a `catboost.CatBoost`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        text = path.read_bytes()
    return parse_json(text, what="CatBoost model", error=UsageError, constants=True)


def _read(document: Mapping[str, Any]) -> Ensemble:
    info = document["features_info"]
    columns = [f["flat_feature_index"] for f in info.get("float_features", ())]
    nans = [f["nan_value_treatment"] == "AsTrue" for f in info.get("float_features", ())]
    others = [
        f["flat_feature_index"]
        for kind in ("categorical_features", "text_features", "embedding_features")
        for f in info.get(kind, ())
    ]
    scale, bias = document["scale_and_bias"]
    bias = np.atleast_1d(np.asarray(bias, dtype=np.float64))
    about = document.get("model_info", {})
    loss = about.get("params", {}).get("loss_function", {}).get("type")
    labels = about.get("class_params", {}).get("class_names", ())
    if loss in _TWO_CLASSES:  # of probabilities it has no names
        labels = labels or (0, 1)
    width = 2 if len(bias) == 1 and len(labels) == 2 else len(bias)  # noqa: PLR2004 - two classes
    reader = _Reader(columns, nans, outputs=len(bias), width=width)
    trees = [reader.symmetric(tree) for tree in document.get("oblivious_trees") or ()]
    trees += [reader.other(tree) for tree in document.get("trees") or ()]
    found = joined(
        trees, base=np.zeros(width), features=max([*columns, *others]) + 1,
        scale="logits" if labels else "values",
        link="log" if loss in _LOG_LINK else "identity",
    ).scaled(float(scale))  # fmt: skip
    found.base[width - len(bias) :] = bias
    return found


class _Reader:
    """Nodes of each tree, for given columns and outputs."""

    def __init__(self, columns: list[int], nans: list[bool], *, outputs: int, width: int) -> None:
        self._columns, self._nans = columns, nans
        self._outputs, self._width = outputs, width

    def symmetric(self, tree: Mapping[str, Any]) -> Nodes:
        """One split a level; bit `i` of a leaf's number is the answer of split `i`."""
        splits = tree.get("splits") or []
        depth = len(splits)
        if depth > _DEEPEST:
            raise UsageError(f"CatBoost model: expected at most {_DEEPEST} levels, got {depth}")
        inner, leaves = 2**depth - 1, 2**depth
        values = self._values(np.asarray(tree["leaf_values"], dtype=np.float64), leaves)
        number = np.arange(inner)
        level = np.floor(np.log2(number + 1)).astype(np.int64)
        asked = [self._split(split) for split in reversed(splits)]  # the last splits the root
        pad = np.zeros(leaves)
        column, border, missing = (
            np.array([each[i] for each in asked])[level] if depth else np.zeros(0) for i in range(3)
        )
        return Nodes(
            feature=np.concatenate([column, pad - 1]).astype(np.int64),
            threshold=np.concatenate([border, pad]),
            left=np.concatenate([2 * number + 1, pad]).astype(np.int64),
            right=np.concatenate([2 * number + 2, pad]).astype(np.int64),
            missing_left=np.concatenate([missing, pad]).astype(bool),
            value=np.concatenate([np.zeros((inner, self._width)), values]),
        )

    def other(self, tree: Mapping[str, Any]) -> Nodes:
        """A tree of nested nodes, in the order in which they are met."""
        rows: list[tuple[int, float, bool]] = []
        children: list[list[int]] = []
        values: list[Any] = []
        waiting: list[tuple[Mapping[str, Any], int, int]] = [(tree, -1, 0)]
        while waiting:
            node, parent, side = waiting.pop()
            if parent >= 0:
                children[parent][side] = len(rows)
            children.append([0, 0])
            here = len(rows)
            if "split" in node:
                rows.append(self._split(node["split"]))
                values.append(np.zeros(self._width))
                waiting += [(node["left"], here, 0), (node["right"], here, 1)]
            else:
                rows.append((-1, 0.0, False))
                values.append(self._values(np.asarray(node["value"], dtype=np.float64), 1)[0])
        feature, threshold, missing = (np.array(each) for each in zip(*rows, strict=True))
        left, right = np.array(children, dtype=np.int64).T
        return Nodes(
            feature=feature.astype(np.int64), threshold=threshold, left=left, right=right,
            missing_left=missing.astype(bool), value=np.array(values),
        )  # fmt: skip

    def _split(self, split: Mapping[str, Any]) -> tuple[int, float, bool]:
        if split.get("split_type", "FloatFeature") != "FloatFeature":
            raise UsageError(
                f"CatBoost model: a {split['split_type']} split: only splits of numbers are read; "
                "encode categories before the model"
            )
        index = int(split["float_feature_index"])
        # A missing value is the smallest number (AsFalse, AsIs) or the largest (AsTrue).
        last = float(last_of_float32(np.float32(split["border"])))
        return self._columns[index], last, not self._nans[index]

    def _values(self, values: Any, leaves: int) -> Any:
        placed = np.zeros((leaves, self._width))
        placed[:, self._width - self._outputs :] = values.reshape(leaves, self._outputs)
        return placed
