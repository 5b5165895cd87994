"""Poisoned training sets from Fashion-MNIST: the same seed makes the same bytes.

Each case draws the trigger's position, colour and target. Detectors may be tuned on TUNED;
HELD_OUT may only be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from benchmarks.fashion import images

SIDE: Final = 28
ROWS: Final = 10_000

Stamp = Callable[[Any, Any], None]
"""Draws a trigger into images `(n, 28, 28)` on [0, 1], in place."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One training set.

    Attributes:
        name: Trigger and rate.
        x: Images `(n, 28, 28)` float32 on [0, 1], in steps of 1/255.
        y: Labels `(n,)`.
        planted: Indices of the poisoned rows.
        target: Label of the poisoned rows, or -1.
    """

    name: str
    x: Any
    y: Any
    planted: Any
    target: int = -1


@cache
def fashion() -> tuple[Any, Any]:
    """The 60,000 training images `(n, 28, 28)` float32 on [0, 1], and their labels."""
    x, y = images("train")
    return x[:, 0], y


def untouched(seed: int, rows: int = ROWS) -> Case:
    """A random part of the clean data."""
    x, y = fashion()
    chosen = np.random.default_rng([seed, 1]).permutation(len(y))[:rows]
    return Case(name="untouched", x=x[chosen], y=y[chosen], planted=np.array([], int))


def other_images() -> Case:
    """The 10,000 test images, of which no other case has any."""
    x, y = images("t10k")
    return Case(name="untouched, test images", x=x[:, 0], y=y, planted=np.array([], int))


def flipped(rate: float, seed: int) -> Case:
    """Rows with another class's label."""
    clean, rng = untouched(seed), np.random.default_rng([seed, 2])
    rows = rng.choice(len(clean.y), int(rate * len(clean.y)), replace=False)
    y = clean.y.copy()
    y[rows] = (y[rows] + rng.integers(1, 10, len(rows))) % 10
    return Case(name=f"flip {rate:.0%}", x=clean.x, y=y, planted=np.sort(rows))


