"""How inputs lie in the plane: any sample seen as channels over height and width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Planes"]

_IMAGE, _GREY = 3, 2  # axes of a sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """The layout of samples.

    Attributes:
        shape: Of one sample; three axes are an image, two a grey one, others a line of features.
        channels_first: Whether an image is `(c, h, w)` and not `(h, w, c)`.
    """

    shape: tuple[int, ...]
    channels_first: bool

    def of(self, x: NDArray[Any]) -> NDArray[Any]:
        """Samples `(n, *shape)` seen as `(n, c, h, w)`."""
        if len(self.shape) == _IMAGE:
            return x if self.channels_first else np.moveaxis(x, -1, 1)
        if len(self.shape) == _GREY:
            return x[:, None]
        return x.reshape(len(x), 1, -1, 1)

    def back(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Samples `(n, *shape)` of their planes `(n, c, h, w)`, contiguous."""
        if len(self.shape) == _IMAGE and not self.channels_first:
            planes = np.moveaxis(planes, 1, -1)
        return np.ascontiguousarray(planes.reshape(len(planes), *self.shape))
