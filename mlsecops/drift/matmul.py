"""Single-threaded matrix products.

A BLAS computes large products on its own threads, which spin for a while afterwards. In a process
that serves a model they take the model's cores, so products are computed here in blocks that are
small enough to stay on the calling thread.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ALONE: Final = 1 << 18  # multiplications; OpenBLAS (4 × 65,536 by default) stays on one thread


def product(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """`left @ right` of matrices `(n, d)` and `(d, k)`, some rows at a time."""
    rows = max(1, ALONE // max(right.size, 1))
    made = np.empty((len(left), right.shape[1]), dtype=np.result_type(left, right))
    for begin in range(0, len(left), rows):
        np.matmul(left[begin : begin + rows], right, out=made[begin : begin + rows])
    return made


def squared_distances(points: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Squared Euclidean distances `(n, m)` of rows `(n, d)` from rows `(m, d)`."""
    squares = np.square(points).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    squares -= 2 * product(points, others.T)
    return np.asarray(np.maximum(squares, 0.0, out=squares))
