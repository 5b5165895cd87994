"""Each sentence of the contract on robustness, from outside: only public names, a torch model."""

from __future__ import annotations

import copy
import inspect
import json
from typing import Any

import numpy as np
import pytest

import mlsecops
from mlsecops import FGSM, PGD, Gate, evaluate_robustness, suite
from mlsecops.errors import GateFailed, GateInconclusive, UsageError
from mlsecops.robustness import RobustnessReport
from tests.attackers.poisoning import digits


@pytest.fixture(scope="module")
def data() -> Any:
    x, y = digits()
    return x[:120].reshape(-1, 1, 8, 8).astype(np.float32), y[:120]


@pytest.fixture(scope="module")
def net(data: Any) -> Any:
    """A linear model behind everything that evaluation could disturb."""
    import torch  # noqa: PLC0415 - collecting tests does not import a framework

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.BatchNorm2d(1), torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(64, 10)
    )
    x, y = (torch.tensor(each) for each in data)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def report(net: Any, data: Any) -> RobustnessReport:
    return evaluate_robustness(net, *data, [FGSM(eps=0.05), PGD(eps=0.05, steps=5)])


def test_the_options_are_by_name_and_have_the_stated_defaults() -> None:
    parameters = inspect.signature(evaluate_robustness).parameters
    assert list(parameters)[:4] == ["model_or_adapter", "x", "y", "attacks"]
    stated = {"seed": 0, "batch_size": 256, "checks": True, "bounds": (0, 1)}
    for name, default in stated.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default == default


def test_inputs_outside_the_bounds_are_refused(net: Any, data: Any) -> None:
    x, y = data
    with pytest.raises(UsageError, match="bounds"):
        evaluate_robustness(net, x * 255, y, [FGSM(eps=8)])
    assert evaluate_robustness(net, x * 255, y, [FGSM(eps=8)], bounds=(0, 255), checks=False).n


def test_a_figure_has_accuracy_interval_samples_and_examples(
    report: RobustnessReport, data: Any
) -> None:
    assert report.n == 120
    for figure in (report.clean, report.worst, report.attacks["fgsm"], report.attacks["pgd"]):
        low, high = figure.interval
        assert 0 <= low <= figure.accuracy <= high <= 1
        assert figure.correct.dtype == bool
        assert figure.correct.shape == (120,)
        assert figure.correct.mean() == figure.accuracy
        assert figure.examples.shape == data[0].shape
    assert report.checks
    stands = report.attacks["fgsm"].correct & report.attacks["pgd"].correct
    assert (report.worst.correct == stands).all()


def test_the_plain_values_are_robustness_json(report: RobustnessReport) -> None:
    value = json.loads(json.dumps(report.to_dict()))
    assert value["n"] == 120
    assert value["seed"] == 0
    assert {"accuracy", "interval"} <= value["clean"].keys()
    assert [each["name"] for each in value["attacks"]] == ["fgsm", "pgd"]
    for attack in value["attacks"]:
        assert {"name", "params", "accuracy", "interval"} <= attack.keys()
        assert len(attack["interval"]) == 2
    assert all({"name", "outcome"} <= each.keys() for each in value["checks"])
    assert value["model_digest"] is None
    assert value["data_digest"].startswith("sha256:")
    assert "verdict" not in value
    assert report.to_dict(verdict="fail")["verdict"] == "fail"


@pytest.mark.parametrize("training", [True, False])
def test_the_callers_model_is_left_as_it_was(net: Any, data: Any, training: Any) -> None:
    model = copy.deepcopy(net).train(training)
    model[3].bias.requires_grad_(requires_grad=False)
    model[3].weight.grad = model[3].weight.detach() * 2
    state = copy.deepcopy(model.state_dict())
    evaluate_robustness(model, *data, [PGD(eps=0.05, steps=2)])
    assert [module.training for module in model.modules()] == [training] * 5
    assert all((model.state_dict()[name] == value).all() for name, value in state.items())
    assert not model[3].bias.requires_grad
    assert model[3].weight.requires_grad
    assert (model[3].weight.grad == model[3].weight * 2).all()


def test_pgds_step_is_two_and_a_half_radii_over_its_steps() -> None:
    assert PGD(eps=0.1, steps=40).step == pytest.approx(2.5 * 0.1 / 40)
    assert PGD(eps=8 / 255).steps == 40


def test_every_profile_has_attacks() -> None:
    for profile in ("quick", "standard", "nightly"):
        attacks = suite(profile, eps=0.1)
        assert attacks
        assert all(attack.eps == 0.1 for attack in attacks)


def test_the_gate_says_pass_fail_or_inconclusive(report: RobustnessReport) -> None:
    low, high = report.worst.interval
    for floor, verdict in ((low, "pass"), ((low + high) / 2, "inconclusive"), (1.0, "fail")):
        assert Gate(min_accuracy=floor).judge(report).verdict == verdict
    Gate(min_accuracy=low).require(report)
    with pytest.raises(GateInconclusive):
        Gate(min_accuracy=high).require(report)
    with pytest.raises(GateFailed) as failed:
        Gate(min_accuracy=1.0).require(report)
    assert not isinstance(failed.value, GateInconclusive)
    assert issubclass(GateInconclusive, GateFailed)


def test_the_names_are_served_from_the_top() -> None:
    for name in ("FGSM", "PGD", "Gate", "evaluate_robustness", "suite"):
        assert getattr(mlsecops, name) is globals()[name]
