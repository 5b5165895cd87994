"""Times of a reference's rows, and the order in which they came.

x, times → timed → x without its times, Unix seconds → order_of → Order
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mlsecops._choices import shown
from mlsecops.drift.alarms.sequential_test import Order
from mlsecops.drift.inputs import Floats
from mlsecops.drift.reference import Reference
from mlsecops.drift.tables.containers import named_columns
from mlsecops.drift.tables.dates import as_dates
from mlsecops.errors import UsageError


def timed(x: Any, time: Any) -> tuple[Any, Floats | None]:
    """Inputs without their column of times, and Unix times `(n,)`."""
    if time is None:
        return x, None
    if isinstance(time, str):
        table = named_columns(x)
        if table is None or time not in table or len(table) < 2:  # noqa: PLR2004 - time and one more
            raise UsageError(f"time: expected one of several columns of x, got {time!r}"[:200])
        time = table.pop(time)
        x = table
    if not isinstance(time, Iterable):
        raise UsageError(f"time: expected (n,) dates, ISO texts or Unix seconds, got {shown(time)}")
    when = as_dates(time)
    if when.ndim != 1 or np.isnat(when).any():
        raise UsageError("time: expected (n,) dates, ISO texts or Unix seconds, got gaps or others")
    return x, when.astype("datetime64[s]").astype(np.int64).astype(np.float64)


def order_of(rows: Floats, reference: Reference, seconds: Floats | None) -> Order:
    """The order of rows `(n, d)`: that of their times, or the one they have."""
    if seconds is None:
        return Order.of(rows, reference, None)
    places = np.argsort(seconds, kind="stable")
    return Order.of(rows[places], reference, seconds[places])
