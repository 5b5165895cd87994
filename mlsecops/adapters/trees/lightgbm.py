"""Reader of LightGBM models: the text that every LightGBM object saves.

`tree` text → blocks `Tree=i` of `name=values` → Ensemble

Source: LightGBM, `include/LightGBM/tree.h` (`NumericalDecision`, `CategoricalDecision`: float64 x,
`<=`) and `src/boosting/gbdt_model_text.cpp`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mlsecops.adapters.trees.ensemble import CategorySplit, Ensemble, Nodes, joined
from mlsecops.errors import UsageError

_CATEGORICAL: Final = 1  # bit of `decision_type`; LightGBM, `tree.h`
_DEFAULT_LEFT: Final = 2  # bit, likewise
_MISSING: Final = ("none", "zero", "nan")  # bits 2 and 3, likewise
_LOG_LINK: Final = frozenset(
    {"poisson", "gamma", "tweedie"}
)  # objectives; likewise, `docs/Parameters`
_BITS: Final = 32  # categories a word; LightGBM, `Common::FindInBitset`


def read_lightgbm(text: str) -> Ensemble:
    """The ensemble of a model's text.

    Raises:
        UsageError: It is no sum of trees with constant leaves.
    """
    try:
        return _read(text)
    except UsageError:
        raise
    except (KeyError, ValueError, IndexError) as error:
        raise UsageError(f"LightGBM model: not as its format says: {error!r}") from error


def _read(text: str) -> Ensemble:
    head, *blocks = text.split("\nTree=")
    fields = dict(_fields(head))
    groups = int(fields["num_tree_per_iteration"])
    objective, *settings = fields.get("objective", "").split(" ")
    if "sqrt" in settings:
        raise UsageError("LightGBM model: reg_sqrt answers the squares of its sums")
    classifier = objective in {"binary", "multiclass", "multiclassova", "cross_entropy"}
    width = 2 if classifier and groups == 1 else groups
    last = blocks[-1].split("\nend of trees", maxsplit=1)[0] if blocks else ""
    trees = [dict(_fields(block)) for block in [*blocks[:-1], last]] if blocks else []
    features = int(fields["max_feature_idx"]) + 1
    column = width - groups  # of two classes with one score, that of the second
    nodes = [_nodes(tree, column + number % groups, width) for number, tree in enumerate(trees)]
    found = joined(
        nodes, base=np.zeros(width), features=features,
        scale="logits" if classifier else "values",
        link="log" if objective in _LOG_LINK else "identity",
    )  # fmt: skip
    averaged = "average_output" in head.splitlines()
    return found.averaged(len(trees) / groups) if averaged else found


def _fields(block: str) -> Any:
    for line in block.splitlines():
        name, equal, value = line.partition("=")
        if equal:
            yield name, value


def _numbers(tree: dict[str, str], name: str, kind: Any = np.float64) -> Any:
    return np.array(tree.get(name, "").split(), dtype=kind)


def _nodes(tree: dict[str, str], group: int, width: int) -> Nodes:
    """Splits first, leaves after them; the format writes the leaf i as the child -i - 1."""
    if int(tree.get("is_linear", 0)):
        raise UsageError("LightGBM model: linear_tree has leaves that are no constants")
    leaves = int(tree["num_leaves"])
    splits, value = leaves - 1, np.zeros((2 * leaves - 1, width))
    value[splits:, group] = _numbers(tree, "leaf_value")
    decision = _numbers(tree, "decision_type", np.int64)[:splits]
    threshold = _numbers(tree, "threshold")[:splits]
    category = (decision & _CATEGORICAL) > 0
    kinds = np.array(_MISSING)[np.where(category, 0, decision >> 2 & 3)]
    if (kinds == "zero").any():
        raise UsageError("LightGBM model: zero_as_missing splits an interval around zero")
    default = (decision & _DEFAULT_LEFT) > 0
    missing = np.where(kinds == "nan", default, threshold >= 0)  # NaN is read as 0 without it

    def padded(values: Any, fill: Any) -> Any:
        return np.concatenate([values, np.full(leaves, fill, dtype=np.asarray(values).dtype)])

    children = [
        padded(np.where(c < 0, splits + ~c, c), 0)
        for c in (_numbers(tree, f"{side}_child", np.int64)[:splits] for side in ("left", "right"))
    ]
    return Nodes(
        feature=padded(_numbers(tree, "split_feature", np.int64)[:splits], -1),
        threshold=padded(threshold, 0.0),
        left=children[0],
        right=children[1],
        missing_left=padded(missing & ~category, False),  # noqa: FBT003 - a fill value
        value=value,
        categories=dict(_categories(tree, category, threshold)),
    )


def _categories(tree: dict[str, str], category: Any, threshold: Any) -> Any:
    if not category.any():
        return
    bounds = _numbers(tree, "cat_boundaries", np.int64)
    words = _numbers(tree, "cat_threshold", np.int64)
    for node in np.flatnonzero(category).tolist():
        number = int(threshold[node])
        mine = words[bounds[number] : bounds[number + 1]]
        listed = [
            float(_BITS * index + bit)
            for index, word in enumerate(mine.tolist())
            for bit in range(_BITS)
            if word >> bit & 1
        ]
        yield node, CategorySplit(left=frozenset(listed))
