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
    size, columns = right.shape
    rows = max(1, ALONE // max(right.size, 1))
    made = np.empty((len(left), columns), dtype=np.result_type(left, right))
    whole = len(left) - len(left) % rows
    if whole:  # one call, in which other threads get the interpreter
        blocks = made[:whole].reshape(-1, rows, columns)
        np.matmul(left[:whole].reshape(-1, rows, size), right, out=blocks)
    if whole < len(left):
        np.matmul(left[whole:], right, out=made[whole:])
    return made


def squared_distances(points: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Squared Euclidean distances `(n, m)` of rows `(n, d)` from rows `(m, d)`."""
    squares = np.square(points).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    squares -= 2 * product(points, others.T)
    return np.asarray(np.maximum(squares, 0.0, out=squares))
