"""Which rows owe their label to a small patch that only their class carries.

A dirty-label backdoor puts one pattern into inputs of many classes and gives them one label. A
linear model then reads the label off the pattern: leave the pattern's place out and these rows
turn to the class they show. Rows of one label that turn together, at one place, where they hold
the same pattern, are reported as a group.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.poisoning.report import Suspect
from mlsecops.poisoning.ridge import Ridge, folds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Group", "image_axes", "trigger_groups", "trigger_suspects"]

_SIDES: Final = (1, 2, 3, 4, 5)  # of the windows that are left out, in pixels
_FOLDS: Final = 5
_LEAST: Final = 8  # rows of a group
_LEAST_SHARE: Final = 0.02  # of its class
_TURNED: Final = 0.7  # share of the pattern's rows that turn without it
_FEW: Final = 4  # columns without which honest rows hardly ever turn
_RARE: Final = 50.0  # lift of a pattern that is next to unknown in other classes
_TURNED_FEW: Final = 0.5  # share that suffices where both hold
_SPREAD: Final = 0.08  # of the value range; rows of one pattern differ less
_LOOSE: Final = 0.12  # robust deviation of a pixel that still belongs to the pattern
_SIGMAS: Final = 3.0  # deviations within which a row holds the pattern
_TO_SIGMA: Final = 1.4826  # MAD to standard deviation, for a normal law
_SMALL: Final = 16  # pixels a side; up to it every rectangle is tried, beyond it squares and bars
_ELSEWHERE: Final = 0.2  # pattern's rate in other classes, against that in its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows of one class with one pattern in one place.

    Attributes:
        label: The class.
        rows: Indices of the rows.
        window: Columns of the flattened input that the pattern covers.
        turned: Share of the rows that change class without the window.
        lift: Pattern's rate in its class against that in the others.
    """

    label: int
    rows: tuple[int, ...]
    window: tuple[int, ...]
    turned: float
    lift: float


def image_axes(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Height, width and channels of ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)``; else None.

    A flat input of a square number of values is taken as a grey image, which costs a search in
    vain where it is none.
    """
    if len(shape) == 1:
        side = round(shape[0] ** 0.5)
        return (side, side, 1) if side * side == shape[0] and side >= 4 else None  # noqa: PLR2004 - under 4 x 4 a window is the image
    if len(shape) == 2:  # noqa: PLR2004 - height and width
        return (*shape, 1)
    if len(shape) == 3:  # noqa: PLR2004 - with channels
        first = shape[0] <= 4 < shape[2]  # noqa: PLR2004 - at most RGBA
        return (shape[1], shape[2], shape[0]) if first else shape
    return None


def trigger_suspects(
    x: NDArray[np.float64], y: NDArray[np.int64], *, shape: tuple[int, ...], seed: int
) -> list[Suspect]:
    """Suspects of kind ``"trigger"``, from all groups."""
    return [
        Suspect(
            index=row,
            score=round(min(1.0, 0.5 + 0.5 * group.turned), 4),
            kind="trigger",
            label=group.label,
            evidence={
                "trigger_turned": group.turned,
                "trigger_lift": group.lift,
                "trigger_rows": float(len(group.rows)),
                "trigger_first_column": float(group.window[0]),
            },
        )
        for group in trigger_groups(x, y, shape=shape, seed=seed)
        for row in group.rows
    ]


def trigger_groups(
    x: NDArray[np.float64], y: NDArray[np.int64], *, shape: tuple[int, ...], seed: int
) -> list[Group]:
    """Groups of rows that owe their label to a pattern.

    Args:
        x: Flattened inputs ``(n, d)``.
        y: Labels ``(n,)``, in ``[0, k)``.
        shape: Shape of one input.
        seed: Seed of the folds.
    """
    fits = _Fits.fit(x, y, seed=seed)
    best: dict[int, Group] = {}
    for window in _windows(shape):
        turned = fits.turned(window)
        for label, count in enumerate(np.bincount(y[turned], minlength=fits.classes)):
            if count < max(_LEAST, _LEAST_SHARE * fits.sizes[label]) * _TURNED_FEW:
                continue
            group = _group(x, y, window=window, label=label, turned=turned)
            if group is not None and len(group.rows) * group.turned > _weight(best.get(label)):
                best[label] = group
    return list(best.values())


def _weight(group: Group | None) -> float:
    return 0.0 if group is None else len(group.rows) * group.turned


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fits:
    """Out-of-fold scores of every row, and what is needed to leave columns out of them."""

    y: NDArray[np.int64]
    classes: int
    sizes: NDArray[np.int64]
    scores: NDArray[np.float64]
    parts: list[tuple[Ridge, NDArray[np.int64], NDArray[np.float64]]]

    @classmethod
    def fit(cls, x: NDArray[np.float64], y: NDArray[np.int64], *, seed: int) -> _Fits:
        classes = int(y.max()) + 1
        scores = np.empty((len(x), classes))
        parts = []
        for train, test in folds(len(x), count=_FOLDS, seed=seed):
            ridge = Ridge.fit(x[train], y[train], classes=classes)
            scores[test] = ridge.scores(x[test])
            parts.append((ridge, test, (x[test] - ridge.mean) @ ridge.inverse))
        sizes = np.bincount(y, minlength=classes)
        return cls(y=y, classes=classes, sizes=sizes, scores=scores, parts=parts)

    def turned(self, window: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows that give up their label when the window is left out."""
        without = self.scores.copy()
        for ridge, test, projected in self.parts:
            without[test] -= ridge.lost(projected, window)
        answer: NDArray[np.bool_] = (self.scores.argmax(axis=1) == self.y) & (
            without.argmax(axis=1) != self.y
        )
        return answer


