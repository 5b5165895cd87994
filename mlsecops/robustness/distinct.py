"""Distinct samples: repeats of an input with its label count once.

x, y → `distinct_rows` → the row of each sample's first occurrence
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAME: Final = 1e-5  # of the values' range; chosen: a tenth of the finest eps in use
_VARIES: Final = 1e-4  # of the largest range; chosen: above noise in a value that never changes


def distinct_rows(x: NDArray[np.generic], y: NDArray[np.int64]) -> NDArray[np.intp]:
    """Rows of the first occurrence of each input with its label, in order.

    Inputs are the same if their values round to the same 100,000th of the range of the column or
    pixel; where that hardly varies, of the largest range.

    Args:
        x: Inputs `(n, *shape)` of numbers.
        y: Labels `(n,)`.
    """
    flat = x.reshape(len(x), -1)
    low, high = (side(flat, axis=0).astype(np.float64) for side in (np.nanmin, np.nanmax))
    extent = high - low
    wide = np.where(extent >= _VARIES * extent.max(), extent, extent.max())
    step = np.maximum(wide * _SAME, np.finfo(np.float64).tiny)
    seen: set[bytes] = set()
    rows = []
    for row, (values, label) in enumerate(zip(flat, y, strict=True)):
        levels = np.round((values.astype(np.float64) - low) / step)
        key = hashlib.blake2b(levels.tobytes() + int(label).to_bytes(8, "big")).digest()
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return np.asarray(rows, dtype=np.intp)
