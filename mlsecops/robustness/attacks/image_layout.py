"""Image layout: conversion of samples to channels × height × width and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IMAGE, _GREY = 4, 3  # axes of a batch


def to_chw(x: NDArray[Any], *, channels_first: bool) -> NDArray[Any]:
    """Images, grey images or feature rows `(n, *shape)` as `(n, c, h, w)`.

    Examples:
        >>> to_chw(np.zeros((5, 28, 28, 3)), channels_first=False).shape
        (5, 3, 28, 28)
    """
    if x.ndim == _IMAGE:
        return x if channels_first else np.moveaxis(x, -1, 1)
    return x[:, None] if x.ndim == _GREY else x.reshape(len(x), 1, -1, 1)


def from_chw(images: NDArray[Any], like: NDArray[Any], *, channels_first: bool) -> NDArray[Any]:
    """Contiguous samples in the layout of `like`, from `(n, c, h, w)`."""
    if like.ndim == _IMAGE and not channels_first:
        images = np.moveaxis(images, 1, -1)
    return np.ascontiguousarray(images.reshape(len(images), *like.shape[1:]))
