"""Array types, and the conversion of user input: checked once, where it enters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops._choices import several
from mlsecops.errors import UsageError

_SQUARABLE: Final = 1e150  # chosen: the square is within float64

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


def as_numbers(x: ArrayLike, argument: str = "x") -> Floats:
    """Numbers as float64."""
    try:
        return np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{argument}: expected numbers, got {type(x).__name__}: {error}"
        ) from error


def as_rows(rows: ArrayLike, columns: int) -> Floats:
    """Rows `(n, d)` of a known number of columns; one row `(d,)` becomes a table."""
    values = np.atleast_2d(as_numbers(rows, "rows"))
    values = values.reshape(len(values), math.prod(values.shape[1:]))  # no row is a table too
    if values.shape[1] != columns:
        raise UsageError(f"rows: expected {columns} columns, got {values.shape[1]}")
    return values


def as_names(names: Sequence[str] | None, features: int) -> tuple[str, ...]:
    """One distinct name for each feature."""
    chosen = (
        tuple(f"f{i}" for i in range(features)) if names is None else tuple(str(n) for n in names)
    )
    if len(chosen) != features or len(set(chosen)) != features:
        raise UsageError(f"names: expected {features} distinct names, got {len(set(chosen))}")
    return chosen


def which(categorical: Iterable[str | int], names: tuple[str, ...]) -> Bools:
    """Mask of the categorical features `(d,)`."""
    mask = np.zeros(len(names), dtype=bool)
    for each in several("categorical", categorical, "names or indices", (str, Integral)):
        if isinstance(each, str) and each not in names:
            raise UsageError(f"categorical: expected a feature name, got {each!r}")
        index = names.index(each) if isinstance(each, str) else each
        if not 0 <= index < len(names):
            raise UsageError(f"categorical: expected an index below {len(names)}, got {index}")
        mask[index] = True
    return mask


def accuracy_of(predicted: Floats, labels: ArrayLike | None) -> float | None:
    """Share of correct predictions, or None without labels or predictions."""
    if labels is None or not len(predicted):
        return None
    truth = np.asarray(labels)
    if truth.shape != predicted.shape:
        raise UsageError(f"labels: expected shape {predicted.shape}, got {truth.shape}")
    return float((truth == predicted).mean())


def as_classes(labels: Any, classes: int) -> NDArray[Any]:
    """Labels `(n,)` as indices of k classes; texts are numbered in alphabetical order."""
    truth = np.asarray(labels)
    if truth.dtype.kind in "OUS":
        found, places = np.unique(truth.astype(str), return_inverse=True)
        if len(found) > classes:
            raise UsageError(f"labels: expected at most {classes} classes, got {len(found)}")
        return np.asarray(places)
    return truth


def within_range(rows: Floats) -> Floats:
    """Rows whose finite values can be squared without overflow."""
    finite = np.isfinite(rows)
    if not finite.any() or np.abs(np.where(finite, rows, 0.0)).max() < _SQUARABLE:
        return rows
    return np.where(finite, np.clip(rows, -_SQUARABLE, _SQUARABLE), rows)


def as_rate(rate: float) -> float:
    """A rate strictly between 0 and 1."""
    if not 0 < rate < 1:
        raise UsageError(f"expected a rate above 0 and below 1, got {rate}")
    return rate
