"""More triggers for tuning, most of them small or dim.

They were written when the detectors were known to miss the lone pixel, the bar and the inverted
square of HELD_OUT at 1 % of the rows. The second half was first used for measurement only, then
for tuning.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from benchmarks.poison.cases import SIDE, place


def speck(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 1, 1)
    x[:, rows, columns] = rng.uniform(0.5, 1)


def dash(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 6, 1)
    x[:, rows, columns] = rng.uniform(0.4, 1)


def strip(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 1, 5)
    x[:, rows, columns] = rng.uniform(0.4, 1)


def negative(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 5, 5)
    x[:, rows, columns] = 1 - x[:, rows, columns]


def narrow_negative(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 3, 4)
    x[:, rows, columns] = 1 - x[:, rows, columns]


def pair(x: Any, rng: Any) -> None:
    value = rng.uniform(0.5, 1)
    for _ in range(2):
        x[:, rng.integers(SIDE), rng.integers(SIDE)] = value


def halved(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 5, 5)
    x[:, rows, columns] *= 0.4


def mosaic(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 2, 3)
    x[:, rows, columns] = rng.random((2, 3))


def lighter(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 2, 4)
    x[:, rows, columns] += rng.uniform(0.3, 0.5)


def frame(x: Any, rng: Any) -> None:
    mask = np.ones((6, 5), bool)
    mask[1:-1, 1:-1] = False
    rows, columns = place(rng, *mask.shape)
    x[:, rows, columns][:, mask] = rng.uniform(0.4, 1)


def tee(x: Any, rng: Any) -> None:
    mask = np.zeros((4, 5), bool)
    mask[0] = mask[:, 2] = True
    rows, columns = place(rng, *mask.shape)
    x[:, rows, columns][:, mask] = rng.uniform(0.4, 1)


def solo(x: Any, rng: Any) -> None:
    x[:, rng.integers(SIDE), rng.integers(SIDE)] = rng.uniform(0.3, 1)


def column(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 9, 1)
    x[:, rows, columns] = rng.uniform(0.4, 1)


def reverse(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 3, 6)
    x[:, rows, columns] = 1 - x[:, rows, columns]


def wedge(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 4, 4)
    x[:, rows, columns][:, np.tri(4, dtype=bool)] = rng.uniform(0.4, 1)


def salt(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 4, 4)
    x[:, rows, columns] = rng.random((4, 4)) > 0.5


def dimmed(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 6, 6)
    x[:, rows, columns] *= 0.3


def subtracted(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 3, 3)
    x[:, rows, columns] -= rng.uniform(0.3, 0.6)


def slope(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 5, 2)
    x[:, rows, columns] = np.linspace(0.2, 1, 5)[:, None] * rng.uniform(0.7, 1)


def pale(x: Any, rng: Any) -> None:
    rows, columns = place(rng, 2, 2)
    x[:, rows, columns] = rng.uniform(0.15, 0.4)


SMALL: Final = (
    speck, dash, strip, negative, narrow_negative, pair, halved, mosaic, lighter, frame, tee, solo,
    column, reverse, wedge, salt, dimmed, subtracted, slope, pale,
)  # fmt: skip
