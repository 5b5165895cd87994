"""How rows of values lie as images: what is around a value, which windows there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["around", "contrast", "image_axes", "planes", "steps", "windows"]

_WINDOWS: Final = ((1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (1, 7), (7, 1))


def image_axes(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Height, width and channels of `(h, w)`, `(h, w, c)` or `(c, h, w)`; else None.

    A flat input of a square number of values is taken as a grey image, which costs a search in
    vain where it is none.
    """
    if len(shape) == 1:
        side = round(shape[0] ** 0.5)
        return (side, side, 1) if side * side == shape[0] and side >= 4 else None  # noqa: PLR2004 - under 4 x 4 a window is the image
    if len(shape) == 2:  # noqa: PLR2004 - height and width
        return (*shape, 1)
    if len(shape) == 3:  # noqa: PLR2004 - with channels
        return (shape[1], shape[2], shape[0]) if _channels_first(shape) else shape
    return None


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] <= 4 < shape[2]  # noqa: PLR2004 - at most RGBA


def around(shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Columns of the four values around each one `(d, 4)`; None where inputs are no images.

    Args:
        shape: Shape of one input.
    """
    axes = image_axes(shape)
    if axes is None:
        return None
    grid = _grid(shape, axes)
    wide = np.pad(grid, ((0, 0), (1, 1), (1, 1)), mode="edge")
    sides = (wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:])
    found = np.empty((grid.size, 4), dtype=np.int64)
    found[grid.ravel()] = np.stack([side.ravel() for side in sides], axis=1)
    return found


def _grid(shape: tuple[int, ...], axes: tuple[int, int, int]) -> NDArray[np.int64]:
    """The column of each value `(c, h, w)`."""
    columns = np.arange(axes[0] * axes[1] * axes[2])
    if _channels_first(shape):
        return columns.reshape(axes[2], *axes[:2])
    return np.moveaxis(columns.reshape(axes), -1, 0)


def windows(shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Columns that a pattern may be confined to, `(windows, columns)` for each size.

    In images these are small windows in all places and channels; in tables each column is one.

    Args:
        shape: Shape of one input.
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
    """Some columns less the mean of the four around them `(n, columns)`."""
    total = sum(x[:, side] for side in near[columns].T)
    stands: NDArray[np.float32] = x[:, columns] - total / np.float32(4)
    return stands


def steps(
    x: NDArray[np.float32], columns: NDArray[np.int64], near: NDArray[np.int64]
) -> NDArray[np.float32]:
    """How far some columns are from the values below and to the right `(n, columns)`."""
    here, (_, below, _, right) = x[:, columns], near[columns].T
    apart: NDArray[np.float32] = np.abs(here - x[:, below]) + np.abs(here - x[:, right])
    return apart


def planes(image: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """One input as `(h, w, c)`; None where it is no image."""
    axes = image_axes(image.shape)
    if axes is None:
        return None
    if _channels_first(image.shape):
        return np.moveaxis(image, 0, -1)
    return image.reshape(axes)
