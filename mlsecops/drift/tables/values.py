"""Values of a column as an array of one kind, and the test for a missing one."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(values: Any) -> NDArray[Any]:
    """Values as an array of one kind, or of objects."""
    if hasattr(values, "dtype") and not isinstance(values, list):
        return np.asarray(values)
    items = list(values)
    if any(each is None or isinstance(each, (list, tuple, np.ndarray)) for each in items):
        made = np.empty(len(items), dtype=object)
        made[:] = items
        return made
    kinds = {type(each) for each in items}
    if len(kinds) == 1 or all(issubclass(each, (Real, np.number)) for each in kinds):
        return np.array(items)
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made


def is_absent(value: Any) -> bool:
    """Whether a value is None, NaN, NaT, or pandas' NA."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    if isinstance(value, (float, np.floating)):
        return bool(value != value)  # noqa: PLR0124 - only NaN differs from itself
    return isinstance(value, np.datetime64) and bool(np.isnat(value))
