"""States of decision trees: indices of children and features inside their arrays.

symbolic state of a tree, predictor or ensemble → ValueError where compiled code, which does not
check indices, would read or write outside its arrays

Source: scikit-learn `tree/_tree.pyx`, `Tree.__cinit__`, `__setstate__` and `_apply_dense`;
`ensemble/_gradient_boosting.pyx`; `ensemble/_hist_gradient_boosting/_predictor.pyx`.
"""

from __future__ import annotations

from typing import Any, Final

from mlsecops.loading.pickle_vm.arrays import ArrayReader, array
from mlsecops.loading.pickle_vm.stack import CallResult, Container
from mlsecops.loading.pickle_vm.state_values import built, demand, items, made, whole

TREE: Final = "sklearn.tree._tree.Tree"
PREDICTOR: Final = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
_BITSET_WORDS: Final = 8  # uint32; `_bitset.pxd`, BITSET_INNER_DTYPE_C[8]
_INT: Final = "<i8"  # dtype; `_typedefs.pxd`, intp_t on 64-bit machines


def require_tree(value: CallResult, reader: ArrayReader) -> None:
    """Demand that a `Tree` refers only to its own nodes, features and values."""
    features, classes, outputs = value.arguments
    sizes = reader.numbers(classes)
    demand(sizes.ndim == 1 and sizes.dtype == _INT, "a tree without numbers of classes")
    whole(features)
    demand(whole(outputs) == len(sizes) > 0 and sizes.min() > 0, "a tree without outputs")
    state = items(value.state, "nodes", "values", "node_count", "max_depth")
    nodes = reader.numbers(state["nodes"], fields=("left_child", "right_child", "feature"))
    count = len(nodes) if nodes.ndim == 1 else 0
    demand(state["node_count"] == count > 0, "a tree whose nodes are not as many as it says")
    values = array(state["values"])
    shape = (count, len(sizes), int(sizes.max()))
    demand(values is not None and values.shape == shape, "a tree whose values are not its nodes'")
    inner = nodes["left_child"] != -1
    _require_children(nodes["left_child"][inner], nodes["right_child"][inner], inner)
    used = nodes["feature"][inner]
    demand(not len(used) or (used.min() >= 0 and used.max() < features), _FEATURE)


_FEATURE: Final = "a tree that splits by a feature that it does not have"
_CHILD: Final = "a tree whose nodes have children outside of it, or before them"


def _require_children(left: Any, right: Any, inner: Any) -> None:
    """Demand children behind their parents, as every builder writes them: so paths end."""
    parents = inner.nonzero()[0]
    for child in (left.astype("i8"), right.astype("i8")):
        demand(bool((child > parents).all() and (child < len(inner)).all()), _CHILD)


def require_predictor(value: CallResult, reader: ArrayReader) -> None:
    """Demand that a `TreePredictor` refers only to its own nodes and bit sets."""
    state = items(value.state, "nodes", "raw_left_cat_bitsets", "binned_left_cat_bitsets")
    fields = ("left", "right", "feature_idx", "is_leaf", "is_categorical", "bitset_idx")
    nodes = reader.numbers(state["nodes"], fields=fields)
    demand(nodes.ndim == 1 and len(nodes) > 0, "a tree without nodes")
    inner = nodes["is_leaf"] == 0
    _require_children(nodes["left"][inner], nodes["right"][inner], inner)
    demand(not inner.any() or nodes["feature_idx"][inner].min() >= 0, _FEATURE)
    rows = []
    for key in ("raw_left_cat_bitsets", "binned_left_cat_bitsets"):
        found = array(state[key])
        shape = found.shape if found else ()
        demand(len(shape) == 2 and shape[1] == _BITSET_WORDS, "bit sets of another shape")  # noqa: PLR2004 - rows and words
        rows.append(shape[0])
    categorical = inner & (nodes["is_categorical"] != 0)
    if categorical.any():
        demand(nodes["bitset_idx"][categorical].max() < min(rows), "a bit set that is not there")
    used, split = nodes["feature_idx"][inner], nodes["feature_idx"][categorical]
    value.known = int(used.max(initial=-1)), frozenset(split.tolist())


def require_holder(state: Any, _: ArrayReader) -> None:
    """Demand that an estimator with a tree takes as many features as its tree."""
    if isinstance(state, Container) and "tree_" in state.items:
        demand(_features(state) == _tree_features(state), _MISMATCH)


_MISMATCH: Final = "an estimator whose tree has another number of features"


def _features(state: Container) -> int:
    return whole(items(state, "n_features_in_")["n_features_in_"])


def _tree_features(state: Any) -> int:
    tree = items(state, "tree_")["tree_"]
    demand(isinstance(tree, CallResult) and tree.name == TREE and tree.state, "no fitted tree")
    return whole(tree.arguments[0])


def require_forest(state: Any, _: ArrayReader) -> None:
    """Demand that the trees of a forest, which take its input unchecked, have its features."""
    if not isinstance(state, Container) or "estimators_" not in state.items:
        return
    features = _features(state)
    members = built(state.items["estimators_"])
    subsets = state.items.get("estimators_features_")
    chosen = built(subsets) if subsets is not None else [None] * len(members)
    demand(len(chosen) == len(members), _MISMATCH)
    for member, subset in zip(members, chosen, strict=True):
        demand(isinstance(member, CallResult), "a forest with something other than trees")
        found = array(subset)
        count = features if found is None else found.shape[0]
        demand(_tree_features(member.state) == count <= features, _MISMATCH)


def require_boosting(state: Any, reader: ArrayReader) -> None:
    """Demand of gradient boosting what `require_forest` does, and as many columns as outputs."""
    require_forest(state, reader)
    if isinstance(state, Container) and "estimators_" in state.items:
        columns = items(state, "n_trees_per_iteration_")["n_trees_per_iteration_"]
        found = array(state.items["estimators_"])
        demand(found is not None and found.shape[1:] == (columns,), "trees of too many outputs")


def require_histogram_boosting(state: Any, reader: ArrayReader) -> None:
    """Demand that predictors use features and categories of their estimator."""
    if not isinstance(state, Container) or "_predictors" not in state.items:
        return
    features = _features(state)
    known = items(state, "_bin_mapper")["_bin_mapper"]
    demand(isinstance(known, CallResult) and made(known).endswith("._BinMapper"), "no bins")
    columns = items(known.state, "is_categorical_")["is_categorical_"]
    categorical = reader.numbers(columns)
    demand(categorical.shape == (features,), _MISMATCH)
    allowed = set(categorical.nonzero()[0].tolist())
    outputs = whole(items(state, "n_trees_per_iteration_")["n_trees_per_iteration_"])
    for row in built(state.items["_predictors"]):
        predictors = built(row)
        demand(len(predictors) == outputs, "predictors of too many outputs")
        for member in predictors:
            demand(isinstance(member, CallResult) and made(member) == PREDICTOR, "no predictor")
            demand(isinstance(member.known, tuple), "no fitted predictor")
            last, split = member.known
            demand(last < features and split <= allowed, _FEATURE)
