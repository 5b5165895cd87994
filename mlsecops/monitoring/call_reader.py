"""Call reader: inputs and results of queued calls as rows and probabilities.

CallRecord → CallReader.read → CallRows → join → Observed
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlsecops.drift.baseline import Baseline
from mlsecops.drift.inputs import Counts, Floats
from mlsecops.errors import UsageError
from mlsecops.monitoring.queue import CallRecord
from mlsecops.readings import Observed

_TOLERANCE: Final = 1e-3  # of a sum of probabilities; chosen: above the rounding of float16
_TABLE: Final = 2  # dimensions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CallRows:
    """One call as rows.

    Attributes:
        rows: `(n, d)` inputs; `(n, 0)` if unknown.
        probabilities: `(n, k)`, or None if the result has none.
        classes: `(n,)` predicted classes, or None if unknown.
        client: Name of the caller.
        at: Unix time in seconds.
    """

    rows: Floats
    probabilities: Floats | None
    classes: Counts | None
    client: str | None
    at: float


class CallReader:
    """Reads inputs and results as tables.

    The baseline defines the shape of one input; without it, the number of answers does.
    `probabilities` extracts them from a result; by default the result itself has them.
    """

    def __init__(
        self, baseline: Baseline | None, probabilities: Callable[[Any], Any] | None
    ) -> None:
        self._baseline = baseline
        self._probabilities = probabilities

    @property
    def plain(self) -> bool:
        """Whether results are the probabilities."""
        return self._probabilities is None

    def read(self, event: CallRecord) -> CallRows:
        """One call as rows; raises `UsageError` if its inputs match no answers or baseline."""
        result = event.result
        if result is not None and self._probabilities is not None:
            result = self._probabilities(result)
        probabilities = as_probabilities(result)
        rows = self._rows(event.inputs, probabilities)
        if probabilities is not None and len(rows) != len(probabilities):
            raise UsageError(f"answers: expected {len(rows)}, got {len(probabilities)}")
        return CallRows(
            rows=rows,
            probabilities=probabilities,
            classes=_classes(result, probabilities),
            client=None if event.client is None else str(event.client),
            at=event.at,
        )

    def _rows(self, inputs: Any, probabilities: Floats | None) -> Floats:
        count = 1 if probabilities is None else len(probabilities)
        values = _numbers(inputs)
        if values is None:
            return np.empty((count, 0))
        if self._baseline is not None:
            return self._baseline.table(values)
        if values.ndim and len(values) == count and values.ndim >= _TABLE:
            return values.reshape(count, -1)
        return values.reshape(1, -1) if count == 1 else np.empty((count, 0))


def as_probabilities(result: Any) -> Floats | None:
    """A result as `(n, k)` probabilities, or None if it is none."""
    if not hasattr(result, "__array__") and not isinstance(result, (list, tuple)):
        return None
    values = _numbers(result)
    if values is None or values.ndim not in {1, _TABLE} or not values.size:
        return None
    table = np.atleast_2d(values)
    if table.shape[1] < 2 or not np.isfinite(table).all() or (table < -_TOLERANCE).any():  # noqa: PLR2004 - one class is none
        return None
    if (np.abs(table.sum(axis=1) - 1) > _TOLERANCE).any():
        return None
    return table


def join(answers: list[CallRows]) -> Observed:
    """Several calls as one batch; they have equally many features and classes."""
    known = [each.probabilities for each in answers if each.probabilities is not None]
    return Observed(
        rows=np.concatenate([each.rows for each in answers]),
        probabilities=np.concatenate(known) if known else None,
        clients=tuple(each.client for each in answers for _ in range(len(each.rows))),
        at=np.repeat([each.at for each in answers], [len(each.rows) for each in answers]),
    )


def _numbers(value: Any) -> Floats | None:
    if value is None:
        return None
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        return None


def _classes(result: Any, probabilities: Floats | None) -> Counts | None:
    if probabilities is not None:
        return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
    if not isinstance(result, (int, np.integer, np.ndarray)):
        return None
    values = np.atleast_1d(np.asarray(result))
    return values.astype(np.int64) if values.ndim == 1 and values.dtype.kind in "iu" else None
