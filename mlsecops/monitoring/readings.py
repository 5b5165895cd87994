"""What flows between the worker, the detectors and the rules: observed traffic and readings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlsecops.monitoring.telemetry import Metric

__all__ = ["Detector", "Observed", "Reading"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """A batch of calls as detectors see it; it lives only until they have seen it.

    Attributes:
        rows: ``(n, d)`` float64 inputs.
        probabilities: ``(n, k)`` float64, or None if the results are no probabilities.
        clients: n client names.
        at: ``(n,)`` Unix time in seconds.
    """

    rows: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None
    clients: tuple[str | None, ...]
    at: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value that a rule may compare.

    Attributes:
        metric: What was read.
        value: The value.
        window: What it covers, for people (``"last 256 rows"``).
        client: Client it concerns, or None for the model as a whole.
        reference: The baseline's value, for rules that are relative to it.
    """

    metric: Metric
    value: float
    window: str
    client: str | None = None
    reference: float | None = None


class Detector(Protocol):
    """Turns traffic into readings, off the caller's thread."""

    def observe(self, traffic: Observed) -> Iterable[Reading]:
        """Take a batch of up to 4,096 rows in and say what is read now."""
