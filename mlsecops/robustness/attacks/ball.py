"""Norm ball around each input, clipped to the bounds of the values.

inputs, norm, eps, bounds → `Ball` → projections, gradient steps, random points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array

Bounds: TypeAlias = tuple[Any, Any]
"""Smallest and largest value: numbers, or arrays per feature or per input `(n, *shape)`."""
Norm: TypeAlias = Literal["linf", "l2"]
_TINY: Final = 1e-12  # L2 length; chosen: keeps the division of a zero vector finite


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ball:
    """Inputs and the set of points that an attack may move each of them to.

    Attributes:
        x: Centres `(n, *shape)`.
        lower: Smallest values allowed, shaped as `x`; for Linf they include the ball.
        upper: Largest values allowed, likewise.
        norm: `"linf"` or `"l2"`.
        eps: Radius, in units of the input.

    Examples:
        >>> ball = Ball.around(np.full((1, 2), 0.875), norm="linf", eps=0.25, bounds=(0, 1))
        >>> ball.project(np.array([[0.5, 2.0]])).tolist()
        [[0.625, 1.0]]
    """

    x: Array
    lower: Array
    upper: Array
    norm: Norm
    eps: float

    @classmethod
    def around(cls, x: Array, *, norm: Norm, eps: float, bounds: Bounds) -> Ball:
        """The ball around inputs `(n, *shape)` that are inside the bounds."""
        centres = np.asarray(x, dtype=np.float32)
        lower, upper = spread(bounds, centres.shape)
        if norm == "linf":
            radius = np.float32(eps)
            lower, upper = np.maximum(centres - radius, lower), np.minimum(centres + radius, upper)
        return cls(x=centres, lower=lower, upper=upper, norm=norm, eps=eps)

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, which: Any) -> Ball:
        """The balls of selected inputs, by index, mask or slice."""
        low, high = self.lower[which], self.upper[which]
        return replace(self, x=self.x[which], lower=low, upper=high)

    def put(self, which: NDArray[np.int64], ball: Ball) -> None:
        """Overwrite selected inputs with those of another ball, in place."""
        self.x[which], self.lower[which], self.upper[which] = ball.x, ball.lower, ball.upper

    def project(self, z: NDArray[Any]) -> Array:
        """Nearest point of the ball, then of the bounds, which for L2 moves towards the centre."""
        if self.norm == "l2":
            offset = z - self.x
            z = self.x + offset * np.minimum(1.0, self.eps / np.maximum(lengths(offset), _TINY))
        inside: Array = np.clip(z, self.lower, self.upper).astype(np.float32, copy=False)
        return inside

    def ascend(self, z: Array, gradient: Array, step: Any) -> Array:
        """Step along a gradient (its sign for Linf) by one length, or one each, then project."""
        length = np.asarray(step, dtype=np.float32)
        if length.ndim:
            length = columns(length, z.ndim)
        if self.norm == "linf":
            # In place: outside of the model this is most of an attack's time.
            point: Array = np.sign(gradient, dtype=np.float32)
            point *= length
            point += z
            np.maximum(point, self.lower, out=point)
            return np.minimum(point, self.upper, out=point)
        free = np.where(self.upper > self.lower, gradient, np.float32(0))
        return self.project(z + length * free / np.maximum(lengths(free), _TINY))

    def scatter(self, keys: list[list[int]]) -> Array:
        """Random point for each input, uniform in its ball, drawn from its key alone."""
        if not len(self.x):
            return self.x.copy()
        shape = self.x.shape[1:]
        noise = [draw(shape, norm=self.norm, eps=self.eps, key=key) for key in keys]
        return self.project(self.x + np.stack(noise).astype(np.float32))


def spread(bounds: Bounds, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Bounds broadcast to one shape, as float32 views."""
    low, high = (np.broadcast_to(np.asarray(b, dtype=np.float32), shape) for b in bounds)
    return low, high


def draw(shape: tuple[int, ...], *, norm: Norm, eps: float, key: list[int]) -> NDArray[np.float64]:
    """Uniform random point of the ball around zero, drawn from the key alone."""
    rng = np.random.default_rng(key)
    if norm == "linf":
        return rng.uniform(-eps, eps, size=shape)
    direction = rng.standard_normal(shape)
    radius = eps * rng.uniform() ** (1.0 / max(direction.size, 1))
    point: NDArray[np.float64] = direction * (radius / max(float(np.linalg.norm(direction)), _TINY))
    return point


def lengths(a: NDArray[Any]) -> Any:
    """Euclidean length of each sample, shaped to broadcast over the samples' axes."""
    return columns(np.linalg.norm(a.reshape(len(a), -1), axis=1), a.ndim)


def columns(values: NDArray[Any], ndim: int) -> NDArray[Any]:
    """One value per sample, shaped to broadcast over the samples' axes."""
    return values.reshape(-1, *(1,) * (ndim - 1))
