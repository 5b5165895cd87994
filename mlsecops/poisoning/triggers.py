"""Backdoor triggers in the inputs.

rows, labels → contradicted labels → scores of several views → `pattern_search` → Suspects, Triggers

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
from mlsecops.poisoning.images.local_texture import local_texture
from mlsecops.poisoning.images.patch_words import patch_words
from mlsecops.poisoning.linear_model import out_of_fold_scores
from mlsecops.poisoning.neighbour_labels import neighbour_labels
from mlsecops.poisoning.pattern_search import OF_FEW, Pattern, Search, find_patterns
from mlsecops.poisoning.rare_values import shared_values
from mlsecops.poisoning.report import Suspect, Trigger

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS: Final = 24  # most different columns, for the trees; chosen
_WIDE: Final = 128  # most different columns, for the linear model; chosen
_SEEN: Final = 2048  # rows of each side for the selection of columns; chosen
_DIFFUSE: Final = 0.45  # strength of a reported texture; chosen: untouched data sets reached 0.40
_FLOOR: Final = 1e-3  # variance; chosen: keeps the contrast of constant columns finite


def image_triggers(
    x: Rows,
    y: NDArray[np.int64],
    *,
    shape: tuple[int, ...],
    seed: int,
    executor: Executor | None = None,
) -> tuple[list[Suspect], list[Trigger]]:
    """Rows of images with a trigger, and the triggers."""
    nearest = neighbour_labels(x, y, seed=seed, executor=executor)
    contradicted = nearest.contradicted
    searches = [
        *value_searches(x, y, contradicted, shape=shape, seed=seed, executor=executor),
        *image_searches(x, y, contradicted, shape=shape, seed=seed, executor=executor),
    ]
    patterns = find_patterns(searches, y, contradicted, rivals=nearest.rival, seed=seed)
    suspects = [each for found in patterns for each in suspects_of(found, kind="trigger")]
    return suspects, [trigger_of(x, y, found.label, found.rows, shape) for found in patterns]


def value_searches(
    x: Rows,
    y: NDArray[np.int64],
    contradicted: NDArray[np.bool_],
    *,
    shape: tuple[int, ...],
    seed: int,
    executor: Executor | None = None,
) -> list[Search]:
    """Searches in the values, and in images in the steps between them."""
    near = around(shape)
    linear = partial(
        out_of_fold_scores, y=y, contradicted=contradicted, seed=seed, windows=windows(shape),
        executor=executor,
    )  # fmt: skip
    scores = [*linear(x), shared_values(x, y, contradicted)]
    if near is not None:
        scores += linear(_Steps(x=x, near=near))
    return [Search(scores=each, focus=partial(_focused, x, near)) for each in scores]


def image_searches(
    x: Rows,
    y: NDArray[np.int64],
    contradicted: NDArray[np.bool_],
    *,
    shape: tuple[int, ...],
    seed: int,
    executor: Executor | None = None,
) -> list[Search]:
    """Searches in local texture and in patches at any place; none if inputs are no images."""
    searches = []
    texture = local_texture(x, shape)
    if texture is not None:
        scores = out_of_fold_scores(texture, y, contradicted, seed=seed, executor=executor)
        focus = partial(_textured, texture)
        searches += [
            Search(scores=s, focus=focus, bar=_DIFFUSE, few=OF_FEW, turn=1) for s in scores
        ]
    words = patch_words(x, y, contradicted, shape=shape)
    if words is not None:

        def held(found: NDArray[np.int64], _others: object, rows: NDArray[np.int64]) -> Any:
            return (words.focus(int(y[found[0]]), rows),) * 2

        searches.append(Search(scores=words.scores, focus=held, turn=1))
    return searches


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


def _textured(
    texture: Rows,
    found: NDArray[np.int64],
    others: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """As `_focused`, but a linear model sees all places: a warp is faint and everywhere."""
    views, _ = _focused(texture, None, found, others, rows)
    return views, np.concatenate([texture[block] for block in cut(rows)])


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


def trigger_of(
    x: Rows,
    y: NDArray[np.int64],
    label: int,
    rows: NDArray[np.int64],
    shape: tuple[int, ...],
    *,
    columns: NDArray[np.int64] | None = None,
) -> Trigger:
    """Median and change of a trigger's rows, and its columns: by default those that differ most."""
    others = np.flatnonzero(y != label)
    shown = np.zeros(x.shape[1], dtype=bool)
    if columns is None:
        columns = _different(x, rows, others, around(shape))[:_COLUMNS]
    shown[columns] = True
    change = mean_of(x, rows) - mean_of(x, others)
    return Trigger(
        label=label,
        rows=len(rows),
        pattern=np.median(x[some(rows)], axis=0).reshape(shape),
        change=change.reshape(shape),
        mask=shown.reshape(shape),
    )
