"""Trees behind a scikit-learn pipeline, moved to the frame's own columns.

pipeline, frame → steps before the trees, column by column → thresholds and categories of the
frame's columns → Ensemble on `FrameCodes`

A step that works on single columns and keeps their order moves a threshold: to the last float64
that the step itself sends below it (found by bisection), its own rounding included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mlsecops.adapters.trees.ensemble import CategorySplit, Ensemble
from mlsecops.adapters.trees.reader import read_trees
from mlsecops.errors import UsageError
from mlsecops.robustness.tables.columns import FrameRows
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
_BISECTIONS: Final = 65  # steps; float64 has 2**64 values, and each step halves them
_LARGEST: Final = 1e30  # chosen: far outside any column, and finite in float32
_LARGEST_WHOLE: Final = 2.0**53  # IEEE 754, whole numbers are exact up to there


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameCodes:
    """The frame's columns as numbers for the trees.

    Attributes:
        categories: Column → its categories; a category's code is its place, missing is NaN.
    """

    categories: dict[int, list[Any]]

    def matrix(self, rows: FrameRows) -> Floats:
        """The frame `(n, d)` in float64."""
        columns = [
            self.codes(place, rows.values(place)) if place in self.categories
            else rows.numbers(place)
            for place in range(len(rows.names))
        ]  # fmt: skip
        return np.stack(columns, axis=1)

    def codes(self, place: int, values: Sequence[Any]) -> Floats:
        """Codes of a column's values."""
        place_of = {value: code for code, value in enumerate(self.categories[place])}
        return np.array([np.nan if v is None else float(place_of[v]) for v in values])


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
    return _moved(trees, outputs, codes, _Steps(steps, rows, codes, native)), codes


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
        if isinstance(step.missing_values, (int, float)) and not np.isnan(step.missing_values):
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
    steps: _Steps,
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


class _Steps:
    """What the trees see of the frame's columns, as numbers."""

    def __init__(
        self, steps: Sequence[Any], rows: FrameRows, codes: FrameCodes, native: dict[int, Any]
    ) -> None:
        self._steps, self._rows, self._codes, self._native = steps, rows, codes, native
        self.width = len(rows.names)

    @property
    def empty(self) -> bool:
        """Whether the trees see the frame's columns as they are."""
        return not self._steps

    def seen(self, matrix: Floats) -> Floats:
        """What the trees see of coded rows `(n, d)`."""
        values = [self._values(place, matrix[:, place]) for place in range(self.width)]
        if not self._steps:
            return np.stack(
                [self._number(place, each) for place, each in enumerate(values)], axis=1
            )
        if self._rows.is_frame:
            template = self._rows.take(np.zeros(len(matrix), dtype=np.int64))
            value = template.replaced(dict(enumerate(values)))
        else:  # of an evaluation's own type: a step rounds float32 otherwise than float64
            value = np.stack(values, axis=1).astype(self._rows.data.dtype)
        for step in self._steps:
            value = step.transform(value)
        return np.asarray(value.toarray() if hasattr(value, "toarray") else value, np.float64)

    def _values(self, place: int, column: Floats) -> Any:
        known = self._codes.categories.get(place)
        return column if known is None else [None if c != c else known[int(c)] for c in column]  # noqa: PLR0124 - NaN

    def _number(self, place: int, values: Any) -> Floats:
        if place not in self._codes.categories:
            return np.asarray(values, dtype=np.float64)
        code = self._native.get(place, {})
        return np.array([np.nan if v is None else code.get(v, np.nan) for v in values])

    def of_missing(self, place: int) -> Floats | None:
        """What the trees see where one column is missing; None if the steps refuse that."""
        row = np.zeros((1, self.width))
        row[:, place] = np.nan
        try:
            found: Floats = self.seen(row)[0]
        except (ValueError, TypeError):
            return None
        return found

    def of_categories(self, place: int) -> Floats:
        """What the trees see of each category of a column."""
        count = len(self._codes.categories[place])
        rows = np.zeros((count, self.width))
        rows[:, place] = np.arange(count)
        return self.seen(rows)

    def last_below(
        self, place: NDArray[np.int64], output: NDArray[np.int64], limits: Floats
    ) -> Floats:
        """Largest value of a column that the steps send to each limit or below, by bisection."""
        if not self._steps or not len(place):
            return limits
        order = np.argsort(place, kind="stable")
        first = np.searchsorted(place[order], place[order])
        row = np.empty(len(place), dtype=np.int64)
        row[order] = np.arange(len(place)) - first  # limits of one column are in rows of their own
        count = int(row.max()) + 1

        def below(values: Floats) -> NDArray[np.bool_]:
            rows = np.zeros((count, self.width))
            rows[row, place] = values
            found: NDArray[np.bool_] = self.seen(rows)[row, output] <= limits
            return found

        whole = np.array([self._rows.is_whole(each) for each in range(self.width)])[place]
        high = np.where(whole, _LARGEST_WHOLE, _LARGEST)
        none, every = ~below(-high), below(high)
        least, most = _keys(-high), _keys(high)
        for _ in range(_BISECTIONS):
            middle = least + (most - least) // 2
            left = below(_values(middle))
            least, most = np.where(left, middle, least), np.where(left, most, middle)
        found: Floats = np.where(every, np.inf, np.where(none, -np.inf, _values(least)))
        return found


def _keys(values: Floats) -> Any:
    """Integers in the order of float64 values, of any size."""
    bits = values.view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits).astype(object)


def _values(keys: Any) -> Floats:
    whole = np.asarray(keys, dtype=np.int64)
    bits = np.where(whole < 0, np.int64(-(2**63)) - whole, whole)
    return bits.view(np.float64)
