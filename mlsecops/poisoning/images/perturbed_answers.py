"""Answers of a trained model to slightly changed images.

model, images → shifted, blurred, dimmed and brightened copies → log-probabilities `(n, features)`

A trigger that a model has learnt makes its answers fail in a way of its own when the image is
moved or blurred: a warp no longer fits its field, a patch loses its edge. The last hidden layer
of the unchanged image shows less of this.

Source: Gao et al., "STRIP: a defence against trojan attacks on deep neural networks" (2019), for
answers to perturbed inputs; Guo et al., "SCALE-UP" (2023), for scaled ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.adapters.base import Adapter, in_batches
from mlsecops.poisoning.image_layout import pixel_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIMMED: Final = 0.8  # of the distance from the darkest value; chosen
_BRIGHT: Final = 1.2  # of the same, cut at the brightest value; chosen
_LEAST: Final = 1e-3  # probability, and spread of its logarithm; chosen: less says little more


def perturbed_answers(adapter: Adapter, x: NDArray[Any]) -> NDArray[np.float32] | None:
    """Log-probabilities of seven changed copies of each image `(n, 7 k)`.

    None for tables, and for a model whose answers do not vary.

    Args:
        adapter: The model.
        x: Images `(n, *shape)` in the model's format.
    """
    grid = pixel_grid(x.shape[1:])
    if grid is None:
        return None
    low, high = float(x.min()), float(x.max())

    def answers(part: NDArray[Any]) -> NDArray[np.float32]:
        copies = _changed(part.astype(np.float32), grid, low, high)
        return np.concatenate([adapter.predict(copy) for copy in copies], axis=1)

    logs = np.log(in_batches(answers, x) + _LEAST)
    logs -= logs.mean(axis=0)
    spread = float(logs.std())
    if spread < _LEAST:
        return None
    scaled: NDArray[np.float32] = (logs / spread).astype(np.float32)
    return scaled


def _changed(
    part: NDArray[np.float32], grid: NDArray[np.int64], low: float, high: float
) -> Iterator[NDArray[np.float32]]:
    images = part.reshape(len(part), -1)[:, grid]  # (n, channels, height, width)
    moved = [np.roll(images, step, axis=axis) for axis in (2, 3) for step in (-1, 1)]
    wide = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    tall, long = images.shape[2:]
    blurred = sum(wide[:, :, i : i + tall, j : j + long] for i in range(3) for j in range(3)) / 9
    dimmed = low + _DIMMED * (images - low)
    bright = np.minimum(low + _BRIGHT * (images - low), high)
    for changed in (*moved, blurred, dimmed, bright):
        flat = np.empty((len(part), grid.size), dtype=np.float32)
        flat[:, grid.ravel()] = changed.reshape(len(part), -1)
        yield flat.reshape(part.shape)
