"""Picture features: a coarse grid of brightness, contrast and sharpness of large pictures.

pictures (n, H, W), (n, H, W, C) or (n, C, H, W) → 8 × 8 means a channel, contrast, sharpness
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Floats

LARGE: Final = 4096  # values; chosen: smaller pictures are compared pixel by pixel
_GRID: Final = 8  # cells a side; chosen: drift of a part of the picture still shows
_CHANNELS: Final = 4  # most channels of a picture: red, green, blue, alpha
_AT_ONCE: Final = 32  # pictures; chosen: bounds the memory of a conversion
_FLAT, _COLOURED = 2, 3  # dimensions of a picture without and with channels


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether inputs of that shape are large pictures."""
    size = int(np.prod(shape)) if shape else 0
    if size <= LARGE or len(shape) not in {_FLAT, _COLOURED}:
        return False
    return len(shape) == _FLAT or min(shape[0], shape[-1]) <= _CHANNELS


def picture_names(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the features of a picture of that shape."""
    height, width, channels = _layout(shape)
    rows, columns = min(_GRID, height), min(_GRID, width)
    cells = (
        f"channel{c}.cell{row}.{column}"
        for c in range(channels)
        for row in range(rows)
        for column in range(columns)
    )
    kinds = (f"channel{c}.{each}" for each in ("contrast", "sharpness") for c in range(channels))
    return (*cells, *kinds)


def picture_features(pictures: NDArray[np.generic], shape: tuple[int, ...]) -> Floats:
    """Features `(n, f)` of pictures `(n, *shape)`."""
    starts = range(0, len(pictures), _AT_ONCE)
    parts = [_features(pictures[start : start + _AT_ONCE], shape) for start in starts]
    return np.concatenate(parts) if parts else np.empty((0, len(picture_names(shape))))


def _layout(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) == _FLAT:
        return shape[0], shape[1], 1
    first = shape[0] <= _CHANNELS < shape[-1]
    return (shape[1], shape[2], shape[0]) if first else (shape[0], shape[1], shape[2])


def _features(pictures: NDArray[np.generic], shape: tuple[int, ...]) -> Floats:
    height, width, _ = _layout(shape)
    values = pictures.astype(np.float64).reshape(len(pictures), *shape)
    if len(shape) == _FLAT:
        values = values[:, None]
    elif not shape[0] <= _CHANNELS < shape[-1]:
        values = values.transpose(0, 3, 1, 2)
    rows, columns = _starts(height), _starts(width)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=2), columns, axis=3)
    areas = np.outer(np.diff(np.append(rows, height)), np.diff(np.append(columns, width)))
    edges = [np.abs(np.diff(values, axis=axis)).mean(axis=(2, 3)) for axis in (2, 3)]
    parts = [(sums / areas).reshape(len(values), -1), values.std(axis=(2, 3)), sum(edges)]
    return np.concatenate(parts, axis=1)


def _starts(size: int) -> NDArray[np.int64]:
    cells = min(_GRID, size)
    return (np.arange(cells) * size // cells).astype(np.int64)
