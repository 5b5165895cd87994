"""Robustness gate: floors under the accuracy of a model, judged on confidence bounds.

RobustnessReport → Gate → Reading for each figure, and doubts about the measurement → Judgement
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlsecops._choices import checked, number, of_type
from mlsecops._gates import BaseJudgement, Verdict, at_least, worst
from mlsecops._intervals import Interval
from mlsecops._repr import concise_repr
from mlsecops.robustness.evaluation.comparison import changes, incomparable
from mlsecops.robustness.report import is_tree_proof

if TYPE_CHECKING:
    from mlsecops.robustness.evaluation.comparison import Change
    from mlsecops.robustness.report import Figure, RobustnessReport


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class GateReading:
    """One figure compared with its floor.

    Attributes:
        figure: Which figure, named with the attack behind it.
        accuracy: Observed value: an accuracy, or the change of one, a share.
        interval: Its one-sided 95 % bounds.
        floor: Lowest accepted value.
        verdict: `"pass"` if even the lower bound reaches the floor, `"fail"` if even the upper
            bound does not, else `"inconclusive"`.
    """

    figure: str
    accuracy: float
    interval: Interval
    floor: float
    verdict: Verdict

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.figure}: {self.accuracy:.3f} (95 % bounds {low:.3f} to {high:.3f}) "
            f"against a floor of {self.floor:.3f}: {self.verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "interval": list(self.interval)}


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement(BaseJudgement[GateReading]):
    """The answer of a Gate: its verdict, each figure's reading, and the reasons."""


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Floors that a model must hold, judged on the interval and not on the observed share.

    Attributes:
        min_accuracy: Floor under the worst case over all attacks that ran, a share in [0, 1].
        min_clean: Floor under the accuracy on clean inputs, a share in [0, 1], or None.
        per_attack: Floors by attack name; an attack that did not run is inconclusive.
        earlier: Report of the model that this one replaces, on the same samples with the same
            attacks; what cannot be compared is inconclusive.
        max_drop: How far any figure may fall below the earlier report's, a share in [0, 1].

    Examples:
        >>> Gate(min_accuracy=0.7).min_clean is None
        True
    """

    min_accuracy: float
    min_clean: float | None = None
    per_attack: Mapping[str, float] | None = None
    earlier: RobustnessReport | None = None
    max_drop: float = 0.02

    def __post_init__(self) -> None:
        floors = {"min_accuracy": self.min_accuracy, "min_clean": self.min_clean,
                  "max_drop": self.max_drop}  # fmt: skip
        floors |= {f"per_attack[{name!r}]": each for name, each in (self.per_attack or {}).items()}
        for name, floor in floors.items():
            if floor is not None:
                number(name, floor, "a share from 0 to 1", lambda share: 0 <= share <= 1)

    @checked
    def judge(self, report: RobustnessReport) -> Judgement:
        """Compare a report with the floors.

        A figure whose upper bound is below its floor fails whatever the self-checks say: they
        only warn of accuracies that are too high.
        """
        of_type("report", report, "with_certified", "a RobustnessReport")
        readings = self._readings(report)
        doubts = (*self._unmeasured(report), *_doubts(report))
        verdict = worst(each.verdict for each in readings)
        if verdict == "pass" and doubts:
            verdict = "inconclusive"
        reasons = [str(each) for each in readings if each.verdict == verdict != "pass"]
        if verdict == "inconclusive":
            reasons += doubts
        return Judgement(verdict=verdict, readings=readings, reasons=tuple(reasons))

    @checked
    def require(self, report: RobustnessReport) -> Judgement:
        """Judge, and raise unless the verdict is `"pass"`.

        Raises:
            GateFailed: A figure is below its floor.
            GateInconclusive: The measurement does not settle it.
        """
        return self.judge(report).require(
            "robustness gate",
            of=f"n={report.n}",
            advice="measure more samples, or fix what the checks name",
        )

    def _readings(self, report: RobustnessReport) -> tuple[GateReading, ...]:
        strongest = report.strongest
        settings = ", ".join(f"{k}={v}" for k, v in strongest.params.items() if k != "norm")
        worst_case = f"worst case, most by {strongest.name}({settings})"
        interval, proven = report.worst.interval, report.certified
        if proven is not None and is_tree_proof(proven):
            worst_case += f", proven for {proven.accuracy:.3f}"
            interval = Interval(min(proven.interval.low, interval.low), interval.high)
        readings = [_reading(worst_case, report.worst.accuracy, interval, self.min_accuracy)]
        if self.min_clean is not None:
            readings.append(_read("clean", report.clean, self.min_clean))
        for name, floor in (self.per_attack or {}).items():
            if name in report.attacks:
                readings.append(_read(name, report.attacks[name], floor))
        moved = () if self.earlier is None else changes(report, self.earlier)
        return (*readings, *(_read_change(each, self.max_drop) for each in moved))

    def _unmeasured(self, report: RobustnessReport) -> tuple[str, ...]:
        absent = (
            f"{name}: has a floor of {floor:.3f} and did not run"
            for name, floor in (self.per_attack or {}).items()
            if name not in report.attacks
        )
        return (*absent, *(() if self.earlier is None else incomparable(report, self.earlier)))


def _read(name: str, figure: Figure, floor: float) -> GateReading:
    return _reading(name, figure.accuracy, figure.interval, floor)


def _read_change(change: Change, most: float) -> GateReading:
    how = "sample by sample" if change.paired else "unpaired"
    name = f"{change.name}, change since the earlier report ({how})"
    return _reading(name, change.value, change.interval, -most)


def _reading(name: str, observed: float, interval: Interval, floor: float) -> GateReading:
    verdict = at_least(floor, interval)
    return GateReading(
        figure=name, accuracy=observed, interval=interval, floor=floor, verdict=verdict
    )


def _doubts(report: RobustnessReport) -> tuple[str, ...]:
    if not report.checks:
        return ("the self-checks were switched off, so masked gradients would go unseen",)
    return tuple(
        f"self-check {check.name} failed: {check.reason}"
        for check in report.checks
        if check.outcome != "pass"
    )
