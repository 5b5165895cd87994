"""How rows of values lie as images, and how each value stands out from those around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["image_axes", "local_contrast"]


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
        return (shape[1], shape[2], shape[0]) if _channels_first(shape) else shape
    return None


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] <= 4 < shape[2]  # noqa: PLR2004 - at most RGBA


def local_contrast(x: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Each value less the mean of the four around it ``(n, d)``.

    Args:
        x: Flattened images ``(n, d)``.
        shape: Shape of one image, one that `image_axes` knows.
    """
    height, width, channels = image_axes(shape) or (1, x.shape[1], 1)
    if _channels_first(shape):
        images = x.reshape(len(x), channels, height, width)
        border = ((0, 0), (0, 0), (1, 1), (1, 1))
        padded = np.pad(images, border, mode="edge")
        rows, columns = padded[:, :, :, 1:-1], padded[:, :, 1:-1]
        around = rows[:, :, :-2] + rows[:, :, 2:] + columns[..., :-2] + columns[..., 2:]
    else:
        images = x.reshape(len(x), height, width, channels)
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        rows, columns = padded[:, :, 1:-1], padded[:, 1:-1]
        around = rows[:, :-2] + rows[:, 2:] + columns[:, :, :-2] + columns[:, :, 2:]
    contrast: NDArray[np.float32] = (images - around / np.float32(4)).reshape(len(x), -1)
    return contrast
