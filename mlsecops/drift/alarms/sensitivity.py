"""Sensitivity that remains at a declared rate of false alarms.

    Baseline, "1/week", rows → smallest shift of each feature that is found within so many rows

A feature whose rows depend on each other, or follow the seasons within the reference, has few
effective rows: no test can tell a shift of it from what the reference did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from mlsecops._repr import concise_repr
from mlsecops.drift.alarms.alarm_rate import USUAL_ROWS, AlarmRate
from mlsecops.drift.alarms.evidence import TESTS
from mlsecops.drift.alarms.sequential_test import LENGTHS, OVERLAPS, QUARTERS, Order, look_risk
from mlsecops.drift.inputs import Floats
from mlsecops.drift.reference import Reference
from mlsecops.drift.rolling_window import Window

_POWER: Final = NormalDist().inv_cdf(0.9)  # standard errors: nine of ten shifts are found
_UNIFORM: Final = 12.0  # one over the variance of a rank in [0, 1]
_GROSS: Final = 0.5  # distance that a test must be able to find; chosen: half of all rows moved
_NO_RISK: Final = 0.01  # of a look and feature; chosen: alarms of a larger one tell nothing
_WORST: Final = 5  # features in the text; chosen: what a person reads


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSensitivity:
    """What a monitor still finds in one feature.

    Attributes:
        shift: Smallest shift in standard deviations that nine of ten times is found; None if none.
        distance: Smallest Kolmogorov-Smirnov distance likewise, in (0, 1]; None if none.
        effective_rows: Independent rows that the window is worth.
    """

    shift: float | None
    distance: float | None
    effective_rows: float


@concise_repr("false_alarms", "rows", "allowed", "largest_shift")
@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineReport:
    """Sensitivity of the drift alarms at a declared rate of false alarms.

    Attributes:
        false_alarms: The declared rate, `"1/week"`.
        rows: Rows after a shift within which it is found.
        rows_per_second: Assumed rate of the traffic.
        features: Sensitivity by feature.
        allowed: The rarest rate at which a shift of half of the rows is found in every feature:
            the declared one where the reference allows it, and `"none"` where it allows no rate.
        unwatched: Features in which even such a shift is not found at the declared rate.
        rhythm: Hours of the turn that the times show (24 or 168), or None.
    """

    false_alarms: str
    rows: int
    rows_per_second: float
    features: Mapping[str, FeatureSensitivity]
    allowed: str
    unwatched: tuple[str, ...]
    rhythm: int | None

    @property
    def largest_shift(self) -> float | None:
        """The largest of the features' smallest shifts; None if one cannot be found at all."""
        shifts = [each.shift for each in self.features.values()]
        known = [each for each in shifts if each is not None]
        return max(known) if len(known) == len(shifts) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        facts = {name: getattr(self, name) for name in self.__slots__ if name != "features"}
        features = {name: asdict(each) for name, each in self.features.items()}
        return facts | {"unwatched": list(self.unwatched), "features": features}

    def __str__(self) -> str:
        """The report for people: what is found, and the features that are watched worst."""
        lines = [
            f"false alarms: at most {self.false_alarms} at {self.rows_per_second:g} rows a second",
            f"found within {self.rows} rows, nine times of ten (standard deviations):",
        ]
        order = sorted(self.features.items(), key=lambda item: -(item[1].shift or math.inf))
        for name, each in order[:_WORST]:
            shift = "no shift" if each.shift is None else f"{each.shift:.2f}"
            lines.append(f"  {name}: {shift} ({each.effective_rows:.0f} effective rows)")
        if len(order) > _WORST:
            lines.append(f"  and {len(order) - _WORST} features that are watched better")
        if self.unwatched:
            names = ", ".join(self.unwatched[:_WORST])
            lines.append(f"too short a reference for {names}: it allows {self.allowed}")
        return "\n".join(lines)


def sensitivity(
    reference: Reference,
    order: Order,
    rate: AlarmRate,
    *,
    rows: int,
    rows_per_second: float | None,
) -> BaselineReport:
    """The sensitivity of `Baseline.report`."""
    speed = rows_per_second or order.rows_per_second or USUAL_ROWS
    distances, ranks, noise = _best(reference, order, rate, rows, speed)
    features = {
        name: FeatureSensitivity(
            shift=_shift(rank), distance=distance if distance < 1 else None, effective_rows=1 / each
        )
        for name, rank, distance, each in zip(
            reference.names, ranks.tolist(), distances.tolist(), noise.tolist(), strict=True
        )
    }
    unwatched = tuple(
        name for name, each in zip(reference.names, distances, strict=True) if each > _GROSS
    )
    return BaselineReport(
        false_alarms=str(rate),
        rows=rows,
        rows_per_second=speed,
        features=MappingProxyType(features),
        allowed=_allowed(rate, noise, speed) if unwatched else str(rate),
        unwatched=unwatched,
        rhythm=None if order.rhythm is None else order.rhythm.slots,
    )


def _best(
    reference: Reference, order: Order, rate: AlarmRate, rows: int, speed: float
) -> tuple[Floats, Floats, Floats]:
    """Distance and mean rank that the best of the windows finds, and its noise `(d,)` each."""
    found: list[tuple[Floats, Floats, Floats]] = []
    for length in LENGTHS:
        size = Window().rows * length
        risk = look_risk(rate, speed, size, Window().rows) / len(reference.names)
        noise = _noise(reference, order, min(size, rows))
        distances = np.sqrt(np.log(2 * TESTS / risk) * noise / 2)
        normal = -NormalDist().inv_cdf(risk / TESTS / 2) + _POWER
        found.append((distances, normal * np.sqrt(noise / _UNIFORM), noise))
    best = np.argmin([distances for distances, _, _ in found], axis=0)
    columns = np.arange(len(best))
    distances, ranks, noise = (np.stack(each)[best, columns] for each in zip(*found, strict=True))
    return distances, ranks, noise


def _noise(reference: Reference, order: Order, rows: int) -> Floats:
    """Variance of a mean of so many rows against the reference, in variances of a row `(d,)`."""
    known = np.maximum(reference.sides.present, 1).astype(np.float64)
    if order.rhythm is not None:
        hourly = order.rhythm.counts.sum(axis=2).mean(axis=0)
        known[order.rhythm.features] = np.maximum(hourly, 1.0)
    dependence = order.dependence
    return np.asarray(
        dependence.effects[-1] / known + dependence.effect(rows) / rows + dependence.lasting
    )


def _shift(rank: float) -> float | None:
    """Shift of a normal feature, in standard deviations, that moves its mean rank so far."""
    return math.sqrt(2) * NormalDist().inv_cdf(0.5 + rank) if rank < _GROSS else None


def _allowed(rate: AlarmRate, noise: Floats, speed: float) -> str:
    """The rate at which the noisiest feature still shows a gross shift."""
    step = Window().rows * LENGTHS[-1] // QUARTERS
    risk = 2 * TESTS * math.exp(-2 * _GROSS**2 / float(noise.max()))
    if risk > _NO_RISK:
        return "none"
    alarms = rate.alarms_at(risk * OVERLAPS[-1] * len(LENGTHS) * len(noise), speed, step)
    return f"{max(alarms, rate.alarms):.3g}/{rate.unit}"
