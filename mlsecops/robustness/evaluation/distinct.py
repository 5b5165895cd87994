"""Distinct samples: repeats of an input with its label count once, and near copies are named.

x, y → `distinct_rows` → the row of each sample's first occurrence
distinct samples, attacks → `near_copies` → Check
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.robustness.report import Check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.robustness.attacks.base import Attack

_SAME: Final = 1e-5  # of the values' range; chosen: a tenth of the finest eps in use
_NEAR: Final = 0.1  # of eps; chosen: balls of such samples hold nearly the same inputs
_COPIES: Final = 0.1  # share of samples that may be near copies; chosen: data has some
_COMPARED: Final = 4096  # samples; chosen: bounds the comparison of all pairs
_VALUES: Final = 200_000_000  # values of all samples compared; chosen, for large images
_BLOCK: Final = 512  # samples against all others at a time; chosen: bounds the memory
_ROUNDED: Final = 1e-5  # of the largest square; float32 sums of products lose about this


def distinct_rows(x: NDArray[np.generic], y: NDArray[np.int64]) -> NDArray[np.intp]:
    """Rows of the first occurrence of each input with its label, in order.

    Inputs are the same if their values round to the same 100,000th of the range of all values.

    Args:
        x: Inputs `(n, *shape)` of numbers.
        y: Labels `(n,)`.
    """
    flat = x.reshape(len(x), -1)
    low, high = float(np.nanmin(flat)), float(np.nanmax(flat))
    step = max((high - low) * _SAME, np.finfo(np.float64).tiny)
    seen: set[bytes] = set()
    rows = []
    for row, (values, label) in enumerate(zip(flat, y, strict=True)):
        levels = np.round((values.astype(np.float64) - low) / step)
        key = hashlib.blake2b(levels.tobytes() + int(label).to_bytes(8, "big")).digest()
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return np.asarray(rows, dtype=np.intp)


def near_copies(x: NDArray[Any], y: NDArray[np.int64], attacks: Sequence[Attack]) -> Check:
    """Copies with a little noise are no further samples: they narrow the intervals unduly.

    Args:
        x: Distinct inputs `(n, *shape)`.
        y: Labels `(n,)`.
        attacks: Attacks; a copy lies within a tenth of the smallest ball around another sample.
    """
    name, balls = "near-copies", [each for each in attacks if math.isfinite(each.eps)]
    if not balls:
        return Check(name=name, outcome="pass", reason="no attack has a ball")
    smallest = min(balls, key=lambda each: each.eps)
    flat = x.reshape(len(x), -1).astype(np.float32)
    most = max(_BLOCK, min(_COMPARED, _VALUES // max(flat.shape[1], 1)))
    rows = np.sort(np.random.default_rng(len(x)).permutation(len(x))[:most])
    reach = _NEAR * smallest.eps
    count = int(_copied(flat[rows], y[rows], reach, l2=smallest.norm == "l2").sum())
    share = count / len(rows)
    reason = (
        f"{count} of {len(rows)} samples lie within {reach:.3g} of an earlier one with the same "
        f"label (limit {_COPIES:.0%}): they are no samples of their own"
    )
    return Check(name=name, outcome="fail" if share > _COPIES else "pass", reason=reason)


def _copied(
    x: NDArray[np.float32], y: NDArray[np.int64], reach: float, *, l2: bool
) -> NDArray[np.bool_]:
    """Whether an earlier sample with the same label is so near."""
    x = x - x.mean(axis=0)  # less is lost in sums of products
    squares = np.einsum("ij,ij->i", x, x)
    slack = _ROUNDED * float(squares.max(initial=0.0))
    enough = reach**2 * (1 if l2 else x.shape[1]) + slack
    found = np.zeros(len(x), dtype=bool)
    for first in range(0, len(x), _BLOCK):
        rows = slice(first, first + _BLOCK)
        squared = squares[rows, None] + squares[None, : first + _BLOCK]
        squared -= 2 * (x[rows] @ x[: first + _BLOCK].T)
        near = (squared <= enough) & (y[rows, None] == y[None, : first + _BLOCK])
        for mine, other in zip(*np.nonzero(np.tril(near, first - 1)), strict=True):
            if not found[first + mine]:
                offset = x[first + mine] - x[other]
                length = np.linalg.norm(offset) if l2 else np.abs(offset).max()
                found[first + mine] = length <= reach
    return found