def _group(
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    *,
    window: NDArray[np.int64],
    label: int,
    turned: NDArray[np.bool_],
) -> Group | None:
    """Rows of the class that hold the pattern of those that turned, if that explains them."""
    values = x[:, window]
    mine = y == label
    pattern = np.median(values[turned & mine], axis=0)
    sigma = _TO_SIGMA * np.median(np.abs(values[turned & mine] - pattern), axis=0)
    shared = sigma <= _LOOSE  # the rest of the window shows what the image shows
    reach = np.maximum(_SPREAD, _SIGMAS * sigma[shared])
    holds = (np.abs(values[:, shared] - pattern[shared]) <= reach).all(axis=1)
    rows = np.flatnonzero(holds & mine)
    if len(rows) < max(_LEAST, _LEAST_SHARE * mine.sum()):
        return None
    share = float(turned[rows].mean())
    rate, elsewhere = len(rows) / mine.sum(), holds[~mine].mean()
    lift = float(rate / max(elsewhere, 1 / len(x)))
    telling = len(window) <= _FEW and lift >= _RARE
    if share < (_TURNED_FEW if telling else _TURNED) or elsewhere > _ELSEWHERE * rate:
        return None
    return Group(
        label=label,
        rows=tuple(int(row) for row in rows),
        window=tuple(int(column) for column in window),
        turned=share,
        lift=lift,
    )


def _windows(shape: tuple[int, ...]) -> Iterator[NDArray[np.int64]]:
    """Columns of every window whose sides are at most half of the image's."""
    axes = image_axes(shape)
    if axes is None:
        return
    height, width, channels = axes
    columns = np.arange(height * width * channels).reshape(_grid(shape, axes))
    if columns.shape != (height, width, channels):
        columns = np.moveaxis(columns, 0, -1)
    for tall, wide in itertools.product(_SIDES, _SIDES):
        odd = tall != wide and 1 not in (tall, wide) and min(height, width) > _SMALL
        if odd or 2 * tall > height or 2 * wide > width:
            continue
        for top, left in itertools.product(range(height - tall + 1), range(width - wide + 1)):
            yield columns[top : top + tall, left : left + wide].ravel()


def _grid(shape: tuple[int, ...], axes: tuple[int, int, int]) -> tuple[int, ...]:
    height, width, channels = axes
    first = len(shape) == 3 and shape[0] == channels and shape[1:] == (height, width)  # noqa: PLR2004 - with channels
    return (channels, height, width) if first and shape != axes else axes
