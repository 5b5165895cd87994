"""How work on many rows is cut, so that the result does not depend on who does it.

Blocks have a fixed size and are added up in their order, whatever executor runs them and however
many workers it has: floating-point sums come out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Moments", "apply", "cut", "moments"]

BLOCK: Final = 4096  # rows
Moments = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
"""Sum of rows ``(d,)`` and of their outer products ``(d, d)``."""
_Result = TypeVar("_Result")


def cut(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows in blocks, in order."""
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]


def apply(
    executor: Executor | None, work: Callable[..., _Result], *arguments: Iterable[Any]
) -> list[_Result]:
    """Results in the order of the arguments, from the executor or from this thread.

    Args:
        executor: Where the work runs; threads, processes, Dask's ``client.get_executor()``.
        work: A function of a module, so that processes can find it.
        arguments: One iterable for each argument.
    """
    if executor is None:
        return list(map(work, *arguments))
    # Dask's map takes no iterators, and zip stops where itertools.repeat does not
    tasks = [executor.submit(work, *each) for each in zip(*arguments, strict=False)]
    return [task.result() for task in tasks]


def moments(x: NDArray[np.float32], rows: NDArray[np.int64], executor: Executor | None) -> Moments:
    """Moments of some rows of ``x``."""
    total = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
    for sums, products in apply(executor, _moments, (x[block] for block in cut(rows))):
        np.add(total[0], sums, out=total[0])
        np.add(total[1], products, out=total[1])
    return total


def _moments(block: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return block.sum(axis=0), block.T @ block
