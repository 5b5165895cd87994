from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, hash_dataset
from mlsecops.robustness import FGSM, PGD, Attack, Gate, RobustnessReport, evaluate_robustness
from tests.attackers.robustness import (
    AttackOutsideItsBall,
    Disguised,
    SoftmaxRegression,
    TorchDisguise,
    with_gradients_blind_at_the_bounds,
    with_nan_scores,
    with_random_scores,
    with_unrelated_gradients,
    with_zero_gradients,
)
from tests.robustness.conftest import Samples

ATTACKS = [FGSM(0.11), PGD(0.11, steps=10)]


def outcome(report: RobustnessReport, name: str) -> Any:
    return {check.name: check.outcome for check in report.checks}[name]


def at_the_bounds(samples: Samples) -> Any:
    """The samples with half of their elements on the lower bound."""
    x, y = samples
    x = x.copy()
    x[:, :5] = 0.0
    return x, y


def test_accuracy_is_the_share_of_samples_beyond_eps(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    report = evaluate_robustness(two_class, *samples, ATTACKS)
    assert report.clean.accuracy == 1.0
    assert report.attacks["fgsm"].accuracy == 0.5
    assert report.attacks["pgd"].accuracy == 0.5
    assert report.worst.hits == 100
    assert all(check.outcome == "pass" for check in report.checks)


def test_accuracy_is_that_of_the_returned_examples(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    report = evaluate_robustness(two_class, *samples, ATTACKS)
    for figure in (report.clean, report.worst, report.attacks["pgd"]):
        again = two_class.logits(figure.examples).argmax(axis=1) == samples[1]
        assert (again == figure.correct).all()
        assert figure.examples.shape == samples[0].shape


def test_samples_that_are_wrong_already_count_against_every_attack(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    y = y.copy()
    y[-20:] = 1 - y[-20:]
    report = evaluate_robustness(two_class, x, y, ATTACKS)
    assert report.clean.hits == 180
    assert report.attacks["pgd"].hits == 80
    assert not report.worst.correct[-20:].any()


def test_one_attack_needs_no_list(two_class: SoftmaxRegression, samples: Samples) -> None:
    alone = evaluate_robustness(two_class, *samples, FGSM(0.11))
    assert alone.to_dict() == evaluate_robustness(two_class, *samples, [FGSM(0.11)]).to_dict()


@pytest.mark.parametrize("attacks", ["pgd", ["pgd"], PGD, 0.1, None])
def test_what_is_no_attack_is_refused_and_one_is_named(
    two_class: SoftmaxRegression, samples: Samples, attacks: Sequence[Attack]
) -> None:
    with pytest.raises(UsageError, match=r"such as PGD\(eps=0.1\)"):
        evaluate_robustness(two_class, *samples, attacks)


def test_a_report_shows_its_figures_in_one_line(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    shown = repr(evaluate_robustness(two_class, *samples, ATTACKS))
    assert "fgsm 0.500 [" in shown
    assert "worst 0.500 [" in shown
    assert "checks passed" in shown
    assert "\n" not in shown
    assert len(shown) < 400


def test_a_failed_check_is_named_where_a_report_is_shown(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    report = evaluate_robustness(with_zero_gradients(two_class), *samples, ATTACKS)
    failed = [check.name for check in report.checks if check.outcome == "fail"]
    assert failed
    assert all(f"{name} failed" in repr(report) for name in failed)


def test_two_attacks_of_one_kind_keep_their_own_figures(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    report = evaluate_robustness(two_class, *samples, [PGD(0.05), PGD(0.15)])
    assert list(report.attacks) == ["pgd", "pgd-2"]
    assert report.attacks["pgd"].accuracy > report.attacks["pgd-2"].accuracy
    assert report.worst.hits == report.attacks["pgd-2"].hits
    assert report.strongest.name == "pgd-2"


def test_same_seed_gives_the_same_report(two_class: SoftmaxRegression, samples: Samples) -> None:
    first, second = (
        evaluate_robustness(two_class, *samples, ATTACKS, seed=5, batch_size=size).to_dict()
        for size in (256, 64)
    )
    first.pop("forward_passes"), second.pop("forward_passes")
    assert first == second


def test_report_is_json_of_the_fixed_shape(two_class: SoftmaxRegression, samples: Samples) -> None:
    digest = Digest.of(b"model")
    report = evaluate_robustness(two_class, *samples, ATTACKS, model_digest=digest)
    data = json.loads(json.dumps(report.to_dict(verdict="pass")))
    assert data["verdict"] == "pass"
    assert data["n"] == 200
    assert data["model_digest"] == str(digest)
    assert [a["name"] for a in data["attacks"]] == ["fgsm", "pgd"]
    assert data["attacks"][1]["params"]["steps"] == 10
    assert data["clean"]["accuracy"] == 1.0
    assert data["checks"][0]["outcome"] == "pass"
    assert "verdict" not in report.to_dict()


def test_data_digest_is_that_of_the_data_set(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    report = evaluate_robustness(two_class, x, y, ATTACKS)
    assert report.data_digest == hash_dataset({"x": x, "y": y}, name="any").root


def test_saved_report_is_judged_as_the_fresh_one(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    report = evaluate_robustness(two_class, *samples, ATTACKS)
    saved = RobustnessReport.from_dict(json.loads(json.dumps(report.to_dict())))
    for floor in (0.3, 0.5, 0.7):
        gate = Gate(min_accuracy=floor)
        assert gate.judge(saved) == gate.judge(report)
    with pytest.raises(UsageError, match="read from a file"):
        _ = saved.clean.examples


@pytest.mark.parametrize(
    "forge",
    [
        lambda d: d["worst"].update(interval=[0.9, 1.0]),
        lambda d: d["worst"].update(accuracy=0.9),
        lambda d: d["attacks"].clear(),
        lambda d: d["checks"][0].update(outcome="fine"),
        lambda d: d.pop("checks"),
        lambda d: d.update(n=0),
        lambda d: d["clean"].update(accuracy=0.12345),
    ],
)
def test_saved_report_that_contradicts_itself_is_refused(
    two_class: SoftmaxRegression, samples: Samples, forge: Any
) -> None:
    data = evaluate_robustness(two_class, *samples, ATTACKS).to_dict()
    forge(data)
    with pytest.raises(UsageError):
        RobustnessReport.from_dict(data)


def test_passes_are_counted(two_class: SoftmaxRegression, samples: Samples) -> None:
    model = Disguised(two_class)
    report = evaluate_robustness(model, *samples, ATTACKS)
    assert report.forward_passes == sum(model.seen)
    assert 0 < report.gradient_passes < report.forward_passes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(x=a["x"] + 1), "inside bounds"),
        (lambda a: a["x"].__setitem__((0, 0), np.nan), "inside bounds|needs gradients"),
        (lambda a: a.update(y=a["y"].astype(float)), "integers"),
        (lambda a: a.update(y=a["y"][:-1]), "of n labels"),
        (lambda a: a.update(y=a["y"] - 1), "at least 0"),
        (lambda a: a.update(y=a["y"] + 1), "number of classes"),
        (lambda a: a.update(attacks=[]), "at least one"),
        (lambda a: a.update(x=a["x"][:0], y=a["y"][:0]), "n >= 1"),
        (lambda a: a.update(x=a["x"].astype(str)), "numeric"),
        (lambda a: a.update(seed=-1), "seed >= 0"),
        (lambda a: a.update(bounds=(1, 0)), "low < high"),
        (lambda a: a.update(attacks=[AttackOutsideItsBall()]), "liar returned"),
    ],
)
def test_arguments_that_cannot_work_are_refused(
    two_class: SoftmaxRegression, samples: Samples, change: Any, message: str
) -> None:
    arguments = {"x": samples[0].copy(), "y": samples[1], "attacks": ATTACKS}
    change(arguments)
    with pytest.raises(UsageError, match=message):
        evaluate_robustness(two_class, **arguments)


@pytest.mark.parametrize(
    ("disguise", "check"),
    [
        (with_zero_gradients, "gradient-present"),
        (with_unrelated_gradients, "gradient-agrees"),
        (lambda model: with_random_scores(model, noise=0.3), "deterministic"),
    ],
)
def test_disguised_model_does_not_pass(
    two_class: SoftmaxRegression, samples: Samples, disguise: Any, check: str
) -> None:
    report = evaluate_robustness(disguise(two_class), *samples, [PGD(0.11, steps=10)])
    assert outcome(report, check) == "fail"
    judgement = Gate(min_accuracy=0.0).judge(report)
    assert judgement.verdict == "inconclusive"
    assert any(check in reason for reason in judgement.reasons)


def test_gradient_that_is_blind_at_the_bounds_is_seen(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    model = with_gradients_blind_at_the_bounds(two_class)
    x, y = at_the_bounds(samples)
    two_class.bias[:] = [2.5, -2.5]
    report = evaluate_robustness(model, x, y, [FGSM(0.11)])
    assert report.worst.hits > 0
    assert outcome(report, "gradient-agrees") == "fail"
    honest = evaluate_robustness(two_class, x, y, [FGSM(0.11)])
    assert outcome(honest, "gradient-agrees") == "pass"
    assert honest.worst.hits < report.worst.hits


def test_reason_of_an_agreeing_gradient_says_each_place_once(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = at_the_bounds(samples)
    for inputs in (samples[0], x):
        report = evaluate_robustness(two_class, inputs, y, [FGSM(0.11)])
        [reason] = [each.reason for each in report.checks if each.name == "gradient-agrees"]
        assert reason.startswith("the gradient predicts changes ")
        assert reason.count("at the inputs") == 1
        assert reason.count("at random points of their balls") == 1
    assert reason.endswith("of values at a bound and between the bounds alike")


def test_gradient_of_one_changeable_value_among_many_is_measured() -> None:
    wide = SoftmaxRegression(weights=np.zeros((400, 2), np.float32), bias=np.zeros(2, np.float32))
    wide.weights[0] = [3, -3]
    x = np.full((60, 400), 0.5, np.float32)
    x[:, 0] = np.linspace(0.55, 0.95, 60)
    low, high = x[0].copy(), x[0].copy()
    low[0], high[0] = 0, 1
    y = np.zeros(60, np.int64)
    for model, expected in ((wide, "pass"), (with_unrelated_gradients(wide), "fail")):
        report = evaluate_robustness(model, x, y, [FGSM(0.02)], bounds=(low, high))
        assert outcome(report, "gradient-agrees") == expected


def test_attack_weaker_than_random_points_is_seen(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    weak = PGD(0.3, steps=1, step=1e-6, start="clean")
    report = evaluate_robustness(two_class, *samples, [weak])
    assert outcome(report, "random-search") == "fail"
    [reason] = [each.reason for each in report.checks if each.name == "random-search"]
    assert reason.endswith("; give the attack more steps or queries")


def test_scores_of_any_scale_give_the_same_figures(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    for scale in (1e-4, 1e4):
        by = np.float32(scale)
        scaled = SoftmaxRegression(weights=two_class.weights * by, bias=two_class.bias * by)
        report = evaluate_robustness(scaled, *samples, ATTACKS)
        assert report.worst.accuracy == 0.5
        assert {check.outcome for check in report.checks} == {"pass"}, report.checks


def test_scores_that_float32_cannot_tell_apart_are_seen(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    far = Disguised(two_class, on_scores=lambda scores: scores + np.float32(1e6))
    assert outcome(evaluate_robustness(far, *samples, ATTACKS), "output-range") == "fail"


def test_scores_that_are_not_numbers_count_as_wrong(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    report = evaluate_robustness(with_nan_scores(two_class), *samples, ATTACKS)
    assert report.worst.hits == 0


@pytest.fixture(scope="module")
def digits_net() -> Any:
    torch = pytest.importorskip("torch")
    from sklearn.datasets import load_digits  # noqa: PLC0415 - only these tests need it

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            net(torch.from_numpy(x[:1200])), torch.from_numpy(y[:1200])
        )
        loss.backward()
        optimizer.step()
    return net.eval(), x[1200:1500], y[1200:1500]


def test_honest_torch_net_passes_every_check(digits_net: Any) -> None:
    net, x, y = digits_net
    report = evaluate_robustness(net, x, y, [FGSM(0.05), PGD(0.05, steps=20)])
    assert {check.outcome for check in report.checks} == {"pass"}, report.checks
    assert report.worst.accuracy < report.clean.accuracy


@pytest.mark.parametrize("name", TorchDisguise.names)
def test_broken_torch_net_gets_no_false_pass(digits_net: Any, name: str) -> None:
    net, x, y = digits_net
    honest = evaluate_robustness(net, x, y, [PGD(0.1, steps=20)])
    broken = evaluate_robustness(TorchDisguise.build(name, net), x, y, [PGD(0.1, steps=20)])
    floor = min(honest.worst.interval.high + 0.05, 1.0)
    assert Gate(min_accuracy=floor).judge(honest).verdict == "fail"
    judgement = Gate(min_accuracy=floor).judge(broken)
    assert judgement.verdict != "pass"
    if name != "clamp":  # that one is not more robust; its gradient may be honest
        assert judgement.verdict == "fail" or judgement.reasons


def test_torch_net_is_left_as_it_was(digits_net: Any) -> None:
    net, x, y = digits_net
    net.train()
    before = copy.deepcopy(net.state_dict())
    evaluate_robustness(net, x[:50], y[:50], [PGD(0.1, steps=3)])
    assert net.training
    assert all((before[k] == v).all() for k, v in net.state_dict().items())
    assert all(p.grad is None or p.requires_grad for p in net.parameters())
    net.eval()
