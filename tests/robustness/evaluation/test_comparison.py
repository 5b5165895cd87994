from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import GateFailed, UsageError
from mlsecops.provenance import Digest
from mlsecops.robustness import (
    FGSM,
    PGD,
    Attack,
    Check,
    Figure,
    Gate,
    RobustnessReport,
    clopper_pearson,
)
from mlsecops.robustness.evaluation.comparison import changes
from mlsecops.robustness.report import Outcomes

DATA = Digest.of(b"samples")


def figure(name: str, wrong: Any, *, n: int, params: Any = None, kept: bool = True) -> Figure:
    correct = np.ones(n, dtype=bool)
    correct[list(wrong)] = False
    outcomes = Outcomes(correct=correct, examples=None) if kept else None
    return Figure(name=name, params=params or {}, hits=int(correct.sum()), n=n, outcomes=outcomes)


def report(
    wrong: Any, *, n: int = 500, data: Any = DATA, attack: Attack | None = None, kept: bool = True
) -> Any:
    attack = attack or PGD(0.1)
    return RobustnessReport(
        n=n,
        seed=0,
        bounds=(0, 1),
        clean=figure("clean", (), n=n, kept=kept),
        attacks={attack.name: figure(attack.name, wrong, n=n, params=attack.params, kept=kept)},
        worst=figure("worst", wrong, n=n, kept=kept),
        checks=(Check(name="deterministic", outcome="pass", reason="seen 3 draws"),),
        model="net",
        forward_passes=0,
        gradient_passes=0,
        model_digest=Digest.of(b"model"),
        data_digest=data,
    )


def judged(now: Any, then: Any, **options: Any) -> Any:
    return Gate(min_accuracy=0.0, earlier=then, **options).judge(now)


def test_the_same_model_is_no_regression() -> None:
    assert judged(report(range(100)), report(range(100))).verdict == "pass"


def test_an_established_drop_fails_although_the_floor_is_held() -> None:
    with pytest.raises(GateFailed, match=r"pgd, change since the earlier report.*-0.080"):
        Gate(min_accuracy=0.5, earlier=report(range(100))).require(report(range(140)))


def test_a_drop_that_may_be_chance_is_inconclusive() -> None:
    assert judged(report(range(110)), report(range(100))).verdict == "inconclusive"
    assert judged(report(range(110)), report(range(100)), max_drop=0.1).verdict == "pass"


def test_samples_compared_with_themselves_settle_what_two_accuracies_cannot() -> None:
    then, now = report(range(200)), report(range(201))
    assert judged(now, then).verdict == "pass"
    unpaired = judged(report(range(201), kept=False), then)
    assert unpaired.verdict == "inconclusive"
    assert "unpaired" in unpaired.reasons[0]


def test_the_bounds_are_those_of_two_exact_ones_at_half_the_error_each() -> None:
    change = changes(report(range(7, 30)), report(range(10)))[1]
    gained, lost = (clopper_pearson(k, 500, confidence=0.975) for k in (7, 20))
    assert change.interval == pytest.approx((gained.low - lost.high, gained.high - lost.low))


def test_gains_do_not_hide_losses_in_the_bounds() -> None:
    """Equal accuracy, but every sample turned: nothing is established about the model."""
    change = changes(report(range(250)), report(range(250, 500)))[1]
    assert change.value == 0.0
    assert change.interval.low < -0.05
    assert change.interval.high > 0.05


def test_the_bounds_of_a_change_hold() -> None:
    """Turning samples are drawn with known rates; one bound in twenty may miss, here fewer do."""
    rng = np.random.default_rng(5)
    lost, gained, n = 0.06, 0.02, 300
    missed = 0
    for _ in range(200):
        draw = rng.random(n)
        then = report(np.flatnonzero(draw < gained), n=n)
        now = report(np.flatnonzero(draw > 1 - lost), n=n)
        missed += changes(now, then)[1].interval.low > gained - lost
    assert missed <= 10


def test_other_samples_cannot_be_compared() -> None:
    for now, other in (
        (report(()), report((), data=Digest.of(b"others"))),
        (report(()), report((), data=None)),
        (report((), data=None), report((), data=None)),
        (report(()), report((), n=400)),
    ):
        judgement = judged(now, other)
        assert judgement.verdict == "inconclusive"
        assert "same data" in judgement.reasons[0]


def test_an_attack_with_other_settings_or_none_cannot_be_compared() -> None:
    stronger = judged(report(()), report((), attack=PGD(0.2)))
    assert stronger.verdict == "inconclusive"
    assert "eps=0.2" in " ".join(stronger.reasons)
    absent = judged(report(()), report((), attack=FGSM(0.1)))
    assert "fgsm: is in the earlier report and did not run" in absent.reasons


def test_a_report_that_went_through_json_compares_as_the_fresh_one() -> None:
    then = report(range(90))
    saved = RobustnessReport.from_dict(json.loads(json.dumps(then.to_dict())))
    assert judged(report(range(91)), saved) == judged(report(range(91)), then)
    assert (saved.worst.correct == then.worst.correct).all()


@pytest.mark.parametrize(
    "forged",
    ["AA==", "!", "", "/////w=="],
)
def test_saved_samples_that_contradict_the_count_are_refused(forged: str) -> None:
    data = report(range(90)).to_dict()
    data["worst"]["correct"] = forged
    with pytest.raises(UsageError, match="worst"):
        RobustnessReport.from_dict(data)


def test_samples_beyond_the_last_are_refused() -> None:
    """As many right answers as stated, one of them of a sample that is not there."""
    data = report(range(90)).to_dict()
    bits = np.unpackbits(np.frombuffer(base64.b64decode(data["worst"]["correct"]), np.uint8))
    bits[499], bits[503] = 0, 1
    data["worst"]["correct"] = base64.b64encode(np.packbits(bits).tobytes()).decode()
    with pytest.raises(UsageError, match="worst"):
        RobustnessReport.from_dict(data)


def test_the_report_is_a_claim_about_the_model() -> None:
    measured = report(range(9))
    statement = measured.statement(verdict="pass")
    assert statement.subjects == {".": measured.model_digest}
    assert RobustnessReport.from_dict(statement.predicate).worst.hits == 491
    assert statement.predicate["verdict"] == "pass"


def test_a_report_of_no_known_model_is_no_claim() -> None:
    with pytest.raises(UsageError, match="model_digest"):
        dataclasses.replace(report(()), model_digest=None).statement()


def test_a_proven_accuracy_stands_beside_the_measured_one() -> None:
    proven = figure("certified", range(300), n=500, params={"radius": 0.5})
    data = json.loads(json.dumps(report(range(9)).with_certified(proven).to_dict()))
    again = RobustnessReport.from_dict(data)
    assert again.certified is not None
    assert (again.certified.hits, again.certified.params["radius"]) == (200, 0.5)
    assert "certified" not in report(()).to_dict()
