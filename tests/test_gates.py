from __future__ import annotations

from dataclasses import dataclass

import pytest

from mlsecops._gates import BaseJudgement, Verdict, at_least, at_most, worst
from mlsecops.errors import GateFailed, GateInconclusive


@dataclass(frozen=True)
class Figure:
    verdict: Verdict

    def to_dict(self) -> dict[str, str]:
        return {"verdict": self.verdict}


def judgement(verdict: Verdict) -> BaseJudgement[Figure]:
    reasons = () if verdict == "pass" else ("clean: too low",)
    return BaseJudgement(verdict=verdict, readings=(Figure(verdict),), reasons=reasons)


@pytest.mark.parametrize(
    ("low", "high", "floor", "limit"),
    [
        (0.7, 0.9, "pass", "inconclusive"),
        (0.5, 0.7, "inconclusive", "pass"),
        (0.6, 0.8, "inconclusive", "inconclusive"),
        (0.71, 0.8, "pass", "fail"),
        (0.5, 0.69, "fail", "pass"),
        (float("nan"), float("nan"), "inconclusive", "inconclusive"),
    ],
)
def test_both_bounds_must_agree(low: float, high: float, floor: Verdict, limit: Verdict) -> None:
    assert at_least(0.7, (low, high)) == floor
    assert at_most(0.7, (low, high)) == limit


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "pass"),
        (["pass", "pass"], "pass"),
        (["pass", "inconclusive"], "inconclusive"),
        (["inconclusive", "fail", "pass"], "fail"),
    ],
)
def test_the_worst_verdict_is_that_of_all(verdicts: list[Verdict], expected: Verdict) -> None:
    assert worst(verdicts) == expected


def test_a_pass_is_handed_on() -> None:
    passed = judgement("pass")
    assert passed.require("gate") is passed
    assert passed.to_dict() == {"verdict": "pass", "reasons": [], "readings": [{"verdict": "pass"}]}


def test_a_failure_names_the_gate_what_was_measured_and_why() -> None:
    with pytest.raises(GateFailed, match=r"^gate failed \(n=5\): clean: too low$") as caught:
        judgement("fail").require("gate", of="n=5", advice="measure more")
    assert not isinstance(caught.value, GateInconclusive)


def test_an_inconclusive_measurement_fails_and_says_what_to_do() -> None:
    with pytest.raises(GateInconclusive, match=r"^gate inconclusive: clean: too low; measure more"):
        judgement("inconclusive").require("gate", advice="measure more")
