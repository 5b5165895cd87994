"""Interface of detectors: observed traffic in, readings of metrics out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mlsecops._repr import concise_repr

_PROMETHEUS_UNIT: Final = {"s": "seconds", "1": "", "/s": "per_second"}
_ANNOTATION: Final = re.compile(r"\{.*\}")
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9:]+")


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Exported metric.

    Attributes:
        name: Name in OpenTelemetry (`"mlsecops.inference.calls"`).
        kind: `"counter"` (only grows), `"gauge"` (latest reading) or `"histogram"`.
        unit: UCUM unit (`"s"`, `"1"`, or an annotation such as `"{call}"`).
        description: One sentence, the help text in Prometheus.
        attributes: Attribute names of its points, `monitor` first.
        bounds: Upper bounds of a histogram's buckets, ascending, in the metric's unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    description: str
    attributes: tuple[str, ...] = ("monitor",)
    bounds: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """Name in Prometheus, as written by OpenTelemetry's exporter.

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
        """Attribute names in Prometheus (`error.type` becomes `error_type`)."""
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
    """Batch of calls for detectors; it is not kept after their `observe` returns.

    Attributes:
        rows: Inputs `(n, d)`, float64.
        probabilities: `(n, k)`, float64 in [0, 1], or None if the results are no probabilities.
        answers: Features `(n, a)` of other answers, as the baseline reads them, or None.
        clients: Names of the n clients.
        at: Unix times `(n,)` in seconds, float64.
    """

    rows: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None
    clients: tuple[str | None, ...]
    at: NDArray[np.float64]
    answers: NDArray[np.float64] | None = None


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Value of a metric over a window, which a rule may compare.

    Attributes:
        metric: The metric.
        value: Its value, in the metric's unit.
        window: Period covered, for people (`"last 256 rows"`).
        client: Client concerned, or None for the whole model.
        reference: Value of the baseline, for relative rules.
        chance: Value that traffic like the reference reaches by chance, at the declared rate of
            false alarms: a rule fires only beyond it. None if chance plays no part.
    """

    metric: Metric
    value: float
    window: str
    client: str | None = None
    reference: float | None = None
    chance: float | None = None


class Detector(Protocol):
    """Detector: traffic in, readings out, on the worker's thread."""

    def observe(self, traffic: Observed) -> Iterable[Reading]:
        """Take a batch of at most 4,096 rows and return the current readings."""
