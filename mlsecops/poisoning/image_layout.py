"""Image layout of flattened rows: axes, neighbouring values, windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALLEST: Final = 6  # values; chosen: in a smaller image every value is next to most others
_ALIKE: Final = 0.2  # mean correlation of neighbouring values; digits have 0.31, tables 0.16
# Pixels, height by width; chosen: shapes of common patches and lines.
_WINDOWS: Final = ((1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (1, 7), (7, 1))


def image_axes(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Height, width and channels of `(h, w)`, `(h, w, c)` or `(c, h, w)`; None for a table's row.

    Examples:
        >>> image_axes((3, 32, 32))
        (32, 32, 3)
    """
    if len(shape) == 2:  # noqa: PLR2004 - height and width
        return (*shape, 1)
    if len(shape) == 3:  # noqa: PLR2004 - with channels
        return (shape[1], shape[2], shape[0]) if _channels_first(shape) else shape
    return None


def square_side(rows: NDArray[np.float32]) -> int | None:
    """Side of the square grey images that flat rows `(n, d)` hold, or None for a table.

    In an image, values next to each other are alike across and down, and those at the end of one
    line and the start of the next are not. A width that is a square says nothing.
    """
    side = round(rows.shape[1] ** 0.5)
    if side < _SMALLEST or side * side != rows.shape[1]:
        return None
    spread = rows.std(axis=0)
    unit = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)
    alike = np.abs(unit.T @ unit) / len(rows)
    grid = np.arange(rows.shape[1]).reshape(side, side)
    across, down = alike[grid[:, :-1], grid[:, 1:]].mean(), alike[grid[:-1], grid[1:]].mean()
    wrapped, other = alike[grid[:-1, -1], grid[1:, 0]].mean(), alike.mean()
    least = min(across, down)
    return side if least > max(_ALIKE, other + _ALIKE / 2, wrapped + _ALIKE / 2) else None


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] <= 4 < shape[2]  # noqa: PLR2004 - at most RGBA


def around(shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Columns of the four neighbours of each value `(d, 4)`; None if inputs are no images."""
    axes = image_axes(shape)
    if axes is None:
        return None
    grid = _grid(shape, axes)
    wide = np.pad(grid, ((0, 0), (1, 1), (1, 1)), mode="edge")
    sides = (wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:])
    found = np.empty((grid.size, 4), dtype=np.int64)
    found[grid.ravel()] = np.stack([side.ravel() for side in sides], axis=1)
    return found


def pixel_grid(shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Column of each value `(c, h, w)`; None if inputs are no images."""
    axes = image_axes(shape)
    return None if axes is None else _grid(shape, axes)


def _grid(shape: tuple[int, ...], axes: tuple[int, int, int]) -> NDArray[np.int64]:
    """Column of each value `(c, h, w)`."""
    columns = np.arange(axes[0] * axes[1] * axes[2])
    if _channels_first(shape):
        return columns.reshape(axes[2], *axes[:2])
    return np.moveaxis(columns.reshape(axes), -1, 0)


def windows(shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Columns of each window that may hold a whole pattern, `(windows, columns)` per size.

    Images have small windows in all positions, over all channels; in tables each column is one.
    """
    axes = image_axes(shape)
    if axes is None:
        return [np.arange(np.prod(shape))[:, None]]
    grid = _grid(shape, axes)
    sizes = [size for size in _WINDOWS if size[0] <= axes[0] and size[1] <= axes[1]]
    views = (np.lib.stride_tricks.sliding_window_view(grid, size, axis=(1, 2)) for size in sizes)
    return [
        np.moveaxis(view, 0, 2).reshape(-1, len(grid) * tall * wide)
        for view, (tall, wide) in zip(views, sizes, strict=True)
    ]


def contrast(
    x: NDArray[np.float32], columns: NDArray[np.int64], near: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Values minus the mean of their four neighbours `(n, columns)`."""
    total = sum(x[:, side] for side in near[columns].T)
    return x[:, columns] - total / np.float32(4)


def steps(
    x: NDArray[np.float32], columns: NDArray[np.int64], near: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Absolute differences to the values below and to the right, summed `(n, columns)`."""
    here, (_, below, _, right) = x[:, columns], near[columns].T
    difference: NDArray[np.float32] = np.abs(here - x[:, below]) + np.abs(here - x[:, right])
    return difference


def channels_last(image: NDArray[np.float32], axes: tuple[int, int, int]) -> NDArray[np.float32]:
    """One image with the given axes as `(h, w, c)`."""
    return np.moveaxis(image, 0, -1) if _channels_first(image.shape) else image.reshape(axes)
