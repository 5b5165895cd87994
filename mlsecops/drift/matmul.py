"""Matrix products that stay on the thread that asks for them.

A BLAS gives large products to threads of its own, which spin for a while afterwards in case there
is more. Beside a model that serves they take the cores that it needs, so that watching a call costs
many times what it computes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["product"]

ALONE: Final = 1 << 18
"""Multiplications that OpenBLAS does on the calling thread (4 × 65,536 as it is built)."""


def product(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """`left @ right` of matrices `(n, d)` and `(d, k)`, some rows at a time."""
    rows = max(1, ALONE // max(right.size, 1))
    made = np.empty((len(left), right.shape[1]), dtype=np.result_type(left, right))
    for begin in range(0, len(left), rows):
        np.matmul(left[begin : begin + rows], right, out=made[begin : begin + rows])
    return made
