"""What flows between the worker, the detectors and the rules: observed traffic and readings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mlsecops._repr import concise_repr

__all__ = ["ANOMALY_RATIO", "COVERAGE", "EXTRACTION", "Detector", "Metric", "Observed", "Reading"]

_PROMETHEUS_UNIT: Final = {"s": "seconds", "1": "", "/s": "per_second"}
_ANNOTATION: Final = re.compile(r"\{.*\}")
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9:]+")


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One exported metric.

    Attributes:
        name: Name in OpenTelemetry (`"mlsecops.inference.calls"`).
        kind: `"counter"` only grows; `"gauge"` is the latest reading.
        unit: UCUM unit (`"s"`, `"1"`, or an annotation such as `"{call}"`).
        description: One sentence; Prometheus' help text.
        attributes: Names of the attributes of its points; `monitor` is always first.
    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    description: str
    attributes: tuple[str, ...] = ("monitor",)

    @property
    def prometheus(self) -> str:
        """Name in Prometheus, as OpenTelemetry's exporter writes it.

        Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", Metric
        Metadata (unit as suffix, annotations removed, `_total` on counters).
        """
        name = _NOT_IN_A_NAME.sub("_", self.name)
        unit = _ANNOTATION.sub("", self.unit)
        suffix = _PROMETHEUS_UNIT.get(unit, unit)
        if suffix and not name.endswith(f"_{suffix}"):
            name = f"{name}_{suffix}"
        return f"{name}_total" if self.kind == "counter" else name

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the attributes in Prometheus (`error.type` is `error_type` there)."""
        return tuple(_NOT_IN_A_NAME.sub("_", attribute) for attribute in self.attributes)


EXTRACTION: Final = Metric(
    name="mlsecops.extraction.score",
    kind="gauge",
    unit="1",
    description="Extraction score of the most suspicious client, as a share of the threshold.",
)
COVERAGE: Final = Metric(
    name="mlsecops.extraction.coverage",
    kind="gauge",
    unit="1",
    description="Share of the regions of normal inputs that one client's queries have covered.",
)
ANOMALY_RATIO: Final = Metric(
    name="mlsecops.input.anomaly.ratio",
    kind="gauge",
    unit="1",
    description="Share of the recent input rows that at least one detector finds anomalous.",
)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """A batch of calls as detectors see it; it lives only until they have seen it.

    Attributes:
        rows: `(n, d)` float64 inputs.
        probabilities: `(n, k)` float64, or None if the results are no probabilities.
        clients: n client names.
        at: `(n,)` Unix time in seconds.
    """

    rows: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None
    clients: tuple[str | None, ...]
    at: NDArray[np.float64]


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value that a rule may compare.

    Attributes:
        metric: What was read.
        value: The value.
        window: What it covers, for people (`"last 256 rows"`).
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
