"""Local texture of images: logarithms of first and second differences, averaged per place.

image rows `(n, d)` → differences along each axis → mean over 3 x 3 values → log → `(n, features)`

A warped image is an interpolated one: it is smoother than its neighbours wherever the field moves
it by a fraction of a value. Waves and noise over a whole image change the same measure.

Source: Popescu and Farid, "Exposing digital forgeries by detecting traces of resampling" (2005),
for second differences of interpolated images; Nguyen and Tran, "WaNet: imperceptible warping-based
backdoor attack" (2021), for the trigger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, every
from mlsecops.poisoning.image_layout import pixel_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FLOOR: Final = 0.01  # difference on [0, 1]; chosen: 2 to 3 levels of a byte, below is noise
_MOST: Final = 16  # places along each axis; chosen: bounds the features to 3 x 16 x 16


def local_texture(x: Rows, shape: tuple[int, ...]) -> Rows | None:
    """Rows of local texture; None if inputs are too small or no images.

    Rows of an array are computed once and held, up to three quarters of its size; rows of a file
    are computed on access.
    """
    texture = _TextureRows.of(x, shape)
    if texture is None or not isinstance(x, np.ndarray):
        return texture
    blocks = every(len(x))
    return np.concatenate([texture[block] for block in blocks])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _TextureRows:
    """Rows of local texture, computed on access.

    Attributes:
        x: Flattened images `(n, d)` on `[0, 1]`.
        grid: Column of each value `(channels, height, width)`.
        stride: Values from one place to the next.
    """

    x: Rows
    grid: NDArray[np.int64]
    stride: int

    @classmethod
    def of(cls, x: Rows, shape: tuple[int, ...]) -> _TextureRows | None:
        """The view of images with this shape; None if they are too small or no images."""
        grid = pixel_grid(shape)
        if grid is None or min(grid.shape[1:]) < 8:  # noqa: PLR2004 - a place has 3 x 3 values
            return None
        return cls(x=x, grid=grid, stride=max(2, -(-max(grid.shape[1:]) // _MOST)))

    @property
    def shape(self) -> tuple[int, int]:
        """`(n, features)`."""
        tall, wide = (-(-side // self.stride) for side in self.grid.shape[1:])
        return len(self.x), 3 * tall * wide

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        image = self.x[rows][:, self.grid].mean(axis=1)
        maps = [self._log_mean(each) for each in _differences(image)]
        return np.concatenate(maps, axis=1).astype(np.float32)

    def _log_mean(self, energy: NDArray[Any]) -> NDArray[Any]:
        wide = np.pad(energy, ((0, 0), (1, 1), (1, 1)), mode="edge")
        tall, long = energy.shape[1:]
        nine = [wide[:, i : i + tall, j : j + long] for i in range(3) for j in range(3)]
        mean = sum(each[:, :: self.stride, :: self.stride] for each in nine) / 9
        return np.log(mean + _FLOOR).reshape(len(energy), -1)


def _differences(image: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Second differences across and down, and the sum of first ones."""
    wide = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    left, right = wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]
    above, below = wide[:, :-2, 1:-1], wide[:, 2:, 1:-1]
    first = np.abs(right - image) + np.abs(below - image)
    return np.abs(left + right - 2 * image), np.abs(above + below - 2 * image), first
