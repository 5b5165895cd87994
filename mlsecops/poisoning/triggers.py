"""Which rows owe their label to a pattern in their input, and what the pattern looks like.

A dirty-label backdoor puts one pattern into inputs of many classes and gives them one label. The
content then contradicts the label (`contradiction`) and the pattern alone tells it (`causes`). The
pattern may have any size, place and contrast, be one patch or scattered, replace or add.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, cut, mean_of, some
from mlsecops.poisoning.image_layout import around, contrast, steps, windows
from mlsecops.poisoning.linear_model import told_linearly
from mlsecops.poisoning.rare_values import shared_values
from mlsecops.poisoning.report import Suspect, Trigger
from mlsecops.poisoning.trigger_search import Cause, find_causes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_triggers", "picture", "suspects_of"]

_COLUMNS: Final = 24  # that show the pattern most
_WIDE: Final = 128  # that a linear model learns from
_SEEN: Final = 2048  # rows of a side that show its columns
_FLOOR: Final = 1e-3  # of variance, so that a constant column has no infinite contrast


def find_triggers(
    x: Rows,
    y: NDArray[np.int64],
    contradicted: NDArray[np.bool_],
    *,
    shape: tuple[int, ...],
    seed: int,
    executor: Executor | None = None,
) -> tuple[list[Suspect], list[Trigger]]:
    """Rows with a trigger, and each trigger's picture.

    Args:
        x: Flattened inputs `(n, d)` on `[0, 1]`.
        y: Labels `(n,)`.
        contradicted: Whether a row's content contradicts its label `(n,)`.
        shape: Shape of one input.
        seed: Seed of folds and samples.
        executor: Where blocks of rows are worked on.
    """
    near = around(shape)
    told = partial(
        told_linearly,
        y=y,
        contradicted=contradicted,
        seed=seed,
        windows=windows(shape),
        executor=executor,
    )
    ways = [*told(x), shared_values(x, y, contradicted)]
    if near is not None:
        ways += told(_Steps(x=x, near=near))
    causes = find_causes(ways, y, contradicted, focus=partial(_focused, x, near), seed=seed)
    suspects = [each for cause in causes for each in suspects_of(cause, kind="trigger")]
    return suspects, [picture(x, y, cause, shape) for cause in causes]


def _focused(
    x: Rows,
    near: NDArray[np.int64] | None,
    found: NDArray[np.int64],
    others: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the columns that tell found rows from others are in some rows, for trees and linearly.

    Trees are also given the distance from the found rows' medians: a value that they share lies
    between other rows' values.
    """
    columns = _telling(x, found, others, near)
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
    """The columns, and in images how each stands out from those around it and steps to them."""
    if near is None:
        return part[:, columns]
    return np.hstack([_wide(part, columns, near), contrast(part, columns, near)])


def _wide(
    part: NDArray[np.float32], columns: NDArray[np.int64], near: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    """The columns, and in images their steps."""
    shown = part[:, columns]
    return shown if near is None else np.hstack([shown, steps(part, columns, near)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """Steps between neighbours in the rows that are asked for: what is inverted has edges."""

    x: Rows
    near: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return steps(self.x[rows], np.arange(self.x.shape[1]), self.near)


def suspects_of(cause: Cause, *, kind: str) -> list[Suspect]:
    """A suspect for each row that has the cause."""
    name = kind.partition("-")[0]
    evidence = {
        f"{name}_rows": float(len(cause.rows)),
        f"{name}_kept": cause.kept,
        f"{name}_contradicted": cause.contradicted,
    }
    return [
        Suspect(
            index=int(row),
            score=round(float(rank * cause.contradicted), 4),
            kind=kind,
            label=cause.label,
            evidence={**evidence, f"{name}_rank": float(rank)},
        )
        for row, rank in zip(cause.rows, cause.ranks, strict=True)
    ]


def _telling(
    x: Rows,
    found: NDArray[np.int64],
    others: NDArray[np.int64],
    near: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """Columns in which the found rows differ most from others, by mean or by spread."""
    ours, theirs = (x[some(rows, most=_SEEN)] for rows in (found, others))
    strength = _apart(ours, theirs)
    strength += (
        np.abs(np.log((ours.var(axis=0) + 2 * _FLOOR) / (theirs.var(axis=0) + 2 * _FLOOR))) / 2
    )
    if near is not None:
        columns = np.arange(x.shape[1])
        for view in (contrast, steps):
            strength += _apart(view(ours, columns, near), view(theirs, columns, near))
    return np.argsort(-strength)[:_WIDE]


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    """Distance of the columns' means in standard deviations."""
    spread = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / 2 + _FLOOR)
    distance: NDArray[Any] = np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) / spread
    return distance


def picture(x: Rows, y: NDArray[np.int64], cause: Cause, shape: tuple[int, ...]) -> Trigger:
    """What the rows have and the other labels' rows have not, in the columns that show it."""
    others = np.flatnonzero(y != cause.label)
    shown = np.zeros(x.shape[1], dtype=bool)
    shown[_telling(x, cause.rows, others, around(shape))[:_COLUMNS]] = True
    change = mean_of(x, cause.rows) - mean_of(x, others)
    return Trigger(
        label=cause.label,
        rows=len(cause.rows),
        pattern=np.median(x[some(cause.rows)], axis=0).reshape(shape),
        change=change.reshape(shape),
        mask=shown.reshape(shape),
    )
