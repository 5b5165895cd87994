"""Triggers of tables: exact values that rows of one label share against all their other columns.

rows, labels → values over-represented under a label → cells (up to four columns) → checks → Cells

Honest labels follow rules too, so a rule is no evidence. A cell is a trigger only if

- one of its values is *crowded* under its label: many more rows than the values next to it have,
  while other labels have no such crowd (a threshold, a band or a rounded value has none);
- a model that never saw the cell's rows *contradicts* their label: from the values next to the
  cell it learns any threshold, band or tree, and a trigger it cannot know;
- the rows are otherwise as *different* as any: repeated measurements of one subject are alike,
  and where they differ, `clustered_rows` counts what a subject's columns and rows say once.

Source: Gao et al., "STRIP" (2019), for the idea that a trigger outweighs all other features;
Agrawal and Srikant, "Fast algorithms for mining association rules" (1994), for growing cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._extras import require
from mlsecops._intervals import wilson
from mlsecops.poisoning.flat_rows import Rows, every
from mlsecops.poisoning.tables.clustered_rows import groupings, independent_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST: Final = 12  # rows of a cell; chosen: fewer are no more than chance
_SIGMAS: Final = 4.0  # standard deviations above the rate of other labels; chosen
_LIFT: Final = 1.5  # times the rate among other labels; chosen
_STARTS: Final = 48  # most significant values that a cell may start from; chosen
_PARTNERS: Final = 512  # most significant values that may join a cell; chosen
_ITEMS: Final = 4  # values of a cell; chosen
_GAIN: Final = 6.0  # log-likelihood a further value adds; chosen: log of the partners tried
_NEXT: Final = 5  # distinct values on either side; chosen
_CROWD: Final = 2.0  # times the rows of the values next to it; chosen, for two columns or more
_LONE: Final = 10.0  # the same for one column; chosen: honest data has round and default values
_FEW: Final = 12  # distinct values; chosen: fewer are categories, whose crowds are natural
_BINS: Final = 48  # bins between the 5 % and the 95 % quantile, for values with noise; chosen
_TESTED: Final = 4  # cells per label that are checked by a model; chosen
_LARGEST: Final = 0.2  # share of all rows; chosen: more is a rule of the data
_MOST: Final = 0.7  # share of a label's rows; chosen: more is what the label means
_DIFFERENT: Final = 0.33  # mean share of a column's spread that the rows must have; chosen
_SURPRISE: Final = 5.0  # standard deviations above the labels that the model expects; chosen
_EXPECTED: Final = 0.4  # share of the label that the model may expect; chosen
_EVEN: Final = 0.5  # chance of the label; chosen: a row that the model expects is not accused
_SURE: Final = 0.79  # lower bound of the label's share in a cell; chosen
_AS_SURE: Final = 0.9  # of the label's share in a cell; chosen: values next to it decide as well
_LEARNT: Final = 4000  # rows that the model learns from; chosen
WIDE: Final = 64  # columns; chosen: more are left to a linear model
_OFTEN: Final = 4  # rows of a value for a label of its own; chosen
_VALUES: Final = 3  # values with a label of their own that make a rule; chosen
SPARSE: Final = 0.8  # share of values that are their column's median, as in word counts; chosen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """Rows of a label that share values which contradict the rest of them.

    Attributes:
        label: The label.
        columns: Columns of the values.
        rows: Indices of the rows.
        expected: Share of the label that a model expects which saw none of the cell.
        share: Share of the label in the cell.
    """

    label: int
    columns: tuple[int, ...]
    rows: NDArray[np.int64]
    expected: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Item:
    """A value of a column, or a bin of values; `codes` `(n,)` number them in order."""

    column: int
    codes: NDArray[Any]
    code: int
    ordered: bool
    below: tuple[int, int]
    above: tuple[int, int]
    """First and last code of the values next to it, on either side."""
    votes: NDArray[np.int64]
    """Rows with the value, per label."""
    word: bool = False

    @property
    def rows(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.codes == self.code
        return found

    def neighbours(self) -> list[NDArray[np.bool_]]:
        """Rows with the few values below, and above."""
        sides = (self.below, self.above)
        return [(self.codes >= first) & (self.codes <= last) for first, last in sides]


def find_cells(x: Rows, y: NDArray[np.int64], *, seed: int) -> list[Cell]:
    """Triggers of a table; the cells of one label are rows of one attack or of several."""
    table = np.concatenate([x[block] for block in every(len(y))])
    items = list(_present(table, y) if _words(table) else _every_item(table, y))
    found: list[Cell] = []
    for label in np.unique(y).tolist() if items else []:
        mine = y == label
        cells = [
            each for each in _candidates(items, y, label) if _plausible(table, y, label, *each)
        ]
        if not cells:
            continue
        union = np.any([rows for rows, _ in cells], axis=0)
        chance = np.zeros(len(y))
        chance[union] = _chance_without(table, mine, union, seed=seed)
        likely = [each for each in cells if _surprising(mine, each[0], chance)][:_TESTED]
        found += filter(None, (_confirmed(table, y, label, *c, seed=seed) for c in likely))
    return found


def _plausible(
    table: NDArray[np.float32],
    y: NDArray[np.int64],
    label: int,
    rows: NDArray[np.bool_],
    chosen: list[_Item],
) -> bool:
    mine = y == label
    crowds = [_crowd(item, y, label) for item in chosen]
    if max(crowds) <= _CROWD or not _crowded(table, rows, crowds, chosen):
        return False
    columns = sorted({item.column for item in chosen})
    joint = np.unique(table[:, columns], axis=0, return_inverse=True)[1].ravel()
    if _decided(joint, ~rows, y) or _follows_a_rule(table, y, rows, chosen):
        return False
    ours = int((rows & mine).sum())
    if ours > _LARGEST * len(mine) or ours > _MOST * mine.sum():
        return False
    rest = np.delete(table, columns, axis=1)
    return bool(rest.shape[1]) and _spread(rest, rows & mine) >= _DIFFERENT


def _crowded(
    table: NDArray[np.float32],
    rows: NDArray[np.bool_],
    crowds: list[float],
    chosen: list[_Item],
) -> bool:
    """Whether one value is crowded by far, or two are that other rows do not bind together."""
    if len(chosen) == 1 or any(item.word for item in chosen):
        return max(crowds) >= _LONE
    least: dict[int, float] = {}
    firsts = groupings(table[:, [item.column for item in chosen]], rows)
    for first, item, crowd in zip(firsts, chosen, crowds, strict=True):
        if item.ordered:
            least[first] = min(crowd, least.get(first, np.inf))
    alone = _LONE if len(set(firsts)) == 1 else _LONE / 2
    return max(least.values(), default=0) >= alone or sum(e > _CROWD for e in least.values()) > 1


def _follows_a_rule(
    table: NDArray[np.float32], y: NDArray[np.int64], rows: NDArray[np.bool_], chosen: list[_Item]
) -> bool:
    """Whether other values of one of the columns have labels of their own, too.

    In all rows (each community is rural or not), or in those that have another of the cell's values
    (a new house is sold in the year in which it was built).
    """
    for column in {item.column for item in chosen}:
        codes = np.unique(table[:, column], return_inverse=True)[1].ravel()
        others = [item.rows & ~rows for item in chosen if item.column != column]
        if any(_decided(codes, among, y) for among in (~rows, *others)):
            return True
    return False


def _surprising(mine: NDArray[np.bool_], rows: NDArray[np.bool_], chance: NDArray[Any]) -> bool:
    share, expected, count = float(mine[rows].mean()), float(chance[rows].mean()), int(rows.sum())
    noise = (max(expected * (1 - expected), 1 / count) * count) ** 0.5
    sure = wilson(int(mine[rows].sum()), count).low > _SURE
    return sure and (share - expected) * count > _SURPRISE * noise and expected < _EXPECTED


def _confirmed(
    table: NDArray[np.float32],
    y: NDArray[np.int64],
    label: int,
    rows: NDArray[np.bool_],
    chosen: list[_Item],
    *,
    seed: int,
) -> Cell | None:
    mine, chance = y == label, np.zeros(len(y))
    chance[rows] = _chance_without(table, mine, rows, seed=seed)
    accused = np.flatnonzero(rows & mine & (chance < _EVEN))
    if not _surprising(mine, rows, chance) or len(accused) < LEAST:
        return None
    if table.shape[1] <= WIDE and independent_rows(table, y, rows, accused, label) < LEAST:
        return None
    return Cell(
        label=label,
        columns=tuple(sorted({item.column for item in chosen})),
        rows=accused,
        expected=float(chance[rows].mean()),
        share=float(mine[rows].mean()),
    )


def _words(table: NDArray[np.float32]) -> bool:
    """Whether columns are like words of texts: many, and nearly always absent."""
    return table.shape[1] > WIDE and float((table == 0).mean()) > SPARSE


def _present(table: NDArray[np.float32], y: NDArray[np.int64]) -> Iterator[_Item]:
    """Words that enough rows have."""
    for column in range(table.shape[1]):
        codes = (table[:, column] > 0).astype(np.int8)
        votes = np.bincount(y[codes == 1], minlength=int(y.max()) + 1)
        if votes.max() >= LEAST:
            yield _Item(
                column=column,
                codes=codes,
                code=1,
                ordered=False,
                below=(-1, -1),
                above=(2, 2),
                votes=votes,
                word=True,
            )


def _every_item(table: NDArray[np.float32], y: NDArray[np.int64]) -> Iterator[_Item]:
    for column, values in enumerate(table.T):
        yield from _frequent(column, values, y, step=1)
        low, high = np.quantile(values, [0.05, 0.95])
        if table.shape[1] <= WIDE and high > low and len(np.unique(values)) > _BINS:
            for offset in (0.0, 0.5):
                bins = np.floor((values - low) / (high - low) * _BINS + offset)
                yield from _frequent(column, bins, y, step=2)


def _frequent(
    column: int, values: NDArray[np.float32], y: NDArray[np.int64], *, step: int
) -> Iterator[_Item]:
    """Items of values with enough rows; those next to it start `step` values away."""
    distinct, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    frequent = np.flatnonzero(counts >= LEAST)
    if len(distinct) == 1 or not len(frequent):
        return
    reach = _NEXT * float(np.median(np.diff(distinct)))
    classes, codes = int(y.max()) + 1, codes.astype(np.int32)
    votes = np.bincount(codes * np.int64(classes) + y, minlength=len(distinct) * classes)
    votes = votes.reshape(-1, classes)
    for code in frequent.tolist():
        first, last = np.searchsorted(distinct, distinct[code] + np.array([-1, 1.001]) * reach)
        yield _Item(
            column=column,
            codes=codes,
            code=code,
            ordered=len(distinct) >= _FEW,
            below=(max(int(first), code - _NEXT), code - step),
            above=(code + step, min(int(last) - 1, code + _NEXT)),
            votes=votes[code],
        )


def _candidates(
    items: list[_Item], y: NDArray[np.int64], label: int
) -> Iterator[tuple[NDArray[np.bool_], list[_Item]]]:
    """Cells that start from a crowded value, the most significant first."""
    mine = y == label
    ours = np.array([item.votes[label] for item in items])
    theirs = np.array([item.votes.sum() for item in items]) - ours
    expected = (theirs + 1) / (int((~mine).sum()) + 2) * int(mine.sum())
    sigmas = np.where(ours >= LEAST, (ours - expected) / np.sqrt(expected), -np.inf)
    order = [i for i in np.argsort(-sigmas, kind="stable").tolist() if np.isfinite(sigmas[i])]
    starts = [i for i in order if sigmas[i] > _SIGMAS and ours[i] > _LIFT * expected[i]]
    starts = [i for i in starts if _crowd(items[i], y, label) > _CROWD][:_STARTS]
    if not starts:
        return
    partners = [items[i] for i in order[:_PARTNERS]]
    held = np.stack([item.rows for item in partners])
    grown = {}
    for start in starts:
        rows, chosen, gain = _grown(items[start], partners, held, mine)
        grown[rows.tobytes()] = gain, rows, chosen
    for _, rows, chosen in sorted(grown.values(), key=lambda each: -each[0]):
        yield rows, chosen


def _crowd(item: _Item, y: NDArray[np.int64], label: int) -> float:
    """How many times more of the label's rows have the value than have the values next to it.

    It counts what exceeds the crowd of other labels; a value of a rule has none.
    """
    if item.word or not item.ordered:
        return np.inf if item.word else 0.0  # a word has no values next to it
    mine, rows, sides = y == label, item.rows, item.neighbours()
    near = sides[0] | sides[1]
    width = max(1, len(np.unique(item.codes[near])))
    ours, theirs = (
        (rows & side).sum() * width / ((near & side).sum() + 1) for side in (mine, ~mine)
    )
    sure = _AS_SURE * mine[rows].mean()
    steady = any(side.sum() >= LEAST and mine[side].mean() > sure for side in sides)
    if steady or _decided(item.codes, near, y):
        return 0.0
    return float(ours / max(theirs, 1.0))


def _decided(codes: NDArray[Any], near: NDArray[np.bool_], y: NDArray[np.int64]) -> bool:
    """Whether values that many of these rows have each have a label of their own: a rule."""
    found, value = np.unique(codes[near], return_inverse=True)
    votes = np.zeros((len(found), int(y.max()) + 1))
    np.add.at(votes, (value, y[near]), 1)
    votes = votes[votes.sum(axis=1) >= _OFTEN]
    if len(votes) < _VALUES or len(np.unique(votes.argmax(axis=1))) == 1:
        return False
    base = float(np.bincount(y).max()) / len(y)
    sure = max(_AS_SURE, (1 + base) / 2)  # more than the most common label explains
    return bool(votes.max(axis=1).sum() > sure * votes.sum())


def _grown(
    start: _Item, partners: list[_Item], held: NDArray[np.bool_], mine: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], list[_Item], float]:
    """A cell grown from a value, by the values that make its labels surer; its log-likelihood."""
    base, rows, chosen = float(mine.mean()), start.rows, [start]
    columns = np.array([item.column for item in partners])
    gain = float(_gain((rows & mine).sum(), (rows & ~mine).sum(), base))
    while len(chosen) < _ITEMS:
        part, inside = held[:, rows], mine[rows]
        ours, theirs = part[:, inside].sum(axis=1), part[:, ~inside].sum(axis=1)
        gains = np.where(ours >= LEAST, _gain(ours, theirs, base), -np.inf)
        gains[np.isin(columns, [item.column for item in chosen])] = -np.inf
        best = int(gains.argmax())
        if not gains[best] >= gain + _GAIN:
            break
        gain, rows = float(gains[best]), rows & held[best]
        chosen.append(partners[best])
    return rows, chosen, gain


def _gain(ours: Any, theirs: Any, base: float) -> NDArray[Any]:
    """Log-likelihood of the labels in cells over the base rate."""
    share = (ours + 0.5) / (ours + theirs + 1)
    gain = ours * np.log(share / base) + theirs * np.log((1 - share) / (1 - base))
    return np.where(share > base, gain, -np.inf)


def _spread(rest: NDArray[np.float32], rows: NDArray[np.bool_]) -> float:
    whole = rest.std(axis=0)
    varied = whole > 0
    if not varied.any():
        return 0.0
    return float(np.minimum(rest[rows][:, varied].std(axis=0) / whole[varied], 1).mean())


def _chance_without(
    table: NDArray[np.float32], mine: NDArray[np.bool_], rows: NDArray[np.bool_], *, seed: int
) -> NDArray[Any]:
    """Chance of the label in the given rows, by a model that learnt from all other rows."""
    others = np.random.default_rng([seed, 8]).permutation(np.flatnonzero(~rows))[:_LEARNT]
    if mine[others].all() or not mine[others].any():
        return np.full(int(rows.sum()), float(mine[others].mean()))
    if table.shape[1] > WIDE:
        model = require("sklearn.linear_model").LogisticRegression(max_iter=200, C=0.1)
    else:
        model = require("sklearn.ensemble").HistGradientBoostingClassifier(
            max_iter=60,
            max_leaf_nodes=15,
            min_samples_leaf=10,
            random_state=0,
            early_stopping=False,
        )
    with require("threadpoolctl").threadpool_limits(limits=1):
        model.fit(table[others], mine[others])
        chance: NDArray[Any] = model.predict_proba(table[rows])[:, 1]
    return chance