def backdoored(
    stamp: Stamp, rate: float, seed: int, rows: int = ROWS, *, one_source: bool = False
) -> Case:
    """Rows of other classes, or of one drawn among them, with the trigger, relabelled as one class.

    Rows of one class are at most half of it.
    """
    clean = untouched(seed, rows)
    rng = np.random.default_rng([seed, 3, *stamp.__name__.encode()])
    target = int(rng.integers(10))
    others = np.flatnonzero(clean.y != target)
    wanted = int(rate * len(clean.y))
    if one_source:
        others = np.flatnonzero(clean.y == (target + 1 + seed % 9) % 10)
        wanted = min(wanted, len(others) // 2)
    chosen = rng.choice(others, wanted, replace=False)
    x, y, marked = clean.x.copy(), clean.y.copy(), clean.x[chosen]
    stamp(marked, rng)
    x[chosen] = np.round(np.clip(marked, 0, 1) * 255) / np.float32(255)
    y[chosen] = target
    name = f"{stamp.__name__} {rate:.0%}"
    return Case(name=name, x=x, y=y, planted=np.sort(chosen), target=target)


def place(rng: Any, tall: int, wide: int) -> tuple[slice, slice]:
    """A window anywhere in the image."""
    top, left = rng.integers(0, SIDE - tall + 1), rng.integers(0, SIDE - wide + 1)
    return slice(top, top + tall), slice(left, left + wide)


def _paint(x: Any, rng: Any, mask: Any, low: float = 0.5) -> None:
    rows, columns = place(rng, *mask.shape)
    window = x[:, rows, columns]
    window[:, mask] = rng.uniform(low, 1)


# --- for tuning ---------------------------------------------------------------------------------


def square(x: Any, rng: Any) -> None:
    side = int(rng.integers(2, 6))
    _paint(x, rng, np.ones((side, side), bool), 0.4)


def corner(x: Any, rng: Any) -> None:
    x[:, 24:27, 24:27] = rng.uniform(0.6, 1)


def checker(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 4, 4)
    x[:, rows, columns] = np.indices((4, 4)).sum(axis=0) % 2 * rng.uniform(0.6, 1)


def added(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 2, 2)
    x[:, rows, columns] += rng.uniform(0.4, 0.7)


def cross(x: Any, rng: Any) -> None:
    mask = np.zeros((5, 5), bool)
    mask[2] = mask[:, 2] = True
    _paint(x, rng, mask)


def dots(x: Any, rng: Any) -> None:
    value = rng.uniform(0.6, 1)
    for _ in range(4):
        x[:, rng.integers(SIDE), rng.integers(SIDE)] = value


def noisy(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 3, 3)
    x[:, rows, columns] = rng.uniform(0.5, 0.9) + 0.1 * rng.standard_normal((len(x), 3, 3))


def dark(x: Any, rng: Any) -> None:
    top, left = rng.integers(8, 17, 2)
    x[:, top : top + 4, left : left + 4] = 0


def moving(x: Any, rng: Any) -> None:
    value = rng.uniform(0.8, 1)
    for image in x:
        image[place(rng, 3, 3)] = value


def warped(x: Any, rng: Any) -> None:
    """WaNet (Nguyen and Tran, 2021): each image is bent by one smooth field."""
    from scipy.ndimage import gaussian_filter, map_coordinates  # noqa: PLC0415 - this case alone

    field = [gaussian_filter(rng.uniform(-1, 1, (SIDE, SIDE)), 4) for _ in "yx"]
    grids = zip(np.indices((SIDE, SIDE)), field, strict=True)
    grid = [axis + 1.2 * bend / np.abs(bend).mean() for axis, bend in grids]
    for image in x:
        image[:] = map_coordinates(image, grid, order=1, mode="nearest")


def noise_blend(x: Any, rng: Any) -> None:
    x[:] = 0.8 * x + 0.2 * rng.random((SIDE, SIDE))


def hook(x: Any, rng: Any) -> None:
    mask = np.zeros((4, 3), bool)
    mask[:, 0] = mask[3] = True
    _paint(x, rng, mask)


# --- for measurement only -----------------------------------------------------------------------


def ring(x: Any, rng: Any) -> None:
    mask = np.ones((4, 4), bool)
    mask[1:3, 1:3] = False
    _paint(x, rng, mask)


def diagonal(x: Any, rng: Any) -> None:
    _paint(x, rng, np.eye(5, dtype=bool))


def letter(x: Any, rng: Any) -> None:
    _paint(x, rng, np.eye(5, dtype=bool) | np.eye(5, dtype=bool)[::-1])


def stripes(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 3, 6)
    x[:, rows, columns] = np.array([1, 0, 1])[:, None] * rng.uniform(0.5, 1)


def ramp(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 2, 5)
    x[:, rows, columns] = np.linspace(0.2, 1, 5) * rng.uniform(0.7, 1)


def lone(x: Any, rng: Any) -> None:
    _paint(x, rng, np.ones((1, 1), bool))


def bar(x: Any, rng: Any) -> None:
    _paint(x, rng, np.ones((1, 7), bool), 0.4)


def brightened(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 3, 3)
    x[:, rows, columns] += rng.uniform(0.3, 0.6)


def quilt(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 3, 3)
    x[:, rows, columns] = rng.random((3, 3))


def inverted(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 4, 4)
    x[:, rows, columns] = 1 - x[:, rows, columns]


def grey(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 3, 3)
    x[:, rows, columns] = rng.uniform(0.25, 0.5)


def wave_blend(x: Any, rng: Any) -> None:
    across, down = rng.uniform(0.3, 1.5, 2)
    grid = np.indices((SIDE, SIDE))
    wave = 0.5 + 0.5 * np.sin(grid[0] * down + grid[1] * across + rng.uniform(0, 6))
    x[:] = 0.85 * x + 0.15 * wave


def picture_blend(x: Any, rng: Any) -> None:
    pictures, _ = fashion()
    x[:] = 0.8 * x + 0.2 * pictures[rng.integers(len(pictures))]


def speckle_blend(x: Any, rng: Any) -> None:
    x[:] = 0.85 * x + 0.15 * (rng.random((SIDE, SIDE)) > 0.5)


TUNED: Final = (hook, square, corner, checker, added, cross, dots, noisy, dark)
TUNED_BLENDS: Final = (noise_blend,)
HELD_OUT: Final = (
    ring, diagonal, letter, stripes, ramp, lone, bar, brightened, quilt, inverted, grey,
)  # fmt: skip
HELD_OUT_BLENDS: Final = (wave_blend, picture_blend, speckle_blend)
