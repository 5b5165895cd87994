"""Reader of scikit-learn's tree ensembles.

fitted classifier or regressor → its trees → Ensemble

Source: scikit-learn, `sklearn/tree/_tree.pyx` (float32 x, `<=`, NaN by `missing_go_to_left`),
`sklearn/ensemble/_hist_gradient_boosting/_predictor.pyx` (float64 x, `<=`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mlsecops.adapters.trees.ensemble import (
    CategorySplit,
    Ensemble,
    Nodes,
    joined,
    last_of_float32,
    summed,
)
from mlsecops.errors import UsageError

_TREES: Final = ("DecisionTree", "ExtraTree")
_FORESTS: Final = ("RandomForest", "ExtraTrees")
_LOG_LINK: Final = ("poisson", "gamma")  # losses of histogram boosting; `sklearn/_loss/loss.py`
_KINDS: Final = ("Classifier", "Regressor")


def read_sklearn(model: Any) -> Ensemble | None:
    """The ensemble of a fitted scikit-learn model, or None if it is no tree ensemble.

    Raises:
        UsageError: It is one that cannot be read, with the reason.
    """
    kind = type(model).__name__
    stem = next((kind.removesuffix(k) for k in _KINDS if kind.endswith(k)), "")
    if not type(model).__module__.startswith("sklearn.") or not stem:
        return None
    readers = {
        **dict.fromkeys(_TREES, _tree),
        **dict.fromkeys(_FORESTS, _forest),
        "GradientBoosting": _boosting,
        "HistGradientBoosting": _histogram_boosting,
        "AdaBoost": _adaboost,
        "Bagging": _bagging,
        "Voting": _voting,
    }
    reader = readers.get(stem)
    return None if reader is None else reader(model)


def _tree(model: Any) -> Ensemble:
    return _many([model], model)


def _forest(model: Any) -> Ensemble:
    return _many(model.estimators_, model)


def _many(trees: Any, model: Any) -> Ensemble:
    outputs, classifier = getattr(model, "n_outputs_", 1), hasattr(model, "classes_")
    if outputs > 1:
        return _several_outputs(trees, model, outputs, classifier=classifier)
    width = len(model.classes_) if classifier else 1
    nodes = [_nodes(tree.tree_, _shares(tree.tree_, classifier=classifier)) for tree in trees]
    found = joined(
        nodes, base=np.zeros(width), features=model.n_features_in_,
        scale="probabilities" if classifier else "values",
    )  # fmt: skip
    return found.averaged(len(nodes))


def _several_outputs(trees: Any, model: Any, outputs: int, *, classifier: bool) -> Ensemble:
    """One score an output: a value, or the share of the second of two classes less the first's."""
    if classifier and any(len(classes) != 2 for classes in model.classes_):  # noqa: PLR2004 - yes and no
        raise UsageError(f"{type(model).__name__}: expected two classes of each of several outputs")
    nodes = []
    for tree in trees:
        value = tree.tree_.value
        if classifier:
            total = value.sum(axis=2)
            value = (value[:, :, 1] - value[:, :, 0]) / np.where(total == 0, 1, total)
        nodes.append(_nodes(tree.tree_, value.reshape(len(value), outputs)))
    found = joined(nodes, base=np.zeros(outputs), features=model.n_features_in_, scale="values")
    return found.averaged(len(nodes))


def _shares(tree: Any, *, classifier: bool) -> Any:
    value = tree.value[:, 0, :]
    if not classifier:
        return value
    total = value.sum(axis=1, keepdims=True)
    return value / np.where(total == 0, 1, total)


def _nodes(tree: Any, value: Any) -> Nodes:
    feature = np.where(tree.children_left < 0, -1, tree.feature)
    missing = getattr(tree, "missing_go_to_left", np.zeros(len(feature)))
    return Nodes(
        feature=feature,
        threshold=last_of_float32(tree.threshold),
        left=tree.children_left,
        right=tree.children_right,
        missing_left=np.asarray(missing, dtype=bool),
        value=np.asarray(value, dtype=np.float64),
    )


def _boosting(model: Any) -> Ensemble:
    """Gradient boosting: one tree a class and stage, or one for two classes."""
    stages = model.estimators_
    classifier = hasattr(model, "classes_")
    width = _width(stages.shape[1], classifier=classifier)
    init = model.init_
    if init != "zero" and not type(init).__name__.startswith("Dummy"):
        raise UsageError(f"{type(model).__name__}: init={type(init).__name__} is no constant")
    start = np.zeros(stages.shape[1])
    if init != "zero":
        start = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0]  # noqa: SLF001 - the only place of the prior
    nodes = [
        _nodes(tree.tree_, _at(model.learning_rate * tree.tree_.value[:, 0, 0], column, width))
        for stage in stages
        for column, tree in enumerate(stage)
    ]
    return joined(
        nodes, base=_start(start, width), features=model.n_features_in_,
        scale="logits" if classifier else "values",
    )  # fmt: skip


