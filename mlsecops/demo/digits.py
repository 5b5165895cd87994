"""Data of the demo: scikit-learn's handwritten digits, split once and written to disk.

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

SIDE: Final = 8  # pixels; of the data set
CLASSES: Final = 10  # digits; of the data set
_LARGEST: Final = 16  # pixel value; of the data set
_SPLITS: Final = {"train": 800, "test": 400, "normal": 300, "traffic": 297}


@dataclass(frozen=True, slots=True)
class Split:
    """Images `(n, 8, 8, 1)` or `(n, 1, 8, 8)`, float32 in [0, 1], and digits `(n,)`, int64."""

    x: Array
    y: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Four disjoint parts of the data; `normal` is for the baseline, `traffic` for the clients."""

    train: Split
    test: Split
    normal: Split
    traffic: Split


def load_digits(*, seed: int, channels_first: bool) -> Digits:
    """Shuffle and split the digits; images are `(n, 1, 8, 8)` if `channels_first`."""
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
