"""Kind of a reference column, by which it gets its encoder.

column → encoder_for → Encoder, or None for a column that only numbers the rows
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.tables.dates import Dates, are_dates, date_encoder
from mlsecops.drift.tables.encoders import (
    MOST_CATEGORIES,
    MOST_NUMBERS,
    CategoryEncoder,
    Encoder,
    ListEncoder,
    NumberEncoder,
    TextEncoder,
    VectorEncoder,
)
from mlsecops.drift.tables.values import as_array, is_absent
from mlsecops.errors import UsageError

_REPEATED: Final = 0.2  # share of distinct values; chosen: texts that repeat less are free texts
_LONG: Final = 60.0  # characters; chosen: longer texts on average are no categories
_LOOKED_AT: Final = 200  # values; chosen: enough to see what a list holds
_FEWEST_ORDINALS: Final = 32  # rows; chosen: fewer may count up by chance


def encoder_for(name: str, values: Any, *, dates: Dates, category: bool) -> Encoder | None:
    """The encoder of a reference column; None for a column that only numbers the rows.

    Raises:
        UsageError: The column has no meaning as features, or holds dates that are to be refused.
    """
    array = values if isinstance(values, np.ndarray) else as_array(values)
    kind = array.dtype.kind
    if kind == "c":
        raise UsageError(f"column {name!r}: expected real numbers, got complex ones; split them")
    if kind in "biufm":
        if category:
            return NumberEncoder()
        return None if _counts_up(array) else NumberEncoder()
    present = [each for each in array.tolist() if not is_absent(each)] if kind != "M" else []
    if kind == "M" or are_dates(present):
        return date_encoder(name, dates)
    return _object_encoder(name, present, category=category)


def _object_encoder(name: str, present: list[Any], *, category: bool) -> Encoder:
    if all(isinstance(each, (Real, Decimal)) for each in present):
        return NumberEncoder()
    if category:
        return CategoryEncoder.fit(present)
    if all(isinstance(each, (list, tuple, np.ndarray)) for each in present):
        return _list_encoder(name, present)
    if any(isinstance(each, (bytes, bytearray, memoryview, complex)) for each in present):
        kind = type(present[0]).__name__
        raise UsageError(f"column {name!r}: expected numbers or texts, got {kind}; leave it out")
    written = [str(each) for each in present]
    distinct, size = len(set(written)), len(written)
    length = sum(map(len, written)) / size
    many = distinct > MOST_CATEGORIES or (size > MOST_CATEGORIES and distinct > 1)
    if (many and distinct > _REPEATED * size) or length > _LONG:
        return TextEncoder.fit(written)
    return CategoryEncoder.fit(written)


def _list_encoder(name: str, present: list[Any]) -> Encoder:
    sizes = {len(each) for each in present}
    numeric = all(isinstance(item, Real) for item in present[0])
    floats = numeric and any(not float(item).is_integer() for item in list(present[0])[:_LOOKED_AT])
    if len(sizes) == 1 and floats:
        width = sizes.pop()
        if width > MOST_NUMBERS:
            raise UsageError(
                f"column {name!r}: expected at most {MOST_NUMBERS} numbers a row, got {width}"
            )
        return VectorEncoder(width)
    return ListEncoder.fit(present)


def _counts_up(array: NDArray[Any]) -> bool:
    """Whether whole numbers only number the rows: each is larger than the one before."""
    if array.dtype.kind not in "iu" or len(array) < _FEWEST_ORDINALS:
        return False
    return bool((np.diff(array.astype(np.int64)) > 0).all())