def _histogram_boosting(model: Any) -> Ensemble:
    start = np.asarray(model._baseline_prediction, dtype=np.float64).ravel()  # noqa: SLF001 - as above
    classifier = hasattr(model, "classes_")
    width = _width(len(start), classifier=classifier)
    columns, codes = _histogram_columns(model)
    nodes = [
        _histogram_nodes(tree, columns, codes, column, width)
        for stage in model._predictors  # noqa: SLF001 - as above
        for column, tree in enumerate(stage)
    ]
    return joined(
        nodes, base=_start(start, width), features=model.n_features_in_,
        scale="logits" if classifier else "values",
        link="log" if model.loss in _LOG_LINK else "identity",
    )  # fmt: skip


def _histogram_columns(model: Any) -> tuple[Any, dict[int, list[float]]]:
    """Column of the input for each column of the trees, and categories by the trees' column."""
    features = model.n_features_in_
    flags = getattr(model, "is_categorical_", None)
    if flags is None:
        return np.arange(features), {}
    flags = np.asarray(flags, dtype=bool)
    columns = np.concatenate([np.flatnonzero(flags), np.flatnonzero(~flags)])
    encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001 - as above
    codes: dict[int, list[float]] = {}
    for number, names in enumerate(encoder.categories_):
        try:
            codes[number] = [float(name) for name in names]
        except (TypeError, ValueError):  # text, which only a data frame holds: by its place
            codes[number] = [float(code) for code in range(len(names))]
    return columns, codes


def _histogram_nodes(
    tree: Any, columns: Any, codes: dict[int, list[float]], column: int, width: int
) -> Nodes:
    nodes = tree.nodes
    leaf = nodes["is_leaf"].astype(bool)
    asked = nodes["feature_idx"].astype(np.int64)
    splits: dict[int, CategorySplit] = {}
    for index in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf).tolist():
        bits = tree.raw_left_cat_bitsets[nodes["bitset_idx"][index]]
        known = codes[int(asked[index])]
        ours = {i for i in range(len(known)) if bits[i // 32] >> (i % 32) & 1}
        splits[index] = CategorySplit(
            left=frozenset(v for i, v in enumerate(known) if i in ours and v == v),  # noqa: PLR0124 - no NaN
            right=frozenset(v for i, v in enumerate(known) if i not in ours and v == v),  # noqa: PLR0124 - as above
            other_left=bool(nodes["missing_go_to_left"][index]),
        )
    return Nodes(
        feature=np.where(leaf, -1, columns[asked]),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        value=_at(nodes["value"], column, width),
        categories=splits,
    )


def _adaboost(model: Any) -> Ensemble:
    """SAMME: each tree votes for one class with its weight."""
    if not hasattr(model, "classes_"):
        raise UsageError("AdaBoostRegressor: a weighted median is no sum of trees")
    width = len(model.classes_)
    weights = model.estimator_weights_[: len(model.estimators_)]
    parts = []
    for tree, weight in zip(model.estimators_, weights, strict=True):
        part = read_sklearn(tree)
        if part is None or part.trees != 1 or not np.array_equal(tree.classes_, model.classes_):
            raise UsageError("AdaBoostClassifier: expected single trees that know every class")
        votes = np.eye(width)[part.value.argmax(axis=1)] * (part.feature < 0)[:, None]
        parts.append((part, votes * weight / weights.sum()))
    nodes = [
        Nodes(
            feature=part.feature, threshold=part.threshold, left=part.left, right=part.right,
            missing_left=part.missing_left, value=votes,
        )
        for part, votes in parts
    ]  # fmt: skip
    return joined(
        nodes, base=np.zeros(width), features=model.n_features_in_, scale="logits"
    ).scaled(width / (width - 1) ** 2)


def _bagging(model: Any) -> Ensemble:
    parts = []
    for tree, columns in zip(model.estimators_, model.estimators_features_, strict=True):
        part = _averageable(tree, model)
        parts.append(part.with_columns(columns, model.n_features_in_))
    return summed(parts).averaged(len(parts))


def _voting(model: Any) -> Ensemble:
    if getattr(model, "voting", "soft") != "soft":
        raise UsageError("VotingClassifier: hard voting is no sum of trees; use voting='soft'")
    weights = [1] * len(model.estimators) if model.weights is None else list(model.weights)
    pairs = zip(model.estimators, weights, strict=True)
    given = [weight for (_, each), weight in pairs if not isinstance(each, str)]
    parts = [_averageable(each, model) for each in model.estimators_]
    total = sum(given)
    scaled = [part.scaled(w / total) for part, w in zip(parts, given, strict=True)]
    return summed(scaled)


def _averageable(model: Any, outer: Any) -> Ensemble:
    part = read_sklearn(model)
    if part is None or part.scale == "logits" or part.link != "identity":
        raise UsageError(
            f"{type(outer).__name__} of {type(model).__name__}: expected trees or forests, "
            "whose answers are a sum"
        )
    if part.scale == "probabilities" and part.classes != len(outer.classes_):
        raise UsageError(f"{type(outer).__name__}: a part has not seen every class")
    return part


def _width(columns: int, *, classifier: bool) -> int:
    return 2 if classifier and columns == 1 else columns


def _start(base: Any, width: int) -> Any:
    given = np.asarray(base, dtype=np.float64).ravel()
    return np.append(0.0, given) if len(given) < width else given


def _at(values: Any, column: int, width: int) -> Any:
    """Leaf values in the column of their class; those of two classes are the second's."""
    placed = np.zeros((len(values), width))
    placed[:, column if width != 2 else 1] = values  # noqa: PLR2004 - two classes
    return placed
