"""Gate verdicts: pass, fail or inconclusive, judged on the bounds of an interval.

bounds and a limit → verdict of each figure → judgement → `require`: the judgement, or GateFailed
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, Self, TypeAlias, TypeVar

from mlsecops.errors import GateFailed, GateInconclusive

Verdict: TypeAlias = Literal["pass", "fail", "inconclusive"]


class Judged(Protocol):
    """A figure with the verdict on it."""

    @property
    def verdict(self) -> Verdict:
        """The verdict."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""


R_co = TypeVar("R_co", bound=Judged, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseJudgement(Generic[R_co]):
    """A gate's answer.

    Attributes:
        verdict: `"pass"`, `"fail"` or `"inconclusive"`.
        readings: Each figure with its limit and verdict.
        reasons: Why the verdict is not `"pass"`; empty for a pass.
    """

    verdict: Verdict
    readings: tuple[R_co, ...]
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "readings": [each.to_dict() for each in self.readings],
        }

    def require(self, gate: str, *, of: str = "", advice: str = "") -> Self:
        """Raise unless the verdict is `"pass"`; `of` says what was measured, `advice` what to do.

        Raises:
            GateFailed: The verdict is `"fail"`.
            GateInconclusive: The verdict is `"inconclusive"`.
        """
        of, reasons = of and f" ({of})", "; ".join(self.reasons)
        if self.verdict == "fail":
            raise GateFailed(f"{gate} failed{of}: {reasons}")
        if self.verdict == "inconclusive":
            raise GateInconclusive(f"{gate} inconclusive{of}: {reasons}{advice and f'; {advice}'}")
        return self


def at_least(floor: float, interval: tuple[float, float]) -> Verdict:
    """Verdict on a figure, given by its bounds, that must reach a floor.

    Examples:
        >>> at_least(0.7, (0.6, 0.8))
        'inconclusive'
    """
    low, high = interval
    return "pass" if low >= floor else "fail" if high < floor else "inconclusive"


def at_most(limit: float, interval: tuple[float, float]) -> Verdict:
    """Verdict on a figure, given by its bounds, that must not exceed a limit."""
    low, high = interval
    return "pass" if high <= limit else "fail" if low > limit else "inconclusive"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on several figures: one failure fails, one open figure leaves it open.

    Examples:
        >>> worst(["pass", "inconclusive", "fail"])
        'fail'
    """
    found = set(verdicts)
    return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"
