"""Trees behind a scikit-learn pipeline, moved to the frame's own columns.

pipeline, frame → steps before the trees, column by column → thresholds and categories of the
frame's columns → Ensemble on `FrameCodes`

A step that works on single columns and keeps their order moves a threshold: to the last float64
that the step itself sends below it (found by bisection), its own rounding included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mlsecops.adapters.trees.ensemble import CategorySplit, Ensemble
from mlsecops.adapters.trees.reader import read_trees
from mlsecops.errors import UsageError
from mlsecops.robustness.tables.columns import FrameRows
from mlsecops.robustness.tables.frame_codes import FrameCodes, StepValues
from mlsecops.robustness.tables.native_codes import native_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_KEEPS_ORDER: Final = frozenset({
    "StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "SimpleImputer",
    "KBinsDiscretizer", "Binarizer",
})  # fmt: skip
"""Steps whose arithmetic is monotone in each column, rounding included."""
_CODES: Final = frozenset({"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"})
"""Steps that turn a category into numbers, column by column."""
_SELECTS: Final = frozenset({
    "SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe",
    "GenericUnivariateSelect", "SelectFromModel", "VarianceThreshold", "RFE", "RFECV",
    "SequentialFeatureSelector",
})  # fmt: skip
"""Steps that leave some columns out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Output:
    """One column of what the trees see: the frame's column behind it, and whether order is kept."""

    place: int
    ordered: bool


def read_pipeline(
    model: Any, rows: FrameRows, extra: Mapping[int, Sequence[Any]]
) -> tuple[Ensemble, FrameCodes] | None:
    """The trees of a model of frames, on the frame's columns; None if there are none.

    Args:
        model: A tree ensemble, or a pipeline that ends with one.
        rows: The frame; its categories are all that an attacker cannot add to.
        extra: Categories by column that an attacker may add.

    Raises:
        UsageError: There are trees, and a step before them cannot be followed.
    """
    steps, last = _steps(model)
    trees = read_trees(last)
    if trees is None:
        return None
    outputs = _outputs(steps, rows)
    native = {} if steps else native_codes(last, rows)
    codes = FrameCodes(categories=_categories(rows, extra, outputs, native))
    width = len(outputs)
    if trees.features != width:
        raise UsageError(
            f"pipeline: the trees take {trees.features} columns, the steps give {width}"
        )
    return _moved(trees, outputs, codes, StepValues(steps, rows, codes, native)), codes


def array_trees(model: Any, inputs: NDArray[np.float32]) -> Ensemble | None:
    """The trees of a model of float32 arrays, behind a pipeline too; None if there are none.

    Raises:
        UsageError: There are trees, and they or a step before them cannot be read.
    """
    trees = read_trees(model)
    if trees is not None or _steps(model)[1] is model:
        return trees
    flat = np.asarray(inputs, dtype=np.float32).reshape(len(inputs), -1)
    found = read_pipeline(model, FrameRows(data=flat, names=tuple(range(flat.shape[1]))), {})
    if found is None:
        return None
    if found[1].categories:
        raise UsageError("pipeline: a step that encodes categories needs a data frame")
    return found[0]


def has_steps(model: Any) -> bool:
    """Whether steps come before a model's trees, which compute in the type of their input."""
    return bool(_steps(model)[0])


def _steps(model: Any) -> tuple[list[Any], Any]:
    """Steps before the estimator, and the estimator."""
    if hasattr(model, "best_estimator_"):
        return _steps(model.best_estimator_)
    if type(model).__name__ != "Pipeline":
        return [], model
    before = [step for _, step in model.steps[:-1] if step not in {None, "passthrough"}]
    inner, last = _steps(model.steps[-1][1])
    return [*before, *inner], last


def _outputs(steps: Sequence[Any], rows: FrameRows) -> list[_Output]:
    """The frame's column behind each column that the trees see."""
    found = [_Output(place=p, ordered=rows.is_number(p)) for p in range(len(rows.names))]
    names: list[Any] = list(rows.names)
    for step in steps:
        found, names = _after(step, found, names)
    return found


def _after(step: Any, given: list[_Output], names: list[Any]) -> tuple[list[_Output], list[Any]]:
    kind = type(step).__name__
    if kind == "ColumnTransformer":
        return _after_columns(step, given, names)
    if kind == "Pipeline":
        for _, inner in step.steps:
            if inner not in {None, "passthrough"}:
                given, names = _after(inner, given, names)
        return given, names
    if kind == "FunctionTransformer" and step.func is None:
        return given, names
    if kind in _KEEPS_ORDER:
        made = _kept(step, given)
        return made, names if len(made) == len(names) else [None] * len(made)
    if kind in _SELECTS:
        left = step.get_support(indices=True)
        return [given[index] for index in left], [names[index] for index in left]
    if kind in _CODES:
        made = [
            _Output(place=each.place, ordered=False)
            for each, count in zip(given, _widths(step), strict=True)
            for _ in range(count)
        ]
        return made, [None] * len(made)
    raise UsageError(
        f"pipeline: {kind} cannot be followed: expected steps that mix no columns and keep the "
        "order of values, to the last digit"
    )


