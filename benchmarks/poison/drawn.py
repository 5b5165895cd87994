"""Random triggers: a seed chooses mask and fill.

For measurement only. All fills are equally frequent. A fill that only darkens is placed where most
images are bright: elsewhere it would change nothing, and no model would learn it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from benchmarks.poison.cases import SIDE, Stamp, fashion, place

_LIT: Final = 0.3  # mean brightness; chosen: most images have something to darken there


def _block(rng: Any) -> Any:
    return np.ones(rng.integers(1, 7, 2), bool)


def _outline(rng: Any) -> Any:
    mask = np.ones(rng.integers(3, 7, 2), bool)
    mask[1:-1, 1:-1] = False
    return mask


def _line(rng: Any) -> Any:
    mask = np.eye(int(rng.integers(3, 8)), dtype=bool)
    return mask if rng.random() < 0.5 else mask[::-1]


def _blob(rng: Any) -> Any:
    mask = rng.random(rng.integers(2, 7, 2)) < 0.5
    mask[0, 0] = True
    return mask


def _scatter(rng: Any) -> Any:
    mask = np.zeros((SIDE, SIDE), bool)
    mask.flat[rng.choice(SIDE * SIDE, int(rng.integers(1, 7)), replace=False)] = True
    return mask


Fill = Callable[[Any, Any], Any]
"""Values `(n, pixels)` under the mask and a generator → the values of the trigger."""


def _colour(x: Any, rng: Any) -> Any:
    return np.full_like(x, rng.uniform(0.3, 1))


def _pattern(x: Any, rng: Any) -> Any:
    return np.broadcast_to(rng.random(x.shape[1]), x.shape)


def _lighter(x: Any, rng: Any) -> Any:
    return x + rng.uniform(0.3, 0.6)


def _darker(x: Any, rng: Any) -> Any:
    return x - rng.uniform(0.3, 0.6)


def _dimmer(x: Any, rng: Any) -> Any:
    return x * rng.uniform(0.2, 0.4)


def _negative(x: Any, _rng: Any) -> Any:
    return 1 - x


MASKS: Final = (_block, _outline, _line, _blob, _scatter)
FILLS: Final[tuple[Fill, ...]] = (_colour, _pattern, _lighter, _darker, _dimmer, _negative)
_DARKENING: Final = (_darker, _dimmer)


def drawn(number: int) -> Stamp:
    """Trigger of a number; consecutive numbers run through all 30 pairs of mask and fill."""
    fill = FILLS[number % len(FILLS)]
    form = MASKS[number % len(MASKS)]

    def stamp(x: Any, rng: Any) -> None:
        mask = form(rng)
        rows, columns = _lit(mask, rng) if fill in _DARKENING else place(rng, *mask.shape)
        window = x[:, rows, columns]
        window[:, mask] = fill(window[:, mask], rng)

    stamp.__name__ = f"{number}{form.__name__}{fill.__name__}"
    return stamp


def _lit(mask: Any, rng: Any) -> tuple[slice, slice]:
    """A position for the mask where images are bright on average, or the brightest of 1,000."""
    mean = fashion()[0].mean(axis=0)
    places = [place(rng, *mask.shape) for _ in range(1000)]
    return next(
        (each for each in places if mean[each][mask].mean() > _LIT),
        max(places, key=lambda each: mean[each][mask].mean()),
    )


_STAMPS: Final = (_colour, _pattern)
DRAWN: Final = tuple(drawn(number) for number in range(30))
STAMPED: Final = tuple(each for i, each in enumerate(DRAWN) if FILLS[i % len(FILLS)] in _STAMPS)
CHANGED: Final = tuple(each for each in DRAWN if each not in STAMPED)
"""STAMPED write the same values into every image, CHANGED modify the image."""
