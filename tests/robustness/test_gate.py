from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mlsecops.errors import GateFailed, GateInconclusive, UsageError
from mlsecops.robustness import FGSM, PGD, Attack, Check, Figure, Gate, RobustnessReport


def report(hits: int, n: int = 100, *, clean: int | None = None, outcome: str = "pass") -> Any:
    def figure(name: str, attack: Attack, k: Any) -> Any:
        return Figure(name=name, params=attack.params if attack else {}, hits=k, n=n)

    fgsm, pgd = figure("fgsm", FGSM(0.1), min(hits + 5, n)), figure("pgd", PGD(0.1), hits)
    return RobustnessReport(
        n=n,
        seed=0,
        bounds=(0, 1),
        clean=figure("clean", None, n if clean is None else clean),
        attacks={"fgsm": fgsm, "pgd": pgd},
        worst=figure("worst", None, hits),
        checks=(Check(name="deterministic", outcome=outcome, reason="seen 3 draws"),),
        model="net",
        forward_passes=0,
        gradient_passes=0,
        model_digest=None,
        data_digest=None,
    )


@pytest.mark.parametrize(
    ("hits", "verdict"), [(78, "pass"), (77, "inconclusive"), (62, "inconclusive"), (61, "fail")]
)
def test_gate_judges_the_bounds_and_not_the_observed_share(hits: Any, verdict: Any) -> None:
    assert Gate(min_accuracy=0.70).judge(report(hits)).verdict == verdict


def test_pass_returns_the_judgement_without_reasons() -> None:
    judgement = Gate(min_accuracy=0.7).require(report(90))
    assert judgement.verdict == "pass"
    assert judgement.reasons == ()


def test_failure_names_attack_figure_interval_and_floor() -> None:
    with pytest.raises(GateFailed, match=r"pgd\(eps=0.1.*0\.400 .*0\.3\d\d to 0\.4\d\d.*0\.700"):
        Gate(min_accuracy=0.7).require(report(40))


def test_too_few_samples_are_inconclusive() -> None:
    with pytest.raises(GateInconclusive, match="measure more samples"):
        Gate(min_accuracy=0.9).require(report(10, n=10))


def test_failed_check_stops_a_pass_and_says_why() -> None:
    with pytest.raises(GateInconclusive, match="deterministic failed: seen 3 draws"):
        Gate(min_accuracy=0.5).require(report(100, outcome="fail"))


def test_failed_check_does_not_excuse_a_failure() -> None:
    assert Gate(min_accuracy=0.7).judge(report(10, outcome="fail")).verdict == "fail"


def test_a_proof_is_worth_no_more_than_the_worst_case() -> None:
    proof = Figure(name="certified", params={"method": "tree-verification"}, hits=100, n=100)
    claimed = report(60).with_certified(proof)
    assert Gate(min_accuracy=0.8).judge(claimed).verdict == "fail"
    assert Gate(min_accuracy=0.6).judge(claimed).verdict == "inconclusive"
    with pytest.raises(UsageError, match="certified: expected at most the worst case"):
        RobustnessReport.from_dict(claimed.to_dict())


def test_a_saved_report_with_more_under_attack_than_without_is_refused() -> None:
    with pytest.raises(UsageError, match="worst: expected at most"):
        RobustnessReport.from_dict(report(80, clean=60).to_dict())
    endless = report(80).to_dict() | {"given": float("inf")}
    with pytest.raises(UsageError, match="not a robustness report"):
        RobustnessReport.from_dict(endless)


def test_report_without_checks_never_passes() -> None:
    unchecked = dataclasses.replace(report(100), checks=())
    judgement = Gate(min_accuracy=0.5).judge(unchecked)
    assert judgement.verdict == "inconclusive"
    assert "switched off" in judgement.reasons[0]


def test_clean_accuracy_has_a_floor_of_its_own() -> None:
    assert Gate(min_accuracy=0.3, min_clean=0.9).judge(report(60, clean=70)).verdict == "fail"


def test_attack_with_a_floor_of_its_own_has_to_run() -> None:
    judgement = Gate(min_accuracy=0.3, per_attack={"apgd": 0.3}).judge(report(60))
    assert judgement.verdict == "inconclusive"
    assert "apgd" in judgement.reasons[0]
    assert Gate(min_accuracy=0.1, per_attack={"pgd": 0.8}).judge(report(60)).verdict == "fail"


@pytest.mark.parametrize("floors", [{"min_accuracy": 70}, {"min_accuracy": 0.7, "min_clean": -1}])
def test_floor_that_is_no_share_is_refused(floors: Any) -> None:
    with pytest.raises(UsageError, match=r"min_[a-z]+: expected a share"):
        Gate(**floors)