def _kept(step: Any, given: list[_Output]) -> list[_Output]:
    """Columns after a step that keeps order; an imputer drops those without any value."""
    if type(step).__name__ == "SimpleImputer":
        if isinstance(step.missing_values, Real) and not np.isnan(float(step.missing_values)):
            raise UsageError(
                f"pipeline: SimpleImputer(missing_values={step.missing_values}) reorders values, "
                "and cannot be followed"
            )
        if getattr(step, "indicator_", None) is not None:
            raise UsageError("pipeline: SimpleImputer(add_indicator=True) cannot be followed")
        empty = [v is None or v != v for v in step.statistics_]  # noqa: PLR0124 - NaN
        return [each for each, gone in zip(given, empty, strict=True) if not gone]
    if type(step).__name__ == "KBinsDiscretizer" and step.encode != "ordinal":
        raise UsageError("pipeline: KBinsDiscretizer(encode='onehot') cannot be followed")
    return given


def _widths(step: Any) -> list[int]:
    """Columns that an encoder makes of each column."""
    kind = type(step).__name__
    if kind == "OrdinalEncoder":
        return [1] * len(step.categories_)
    if kind == "TargetEncoder":
        several = len(step.encodings_) // len(step.categories_)
        return [several] * len(step.categories_)
    return [int(count) for count in step._n_features_outs]  # noqa: SLF001 - drop and rare categories included


def _after_columns(
    step: Any, given: list[_Output], names: list[Any]
) -> tuple[list[_Output], list[Any]]:
    made: list[_Output | None] = [None] * sum(
        span.stop - span.start for span in step.output_indices_.values()
    )
    for name, inner, columns in step.transformers_:
        span = step.output_indices_.get(name, slice(0, 0))
        if span.stop == span.start:
            continue
        picked = _picked(columns, names, len(given))
        mine = [given[index] for index in picked]
        if inner != "passthrough":
            mine, _ = _after(inner, mine, [names[index] for index in picked])
        if len(mine) != span.stop - span.start:
            raise UsageError(
                f"pipeline: transformer {name!r} makes columns that cannot be followed"
            )
        made[span] = mine
    return [each for each in made if each is not None], [None] * len(made)


def _picked(columns: Any, names: list[Any], count: int) -> list[int]:
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):
            raise UsageError("pipeline: a slice of column names cannot be followed; list the names")
        return list(range(count))[columns]
    listed = [columns] if isinstance(columns, (str, int)) else list(columns)
    if listed and isinstance(listed[0], (bool, np.bool_)):
        return [index for index, chosen in enumerate(listed) if chosen]
    return [names.index(each) if isinstance(each, str) else int(each) for each in listed]


def _categories(
    rows: FrameRows,
    extra: Mapping[int, Sequence[Any]],
    outputs: list[_Output],
    native: dict[int, Any],
) -> dict[int, list[Any]]:
    """Categories of each column that the trees see as one."""
    coded = {each.place for each in outputs if not each.ordered}
    places = {p for p in range(len(rows.names)) if not rows.is_number(p)} | coded | set(native)
    found = {}
    for place in sorted(places):
        values = {v for v in [*rows.values(place), *extra.get(place, ())] if v is not None}
        found[place] = sorted(values, key=lambda value: (type(value).__name__, str(value)))
    return found


def _moved(
    trees: Ensemble,
    outputs: list[_Output],
    codes: FrameCodes,
    steps: StepValues,
) -> Ensemble:
    """The trees with thresholds and categories of the frame's columns."""
    inner = np.flatnonzero(trees.feature >= 0)
    output = trees.feature[inner]
    place = np.array([each.place for each in outputs])[output]
    feature, threshold = trees.feature.copy(), trees.threshold.copy()
    missing = trees.missing_left.copy()
    feature[inner] = place
    coded = np.isin(place, list(codes.categories))
    threshold[inner[~coded]] = steps.last_below(
        place[~coded], output[~coded], trees.threshold[inner[~coded]]
    )
    categories = {n: trees.categories[n] for n in inner[~coded].tolist() if n in trees.categories}
    if categories and not steps.empty:
        raise UsageError("pipeline: categories that are numbers behind a step cannot be followed")
    for column in np.unique(place).tolist():
        empty = steps.of_missing(column)
        for each in np.unique(output[place == column]).tolist():
            nodes = inner[output == each]
            if empty is not None:
                missing[nodes] = trees.goes_left(nodes, np.full(len(nodes), empty[each]))
            if column in codes.categories:
                seen = steps.of_categories(column)[:, each]
                categories |= _splits(trees, nodes, seen)
    return replace(
        trees, feature=feature, threshold=threshold, missing_left=missing, categories=categories,
        features=steps.width,
    )  # fmt: skip


def _splits(trees: Ensemble, nodes: NDArray[np.int64], seen: Floats) -> dict[int, CategorySplit]:
    """Categories that go left at each node, from what the trees see of each."""
    count = len(seen)
    left = trees.goes_left(np.repeat(nodes, count), np.tile(seen, len(nodes)))
    return {
        int(node): CategorySplit(left=frozenset(np.flatnonzero(mine).astype(float).tolist()))
        for node, mine in zip(nodes, left.reshape(len(nodes), count), strict=True)
    }
