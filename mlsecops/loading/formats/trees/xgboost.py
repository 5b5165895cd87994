"""XGBoost model scanner, JSON and UBJSON: children and features of each tree inside their arrays.

Source: XGBoost "Introduction to Model IO", JSON schema; `src/tree/tree_model.cc`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from mlsecops._bounded.budget import require_text
from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused, UnsafeContent
from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.formats.trees.ubjson import UbJsonReader
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked

_CHILDREN: Final = ("left_children", "right_children")
_PER_NODE: Final = (*_CHILDREN, "parents", "split_indices", "split_conditions", "default_left")
_NO_CHILD: Final = -1  # index; tree_model.h, `kInvalidNodeId`
_BOOSTERS: Final = frozenset({"gbtree", "dart", "gblinear"})


def examine_xgboost_json(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check a model in JSON."""
    limits.require("header_bytes", source.size, where=source.name)
    with source.stream() as stream:
        value = parse_object(stream.read(), what=source.name, error=FormatRefused)
    return _examine(value, source.name, limits)


def examine_xgboost_ubj(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check a model in UBJSON."""
    require_text(source.size, where=source.name)
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        value = UbJsonReader(cursor, depth=limits.depth, values=limits.opcodes).value()
        cursor.require_end()
    return _examine(value, source.name, limits)


def _examine(value: Any, where: str, limits: Limits) -> Examination:
    try:
        booster = value["learner"]["gradient_booster"]
        name = booster["name"]
        if name not in _BOOSTERS:
            return not_checked(where, f"booster {str(name)[:80]!r}, which is newer than the check")
        features = int(value["learner"]["learner_model_param"]["num_feature"])
        for number, tree in enumerate(_trees(booster)):
            limits.require("tensors", number + 1, where=where)
            if problem := _problem(tree, features):
                raise UnsafeContent(
                    f"{where}: tree {number}: {problem}; XGBoost follows it without a check",
                    rule="tree-index",
                    where=f"tree {number}",
                )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FormatRefused(
            f"{where}: expected a model as XGBoost writes it: {type(error).__name__}: {error}"
        ) from error
    return Examination()


def _trees(booster: Any) -> Iterator[Any]:
    if booster["name"] == "dart":
        booster = booster["gbtree"]
    if booster["name"] == "gbtree":
        yield from booster["model"]["trees"]


def _problem(tree: Any, features: int) -> str | None:
    """Why a tree's walks would leave its arrays, or None."""
    nodes = int(tree["tree_param"]["num_nodes"])
    arrays = {key: tree[key] for key in _PER_NODE}
    if any(not isinstance(each, Sequence) or len(each) != nodes for each in arrays.values()):
        return f"expected {nodes} nodes in each of its arrays"
    left, right = (arrays[key] for key in _CHILDREN)
    weights, targets = tree.get("leaf_weights"), int(tree["tree_param"].get("size_leaf_vector", 1))
    for at, children in enumerate(zip(left, right, strict=True)):
        if children[0] == _NO_CHILD:  # a leaf; of several targets, its weights' number follows
            vector = children[1] != _NO_CHILD and weights is not None
            if vector and not 0 <= children[1] * targets <= len(weights) - targets:
                return f"leaf {at} has weights {children[1]!r}, of {len(weights)}"
            continue
        # A child behind its parent: every walk ends.
        if not all(type(each) is int and at < each < nodes for each in children):
            return f"node {at} leads to {children!r}, of {nodes} nodes"
        feature = arrays["split_indices"][at]
        if type(feature) is not int or not 0 <= feature < features:
            return f"node {at} splits by feature {feature!r}, of {features}"
    return None
