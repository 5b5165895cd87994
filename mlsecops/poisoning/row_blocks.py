"""Deterministic parallel sums over blocks of rows.

rows → blocks → executor → results in order → sums

Blocks have a fixed size and are added in order, so that floating-point sums do not depend on the
executor or on its number of workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AHEAD: Final = 32  # blocks; chosen: bounds the memory of submitted work
Moments = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
"""Sum of rows `(d,)` and of their outer products `(d, d)`."""
_Result = TypeVar("_Result")


def apply(
    executor: Executor | None, work: Callable[..., _Result], *arguments: Iterable[Any]
) -> Iterator[_Result]:
    """Yield results in the order of the arguments; processes must be able to import `work`."""
    if executor is None:
        yield from map(work, *arguments)
        return
    tasks: deque[Future[_Result]] = deque()
    # Not executor.map: Dask's takes no iterators. zip stops where itertools.repeat does not.
    for each in zip(*arguments, strict=False):
        if len(tasks) == _AHEAD:
            yield tasks.popleft().result()
        tasks.append(executor.submit(work, *each))
    for task in tasks:
        yield task.result()


def moments(x: Rows, rows: NDArray[np.int64], executor: Executor | None) -> Moments:
    """Moments of the given rows of `x`."""
    total = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
    for sums, products in apply(executor, _moments, (x[block] for block in cut(rows))):
        np.add(total[0], sums, out=total[0])
        np.add(total[1], products, out=total[1])
    return total


def _moments(block: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return block.sum(axis=0), block.T @ block
