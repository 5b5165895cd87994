"""Models that hide in batches, write into inputs, or answer with what is no number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsecops import PGD, Gate, adapt, evaluate_robustness
from mlsecops.errors import UsageError
from mlsecops.robustness import APGD, RobustnessReport, Square
from tests.attackers.poisoning import digits as pictures

torch = pytest.importorskip("torch")
functional = torch.nn.functional


@pytest.fixture(scope="module")
def data() -> Any:
    x, y = pictures()
    return x.reshape(-1, 64).astype(np.float32), y


@pytest.fixture(scope="module")
def net(data: Any) -> Any:
    x, y = (torch.tensor(each[:1200]) for each in data)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(120):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


class Of(torch.nn.Module):
    """A function of a net and an input."""

    def __init__(self, net: Any, call: Any) -> None:
        super().__init__()
        self.net, self.call, self.calls = net, call, 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return self.call(self, x)


class Counter(torch.nn.Module):
    """Answers honestly from its second call on, which it knows from a buffer."""

    def __init__(self, net: Any, near: Any) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("near", torch.tensor(near))

    def forward(self, x: Any) -> Any:
        self.calls += 1
        if self.calls > 1:
            return self.net(x)
        nearest = self.near[torch.cdist(x.detach(), self.near).argmin(1)]
        return self.net(nearest) + 0.05 * self.net(x)


def test_a_model_that_keeps_state_in_a_buffer_is_seen(net: Any, data: Any) -> None:
    """Buffers are set back after each call, so that only its first answer would be measured."""
    x, y = (each[1200:1300] for each in data)
    report = evaluate_robustness(Counter(net, x), x, y, Square(0.1, queries=30))
    failed = {check.name: check.reason for check in report.checks if check.outcome == "fail"}
    assert "calls change calls, which are set back" in failed["stateless"]


class Reversed(torch.autograd.Function):
    """The identity, with the opposite gradient."""

    @staticmethod
    def forward(_: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(_: Any, gradient: Any) -> Any:
        return -gradient


class Raising(Reversed):
    """The identity, without a gradient."""

    @staticmethod
    def backward(_: Any, gradient: Any) -> Any:
        raise RuntimeError(f"no gradient for {len(gradient)} samples")


def normalised(own: Any, x: Any) -> Any:
    """Batch normalisation that stays in training mode."""
    hidden = own.net[0](x)
    if len(x) > 1:
        hidden = functional.batch_norm(hidden, None, None, training=True)
    return own.net[2](own.net[1](hidden))


def infinite(own: Any, x: Any) -> Any:
    """The label's own score, and minus infinity for all others."""
    scores = own.net(x)
    kept = functional.one_hot(scores.argmax(1), 10).bool()
    return torch.where(kept, scores, torch.full_like(scores, -torch.inf))


MASKS = {
    "gradient reversed in batches": lambda own, x: own.net(Reversed.apply(x) if len(x) > 1 else x),
    "gradient detached in large batches": lambda own, x: own.net(x.detach() if len(x) > 64 else x),
    "gradient reversed for some calls": lambda own, x: own.net(
        Reversed.apply(x) if 2 < own.calls < 60 else x
    ),
    "answers normalised by the batch": normalised,
}


@pytest.fixture(scope="module")
def known(net: Any, data: Any) -> RobustnessReport:
    """The report of the net without a mask."""
    x, y = (each[1200:1400] for each in data)
    return evaluate_robustness(net, x, y, PGD(0.5, steps=20, norm="l2"))


def outcomes(report: RobustnessReport) -> dict[str, str]:
    return {check.name: check.outcome for check in report.checks}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_large_batches_wear_is_seen(
    name: str, net: Any, data: Any, known: RobustnessReport
) -> None:
    """Without Square, which searches in Linf balls alone."""
    x, y = (each[1200:1400] for each in data)
    report = evaluate_robustness(Of(net, MASKS[name]), x, y, PGD(0.5, steps=20, norm="l2"))
    assert report.worst.accuracy > known.worst.accuracy + 0.1
    assert outcomes(report)["batch-invariant"] != "pass"
    assert Gate(min_accuracy=known.worst.accuracy + 0.1).judge(report).verdict != "pass"
    assert outcomes(known)["batch-invariant"] == "pass"


@pytest.mark.parametrize(
    "attack", [PGD(0.1, steps=10), APGD(0.1, steps=10), Square(0.1, queries=50)]
)
def test_infinite_scores_give_an_attack_no_infinite_step(attack: Any, net: Any, data: Any) -> None:
    x, y = (each[1200:1250] for each in data)
    report = evaluate_robustness(Of(net, infinite), x, y, attack)
    assert np.isfinite(report.worst.examples).all()
    assert Gate(min_accuracy=0.1).judge(report).verdict != "pass"


@pytest.mark.parametrize("attack", [PGD(0.1, steps=5), Square(0.1, queries=20)])
def test_an_answer_that_is_no_number_is_wrong(attack: Any, net: Any, data: Any) -> None:
    """Also where the form of the answers was probabilities before."""
    x, y = (each[1200:1250] for each in data)

    def shy(own: Any, z: Any) -> Any:
        odd = ((z * 16 - torch.round(z * 16)).abs().mean(1) > 0.05)[:, None]
        return torch.where(odd, torch.nan, own.net(z).softmax(1) + 0)

    report = evaluate_robustness(Of(net, shy), x, y, attack)
    assert report.clean.accuracy > 0.9
    assert report.worst.accuracy < 0.05
    assert report.output == "probabilities (by values)"


def test_an_error_of_the_backward_pass_is_ours(net: Any, data: Any) -> None:
    x, y = (each[1200:1220] for each in data)
    model = Of(net, lambda own, z: own.net(Raising.apply(z)))
    with pytest.raises(UsageError, match="no gradient for"):
        evaluate_robustness(model, x, y, PGD(0.1, steps=2))
    with pytest.raises(UsageError, match="no gradient for"):
        adapt(model).loss_gradient(x, y)


class Rounding:
    """An Adapter that writes into its input."""

    framework, channels_first, differentiable = "own", False, False

    def __init__(self, model: Any) -> None:
        self.model = model

    def logits(self, x: Any) -> Any:
        np.round(x * 2, out=x)
        return self.model.decision_function(x / 2).astype(np.float32)

    predict = features = logits

    def loss_gradient(self, x: Any, y: Any) -> Any:
        raise NotImplementedError


def test_a_model_that_writes_into_its_input_changes_nothing(data: Any) -> None:
    x, y = data
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(
        x[:1200], y[:1200]
    )
    x, y, attack = x[1200:1250], y[1200:1250], Square(0.1, queries=30)
    before = x.copy()
    plain = evaluate_robustness(model, x, y, attack, checks=False)
    model[0].copy = False
    for writing in (model, Rounding(model)):
        report = evaluate_robustness(writing, x, y, attack, checks=False)
        assert (x == before).all()
        assert np.abs(report.worst.examples - before).max() <= 0.1 + 1e-6
        assert (report.clean.examples == before).all()
        if writing is model:
            assert (report.worst.correct == plain.worst.correct).all()
