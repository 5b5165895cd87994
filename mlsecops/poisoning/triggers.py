"""Backdoor triggers in the inputs.

rows, labels, contradicted labels → scores → `pattern_search` → Suspects and Triggers

A dirty-label backdoor adds one pattern to inputs of many classes and gives them one label: their
content contradicts the label (`neighbour_labels`) and only the pattern predicts it. The pattern
may have any size, position and contrast, be one patch or scattered, replace or add.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, cut, mean_of, some
from mlsecops.poisoning.image_layout import around, contrast, steps, windows
from mlsecops.poisoning.linear_model import out_of_fold_scores
from mlsecops.poisoning.pattern_search import Pattern, find_patterns
from mlsecops.poisoning.rare_values import shared_values
from mlsecops.poisoning.report import Suspect, Trigger

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS: Final = 24  # most different columns, for the trees; chosen
_WIDE: Final = 128  # most different columns, for the linear model; chosen
_SEEN: Final = 2048  # rows of each side for the selection of columns; chosen
_FLOOR: Final = 1e-3  # variance; chosen: keeps the contrast of constant columns finite


def find_triggers(
    x: Rows,
    y: NDArray[np.int64],
    contradicted: NDArray[np.bool_],
    *,
    shape: tuple[int, ...],
    seed: int,
    executor: Executor | None = None,
) -> tuple[list[Suspect], list[Trigger]]:
    """Rows with a trigger, and the triggers."""
    near = around(shape)
    linear = partial(
        out_of_fold_scores, y=y, contradicted=contradicted, seed=seed, windows=windows(shape),
        executor=executor,
    )  # fmt: skip
    scores = [*linear(x), shared_values(x, y, contradicted)]
    if near is not None:
        scores += linear(_Steps(x=x, near=near))
    patterns = find_patterns(scores, y, contradicted, focus=partial(_focused, x, near), seed=seed)
    suspects = [each for found in patterns for each in suspects_of(found, kind="trigger")]
    return suspects, [trigger_of(x, y, found, shape) for found in patterns]


def _focused(
    x: Rows,
    near: NDArray[np.int64] | None,
    found: NDArray[np.int64],
    others: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features of the columns in which found rows differ; trees get distances from medians too."""
    columns = _different(x, found, others, near)
    parts = [
        (_views(part, columns[:_COLUMNS], near), _wide(part, columns, near))
        for part in (x[block] for block in cut(rows))
    ]
    views, wide = (np.concatenate(each) for each in zip(*parts, strict=True))
    middle = np.median(views[np.isin(rows, found)], axis=0)
    return np.hstack([views, np.abs(views - middle)]), wide


def _views(
    part: NDArray[np.float32], columns: NDArray[np.int64], near: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    if near is None:
        return part[:, columns]
    return np.hstack([_wide(part, columns, near), contrast(part, columns, near)])


def _wide(
    part: NDArray[np.float32], columns: NDArray[np.int64], near: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    shown = part[:, columns]
    return shown if near is None else np.hstack([shown, steps(part, columns, near)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """Rows of steps between neighbours, computed on access: inverted regions have edges."""

    x: Rows
    near: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return steps(self.x[rows], np.arange(self.x.shape[1]), self.near)


def suspects_of(pattern: Pattern, *, kind: str) -> list[Suspect]:
    """A suspect for each row with the pattern."""
    name = kind.partition("-")[0]
    evidence = {
        f"{name}_rows": float(len(pattern.rows)),
        f"{name}_kept": pattern.kept,
        f"{name}_contradicted": pattern.contradicted,
    }
    return [
        Suspect(
            index=int(row),
            score=round(float(rank * pattern.contradicted), 4),
            kind=kind,
            label=pattern.label,
            evidence={**evidence, f"{name}_rank": float(rank)},
        )
        for row, rank in zip(pattern.rows, pattern.ranks, strict=True)
    ]


def _different(
    x: Rows,
    found: NDArray[np.int64],
    others: NDArray[np.int64],
    near: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    ours, theirs = (x[some(rows, most=_SEEN)] for rows in (found, others))
    strength = _mean_distance(ours, theirs)
    spreads = [side.var(axis=0) + 2 * _FLOOR for side in (ours, theirs)]
    strength += np.abs(np.log(spreads[0] / spreads[1])) / 2
    if near is not None:
        columns = np.arange(x.shape[1])
        for view in (contrast, steps):
            strength += _mean_distance(view(ours, columns, near), view(theirs, columns, near))
    return np.argsort(-strength)[:_WIDE]


def _mean_distance(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    spread = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / 2 + _FLOOR)
    distance: NDArray[Any] = np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) / spread
    return distance


def trigger_of(x: Rows, y: NDArray[np.int64], pattern: Pattern, shape: tuple[int, ...]) -> Trigger:
    """Median and change of the pattern's rows, and the columns that differ most."""
    others = np.flatnonzero(y != pattern.label)
    shown = np.zeros(x.shape[1], dtype=bool)
    shown[_different(x, pattern.rows, others, around(shape))[:_COLUMNS]] = True
    change = mean_of(x, pattern.rows) - mean_of(x, others)
    return Trigger(
        label=pattern.label,
        rows=len(pattern.rows),
        pattern=np.median(x[some(pattern.rows)], axis=0).reshape(shape),
        change=change.reshape(shape),
        mask=shown.reshape(shape),
    )
