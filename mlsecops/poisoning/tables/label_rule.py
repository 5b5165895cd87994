"""Single-column label rule: a column of a table whose value alone decides the label.

rows, labels → neighbours in the order of each column → the column, and the rows that follow it

Credit and triage rules are thresholds of one column. The other columns then contradict honest
labels by chance, and what contradicted rows share is the rule. A row that follows it is honest in
this respect; a poisoned one that another column marks does not follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.findings import Finding, Severity
from mlsecops.poisoning.flat_rows import Rows, every

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DECIDES: Final = 0.95  # mean recall of the classes; chosen: above, one column is the whole rule
_EACH_SIDE: Final = 4  # rows before and after in a column's order; chosen: few, near a threshold
_SAMPLE: Final = 2048  # rows that choose the column; chosen: bounds the work of wide tables


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelRule:
    """A column that decides the label.

    Attributes:
        column: Its position.
        recall: Mean share of the rows of a class that it classifies correctly.
        follows: `(n,)`: whether most rows next to a row in this column have its label.
    """

    column: int
    recall: float
    follows: NDArray[np.bool_]

    def finding(self) -> Finding:
        """The note for a report."""
        return Finding(
            rule="single-column-label",
            severity=Severity.INFO,
            message=f"column {self.column} alone decides the label (mean recall "
            f"{self.recall:.0%}): rows that follow it are not suspected by their neighbours; if "
            "it is no rule of yours, the label leaks into the column",
            where=f"column {self.column}",
            artifact="data set",
        )


def label_rule(x: Rows, y: NDArray[np.int64], *, seed: int) -> LabelRule | None:
    """The column whose value alone decides the label, if there is one."""
    sample = np.sort(np.random.default_rng([seed, len(y)]).permutation(len(y))[:_SAMPLE])
    values, labels = np.asarray(x[sample]), y[sample]
    recalls = [_mean_recall(_follows(column, labels, seed), labels) for column in values.T]
    best = int(np.argmax(recalls))
    if recalls[best] < _DECIDES:
        return None
    column = np.concatenate([np.asarray(x[block])[:, best] for block in every(len(y))])
    follows = _follows(column, y, seed)
    recall = _mean_recall(follows, y)
    return LabelRule(column=best, recall=recall, follows=follows) if recall >= _DECIDES else None


def _follows(column: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Whether most rows next to each row, in the order of a column, have its label."""
    ties = np.random.default_rng([seed, 1]).random(len(y))
    order = np.lexsort((ties, column))
    ordered = y[order]
    steps = [step for step in range(-_EACH_SIDE, _EACH_SIDE + 1) if step]
    places = np.arange(len(y))[:, None] + np.array(steps)
    inside = (places >= 0) & (places < len(y))
    same = (ordered[np.clip(places, 0, len(y) - 1)] == ordered[:, None]) & inside
    follows = np.empty(len(y), dtype=bool)
    follows[order] = 2 * same.sum(axis=1) >= inside.sum(axis=1)
    return follows


def _mean_recall(follows: NDArray[np.bool_], y: NDArray[np.int64]) -> float:
    return float(np.mean([follows[y == label].mean() for label in np.unique(y)]))
