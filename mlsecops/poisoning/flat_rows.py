"""The rows of a data set as detectors want them: flat, on `[0, 1]`, some at a time.

An array in memory is converted at once. A file that is mapped into memory (`numpy.memmap`) stays
where it is, and only the rows that are asked for are read and converted; each detector asks for a
block at a time, so that both give the same report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.poisoning.image_layout import image_axes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Rows", "cut", "every", "mean_of", "scaled", "some"]

BLOCK: Final = 4096  # rows
_SAMPLE: Final = 8192  # rows that are enough to see what a side is like


class Rows(Protocol):
    """An array `(n, d)`, or what reads its rows from elsewhere."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(n, d)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stored:
    """Rows that are flattened and scaled when they are asked for."""

    inputs: NDArray[Any]
    low: NDArray[np.float32]
    span: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.inputs), int(np.prod(self.inputs.shape[1:]))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        part = _flat(self.inputs[rows])
        part -= self.low
        part /= self.span
        return part


def scaled(inputs: NDArray[Any], *, stored: bool) -> Rows:
    """Rows with an image's values on one common scale, a table's columns each on their own.

    Args:
        inputs: Inputs `(n, *shape)`.
        stored: Whether they stay where they are, instead of being converted at once.

    Raises:
        UsageError: They are no finite numbers.
    """
    axis = None if image_axes(inputs.shape[1:]) is not None else 0
    ends = []
    for block in every(len(inputs)):
        if inputs.dtype.kind not in "iufb" or not np.isfinite(inputs[block]).all():
            raise UsageError(
                f"x: expected finite numbers, got {inputs.dtype} with NaN, inf or objects"
            )
        part = _flat(inputs[block])
        ends.append((part.min(axis=axis), part.max(axis=axis)))
    low, high = np.min([e[0] for e in ends], axis=0), np.max([e[1] for e in ends], axis=0)
    rows = _Stored(inputs=inputs, low=low, span=np.maximum(high - low, np.float32(1e-12)))
    return rows if stored else rows[np.arange(len(inputs))]


def _flat(part: NDArray[Any]) -> NDArray[np.float32]:
    return np.array(part, dtype=np.float32, order="C").reshape(len(part), -1)


def cut(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows in blocks, in order."""
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]


def every(count: int) -> list[NDArray[np.int64]]:
    """All of so many rows in blocks, in order."""
    return cut(np.arange(count))


def some(rows: NDArray[np.int64], *, most: int | None = None) -> NDArray[np.int64]:
    """Enough of the rows (`most`, or what is enough of a side), evenly spread over them."""
    return rows[:: max(1, -(-len(rows) // (most or _SAMPLE)))]


def mean_of(x: Rows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean of some rows `(d,)`."""
    total = sum(x[block].sum(axis=0, dtype=np.float64) for block in cut(rows))
    mean: NDArray[np.float32] = np.asarray(total / len(rows), dtype=np.float32)
    return mean
