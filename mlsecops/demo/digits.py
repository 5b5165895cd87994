"""Which data the demo uses: scikit-learn's handwritten digits, split once and written to disk.

Source: UCI Optical Recognition of Handwritten Digits (1,797 images of 8×8 pixels), as shipped in
`sklearn.datasets.load_digits`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops._extras import require

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array, Labels

SIDE: Final = 8
CLASSES: Final = 10
_LARGEST: Final = 16
_SPLITS: Final = {"train": 800, "test": 400, "normal": 300, "traffic": 297}


@dataclass(frozen=True, slots=True)
class Split:
    """Images `(n, 8, 8, 1)` or `(n, 1, 8, 8)` in [0, 1] and their digits `(n,)`."""

    x: Array
    y: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Four disjoint parts of the data.

    Attributes:
        train: What the model learns from.
        test: What its robustness is measured on.
        normal: What monitoring takes as normal; the model never learned from it.
        traffic: What the demo's clients send.
    """

    train: Split
    test: Split
    normal: Split
    traffic: Split


def load_digits(*, seed: int, channels_first: bool) -> Digits:
    """Shuffle and split the digits.

    Args:
        seed: Decides the split.
        channels_first: Whether images are `(n, 1, 8, 8)`.
    """
    bunch = require("sklearn.datasets").load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    x = (bunch.images[order] / _LARGEST).astype(np.float32)
    x = x[:, None] if channels_first else x[..., None]
    y = bunch.target[order].astype(np.int64)
    ends = np.cumsum(list(_SPLITS.values()))
    parts = zip(np.split(x, ends[:-1]), np.split(y, ends[:-1]), strict=True)
    return Digits(**{name: Split(*part) for name, part in zip(_SPLITS, parts, strict=True)})


def write_digits(digits: Digits, folder: Path) -> None:
    """Write each part as `NAME.npz` with the arrays `x` and `y`."""
    folder.mkdir(parents=True)
    for name in _SPLITS:
        split: Split = getattr(digits, name)
        np.savez(folder / f"{name}.npz", x=split.x, y=split.y)
