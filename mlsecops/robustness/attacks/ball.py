"""Where an attack may go: a ball around each input, cut by the bounds of the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array

__all__ = ["Ball", "Bounds", "Norm", "columns", "draw", "lengths", "spread"]

Bounds: TypeAlias = tuple[Any, Any]
"""Smallest and largest value: numbers, or arrays per feature or per input `(n, *shape)`."""
Norm: TypeAlias = Literal["linf", "l2"]
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ball:
    """Some inputs and what is near each of them.

    Attributes:
        x: Centres `(n, *shape)`.
        lower: Smallest values allowed, shaped as `x`; for Linf the ball is in them.
        upper: Largest values allowed, likewise.
        norm: `"linf"` or `"l2"`.
        eps: Radius, in units of the input.
    """

    x: Array
    lower: Array
    upper: Array
    norm: Norm
    eps: float

    @classmethod
    def around(cls, x: Array, *, norm: Norm, eps: float, bounds: Bounds) -> Ball:
        """The ball around inputs `(n, *shape)` that lie inside the bounds."""
        centres = np.asarray(x, dtype=np.float32)
        lower, upper = spread(bounds, centres.shape)
        if norm == "linf":
            radius = np.float32(eps)
            lower, upper = np.maximum(centres - radius, lower), np.minimum(centres + radius, upper)
        return cls(x=centres, lower=lower, upper=upper, norm=norm, eps=eps)

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, which: Any) -> Ball:
        """The ball of some of the inputs, by index, mask or slice."""
        return Ball(
            x=self.x[which],
            lower=self.lower[which],
            upper=self.upper[which],
            norm=self.norm,
            eps=self.eps,
        )

    def put(self, which: NDArray[np.int64], ball: Ball) -> None:
        """Write another ball's inputs over some of these, in place."""
        self.x[which], self.lower[which], self.upper[which] = ball.x, ball.lower, ball.upper

    def project(self, z: NDArray[Any]) -> Array:
        """Nearest point of the ball, then of the bounds.

        For L2 clipping to the bounds moves towards the centre, so it cannot leave the ball.
        """
        if self.norm == "l2":
            offset = z - self.x
            z = self.x + offset * np.minimum(1.0, self.eps / np.maximum(lengths(offset), _TINY))
        inside: Array = np.clip(z, self.lower, self.upper).astype(np.float32, copy=False)
        return inside

    def ascend(self, z: Array, gradient: Array, step: Any) -> Array:
        """A step of some length along a gradient (its sign for Linf), projected.

        Args:
            z: Points `(n, *shape)`.
            gradient: Directions `(n, *shape)`.
            step: Length, one number or one for each point `(n,)`.
        """
        length = np.asarray(step, dtype=np.float32)
        if length.ndim:
            length = columns(length, z.ndim)
        if self.norm == "linf":
            # Into one array: an attack does little else outside of the model.
            point: Array = np.sign(gradient, dtype=np.float32)
            point *= length
            point += z
            np.maximum(point, self.lower, out=point)
            return np.minimum(point, self.upper, out=point)
        free = np.where(self.upper > self.lower, gradient, np.float32(0))
        return self.project(z + length * free / np.maximum(lengths(free), _TINY))

    def scatter(self, keys: list[list[int]]) -> Array:
        """A point for each input, uniform in its ball; the key alone decides it."""
        if not len(self.x):
            return self.x.copy()
        shape = self.x.shape[1:]
        noise = [draw(shape, norm=self.norm, eps=self.eps, key=key) for key in keys]
        return self.project(self.x + np.stack(noise).astype(np.float32))


def spread(bounds: Bounds, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Bounds as float32 views of one shape; a number or an array per feature holds for all."""
    low, high = (np.broadcast_to(np.asarray(b, dtype=np.float32), shape) for b in bounds)
    return low, high


def draw(shape: tuple[int, ...], *, norm: Norm, eps: float, key: list[int]) -> NDArray[np.float64]:
    """A point of the ball around zero, drawn uniformly; the key alone decides it."""
    rng = np.random.default_rng(key)
    if norm == "linf":
        return rng.uniform(-eps, eps, size=shape)
    direction = rng.standard_normal(shape)
    radius = eps * rng.uniform() ** (1.0 / max(direction.size, 1))
    point: NDArray[np.float64] = direction * (radius / max(float(np.linalg.norm(direction)), _TINY))
    return point


def lengths(a: NDArray[Any]) -> Any:
    """Euclidean length of each sample, shaped to broadcast over the samples' own axes."""
    return columns(np.linalg.norm(a.reshape(len(a), -1), axis=1), a.ndim)


def columns(values: NDArray[Any], ndim: int) -> NDArray[Any]:
    """One value per sample, shaped to broadcast over the samples' own axes."""
    return values.reshape(-1, *(1,) * (ndim - 1))
