"""Rows of a data set, flattened and scaled to `[0, 1]`, read in blocks.

inputs `(n, *shape)` → `scaled` → `Rows` → blocks of float32 rows

An array in memory is converted at once, a memory-mapped file (`numpy.memmap`) row by row as read.
Detectors read block by block, so that both yield the same report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.poisoning.image_layout import square_side

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK: Final = 4096  # rows; chosen: bounds memory, and sums depend on it in the last bits
_SAMPLE: Final = 8192  # rows; chosen: enough for a median
_FOR_STRUCTURE: Final = 2048  # rows; chosen: enough for correlations of columns
_TO_SIGMA: Final = 1.4826  # median absolute deviation to standard deviation of a normal law


class Rows(Protocol):
    """An array `(n, d)`, or a reader of its rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(n, d)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stored:
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


def shape_of(inputs: NDArray[Any]) -> tuple[int, ...]:
    """Shape of one input; `(side, side)` for flat rows that are square images by structure."""
    if inputs.ndim != 2 or inputs.dtype.kind not in "iufb":  # noqa: PLR2004 - rows and columns
        return inputs.shape[1:]
    side = square_side(_flat(inputs[some(np.arange(len(inputs)), most=_FOR_STRUCTURE)]))
    return inputs.shape[1:] if side is None else (side, side)


def scaled(inputs: NDArray[Any], *, stored: bool, image: bool = False) -> Rows:
    """Rows scaled to `[0, 1]`: images on one common scale, tables column by column.

    Args:
        inputs: Inputs `(n, *shape)`, finite numbers.
        stored: Whether to convert rows on access, instead of all at once.
        image: Whether inputs are images.

    Examples:
        >>> scaled(np.array([[0.0, 10.0, 5.0], [4.0, 30.0, 7.0]]), stored=False).tolist()
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    axis = None if image else 0
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


def cut(rows: NDArray[np.int64], size: int | None = None) -> list[NDArray[np.int64]]:
    """The rows in blocks, in order."""
    step = size or BLOCK
    return [rows[start : start + step] for start in range(0, len(rows), step)]


def every(count: int) -> list[NDArray[np.int64]]:
    """All of `count` rows in blocks, in order."""
    return cut(np.arange(count))


def some(rows: NDArray[np.int64], *, most: int | None = None) -> NDArray[np.int64]:
    """At most `most` of the rows (by default 8,192), evenly spaced."""
    return rows[:: max(1, -(-len(rows) // (most or _SAMPLE)))]


def mean_of(x: Rows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean `(d,)` of the given rows of `x`."""
    total = sum(x[block].sum(axis=0, dtype=np.float64) for block in cut(rows))
    return np.asarray(total / len(rows), dtype=np.float32)


def robust_sigmas(values: NDArray[Any], *, least: float) -> NDArray[Any]:
    """Distance of each value from the median, in standard deviations estimated by the MAD.

    Source: Rousseeuw and Croux, "Alternatives to the median absolute deviation" (1993), section 1.
    """
    centred = values - np.median(values)
    sigmas: NDArray[Any] = centred / max(_TO_SIGMA * float(np.median(np.abs(centred))), least)
    return sigmas
