"""Dates of a table: refused by name, or split into the parts that come again.

dates, ISO texts, Unix seconds → as_dates → datetime64 → DateEncoder → hour, weekday, month
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Floats
from mlsecops.drift.tables.values import as_array, is_absent
from mlsecops.errors import UsageError

Dates = Literal["refuse", "split"]

_LOOKED_AT: Final = 200  # values; chosen: enough to see that a column holds dates
_ISO: Final = re.compile(
    r"\d{4}[-/]\d\d[-/]\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?"
)
_DATE_PARTS: Final = ("hour", "weekday", "month")


@dataclass(frozen=True, slots=True)
class DateEncoder:
    """Dates by their parts that come again: hour, weekday and month."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Suffix of each feature."""
        return tuple(f".{part}" for part in _DATE_PARTS)

    @property
    def codes(self) -> tuple[bool, ...]:
        """Whether each feature is a code without order."""
        return (False,) * len(_DATE_PARTS)

    def encode(self, values: Any) -> Floats:
        """Features `(n, f)` of a column `(n,)`."""
        when = as_dates(values)
        gone = np.isnat(when)
        seconds = np.where(gone, np.datetime64(0, "s"), when).astype("datetime64[s]")
        days = seconds.astype("datetime64[D]")
        hours = (seconds - days).astype(np.int64) // 3600
        weekdays = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday, 0 is Monday
        months = days.astype("datetime64[M]").astype(np.int64) % 12 + 1
        table = np.stack([hours, weekdays, months], axis=1).astype(np.float64)
        table[gone] = np.nan
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "date"}


def date_encoder(name: str, dates: Dates) -> DateEncoder:
    """The encoder of a column of dates; raises `UsageError` where they are refused."""
    if dates == "split":
        return DateEncoder()
    raise UsageError(
        f"column {name!r}: expected numbers or texts, got dates, by which every later row drifts; "
        "leave it out, pass it as time=, or pass dates='split' for hour, weekday and month"
    )


def are_dates(present: Sequence[Any]) -> bool:
    """Whether values are dates, or texts in ISO 8601 (or with slashes)."""
    few = present[:_LOOKED_AT]
    if not few:
        return False
    if all(isinstance(each, (date, datetime, np.datetime64)) for each in few):
        return True
    return all(isinstance(each, str) and _ISO.fullmatch(each) for each in few)


def as_dates(values: Any) -> NDArray[np.datetime64]:
    """Dates `(n,)` of dates, ISO texts or Unix seconds; NaT where there is none."""
    array = values if isinstance(values, np.ndarray) else as_array(values)
    if array.dtype.kind == "M":
        return array.astype("datetime64[s]")
    if array.dtype.kind in "iuf":
        whole = np.where(np.isfinite(array), array, 0).astype("int64").astype("datetime64[s]")
        return np.where(np.isfinite(array), whole, np.datetime64("NaT"))
    return np.array([_date(each) for each in array.tolist()], dtype="datetime64[s]")


def _date(value: Any) -> np.datetime64:
    if is_absent(value):
        return np.datetime64("NaT")
    try:
        if isinstance(value, np.datetime64):
            return np.datetime64(value.astype("datetime64[s]"), "s")
        if isinstance(value, (int, float)):
            return np.datetime64(int(value), "s")
        moment = datetime.fromisoformat(str(value).replace("/", "-"))
        offset = moment.utcoffset() or timedelta()
        return np.datetime64(moment.replace(tzinfo=None) - offset, "s")
    except (ValueError, OverflowError):
        return np.datetime64("NaT")
