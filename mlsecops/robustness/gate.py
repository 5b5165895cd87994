"""Whether what was measured is good enough: pass, fail, or not settled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mlsecops._intervals import Interval
from mlsecops.errors import GateFailed, GateInconclusive, UsageError
from mlsecops.robustness.evaluation.comparison import changes, incomparable

if TYPE_CHECKING:
    from mlsecops.robustness.evaluation.comparison import Change
    from mlsecops.robustness.report import Figure, RobustnessReport

__all__ = ["Gate", "GateVerdict", "Judgement", "Reading"]

GateVerdict: TypeAlias = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One figure held against its floor.

    Attributes:
        figure: Which figure, named with the attack behind it.
        accuracy: What was observed: an accuracy, or how much one changed.
        interval: Its one-sided 95 % bounds.
        floor: What was asked for.
        verdict: `"pass"` if even the lower bound reaches the floor, `"fail"` if even the upper
            bound does not, else `"inconclusive"`.
    """

    figure: str
    accuracy: float
    interval: Interval
    floor: float
    verdict: GateVerdict

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.figure}: {self.accuracy:.3f} (95 % bounds {low:.3f} to {high:.3f}) "
            f"against a floor of {self.floor:.3f}: {self.verdict}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A Gate's answer.

    Attributes:
        verdict: `"pass"`, `"fail"` or `"inconclusive"`.
        readings: Each figure against its floor.
        reasons: What stands in the way of a pass; empty for a pass.
    """

    verdict: GateVerdict
    readings: tuple[Reading, ...]
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "readings": [
                {
                    "figure": r.figure,
                    "accuracy": r.accuracy,
                    "interval": list(r.interval),
                    "floor": r.floor,
                    "verdict": r.verdict,
                }
                for r in self.readings
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Floors that a model must hold, judged on the interval and not on the observed share.

    Attributes:
        min_accuracy: Floor under the worst case over all attacks that ran.
        min_clean: Floor on the clean inputs, or None.
        per_attack: Floors by attack name; an attack that did not run is inconclusive.
        earlier: Report of the model that this one replaces, on the same samples with the same
            attacks; what cannot be compared is inconclusive.
        max_drop: How far any figure may fall below the earlier report's, a share in [0, 1].
    """

    min_accuracy: float
    min_clean: float | None = None
    per_attack: Mapping[str, float] | None = None
    earlier: RobustnessReport | None = None
    max_drop: float = 0.02

    def __post_init__(self) -> None:
        floors = [self.min_accuracy, self.min_clean, *(self.per_attack or {}).values()]
        floors.append(self.max_drop)
        for floor in floors:
            if floor is not None and not 0.0 <= floor <= 1.0:
                raise UsageError(f"a gate's floor is a share in [0, 1], got {floor}")

    def judge(self, report: RobustnessReport) -> Judgement:
        """Hold a report against the floors.

        A figure whose upper bound is below its floor fails whatever the checks say: they only
        speak of accuracies that may be too high.
        """
        readings = self._readings(report)
        doubts = (*self._unmeasured(report), *_doubts(report))
        failed = tuple(str(r) for r in readings if r.verdict == "fail")
        open_ = tuple(str(r) for r in readings if r.verdict == "inconclusive")
        if failed:
            return Judgement(verdict="fail", readings=readings, reasons=failed)
        if open_ or doubts:
            return Judgement(verdict="inconclusive", readings=readings, reasons=(*open_, *doubts))
        return Judgement(verdict="pass", readings=readings, reasons=())

    def require(self, report: RobustnessReport) -> Judgement:
        """Judge, and raise unless the verdict is "pass".

        Raises:
            GateFailed: A figure is below its floor.
            GateInconclusive: The measurement does not settle it.
        """
        judgement = self.judge(report)
        if judgement.verdict == "pass":
            return judgement
        reasons = "; ".join(judgement.reasons)
        if judgement.verdict == "fail":
            raise GateFailed(f"robustness gate failed (n={report.n}): {reasons}")
        raise GateInconclusive(
            f"robustness gate inconclusive (n={report.n}): {reasons}; "
            "measure more samples, or mend what the checks name"
        )

    def _readings(self, report: RobustnessReport) -> tuple[Reading, ...]:
        strongest = report.strongest
        settings = ", ".join(f"{k}={v}" for k, v in strongest.params.items() if k != "norm")
        worst = f"worst case, most by {strongest.name}({settings})"
        readings = [_read(worst, report.worst, self.min_accuracy)]
        if self.min_clean is not None:
            readings.append(_read("clean", report.clean, self.min_clean))
        for name, floor in (self.per_attack or {}).items():
            if name in report.attacks:
                readings.append(_read(name, report.attacks[name], floor))
        return (*readings, *self._changes(report))

    def _changes(self, report: RobustnessReport) -> tuple[Reading, ...]:
        if self.earlier is None:
            return ()
        return tuple(_read_change(each, self.max_drop) for each in changes(report, self.earlier))

    def _unmeasured(self, report: RobustnessReport) -> tuple[str, ...]:
        absent = (
            f"{name}: has a floor of {floor:.3f} and did not run"
            for name, floor in (self.per_attack or {}).items()
            if name not in report.attacks
        )
        return (*absent, *(() if self.earlier is None else incomparable(report, self.earlier)))


def _read(name: str, figure: Figure, floor: float) -> Reading:
    return _reading(name, figure.accuracy, figure.interval, floor)


def _read_change(change: Change, most: float) -> Reading:
    how = "sample by sample" if change.paired else "unpaired"
    name = f"{change.name}, change since the earlier report ({how})"
    return _reading(name, change.value, change.interval, -most)


def _reading(name: str, observed: float, interval: Interval, floor: float) -> Reading:
    low, high = interval
    verdict: GateVerdict = "pass" if low >= floor else "fail" if high < floor else "inconclusive"
    return Reading(figure=name, accuracy=observed, interval=interval, floor=floor, verdict=verdict)


def _doubts(report: RobustnessReport) -> tuple[str, ...]:
    """Why a high accuracy is not to be believed."""
    if not report.checks:
        return ("the self-checks were switched off, so masked gradients would go unseen",)
    return tuple(
        f"self-check {check.name} failed: {check.reason}"
        for check in report.checks
        if check.outcome != "pass"
    )
