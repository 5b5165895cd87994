"""Checks of state, units and black-box attacks, distinct samples, class names and abstention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops import FGSM, PGD, Gate, adapt, evaluate_robustness
from mlsecops.errors import UsageError
from mlsecops.robustness import APGD, HopSkipJump, RobustnessReport, Square, by_class, worst_cases
from tests.attackers.poisoning import digits as pictures

torch = pytest.importorskip("torch")


def digits() -> Any:
    x, y = pictures()
    return x.reshape(-1, 64).astype(np.float32), y


@pytest.fixture(scope="module")
def data() -> Any:
    x, y = digits()
    return x[1200:1300], y[1200:1300]


@pytest.fixture(scope="module")
def net() -> Any:
    x, y = (torch.tensor(each[:1200]) for each in digits())
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(120):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def outcomes(report: RobustnessReport) -> dict[str, str]:
    return {check.name: check.outcome for check in report.checks}


class Of(torch.nn.Module):
    """A function of a net and an input, which may keep what it saw."""

    def __init__(self, net: Any, call: Any) -> None:
        super().__init__()
        self.net, self.call, self.seen = net, call, []

    def forward(self, x: Any) -> Any:
        return self.call(self, x)


def remembering(model: Any, x: Any) -> Any:
    out = model.net(x)
    for before, said in model.seen:
        far = torch.cdist(x.detach(), before, p=torch.inf)
        known = far.min(1).values < 0.13
        out = torch.where(known[:, None], said[far.argmin(1)] + 0.05 * out, out)
    model.seen.append((x.detach().clone(), out.detach().clone()))
    model.seen = model.seen[:3]
    return out


@pytest.mark.parametrize("warm", [False, True])
def test_a_model_that_remembers_its_questions_is_seen(net: Any, data: Any, warm: bool) -> None:  # noqa: FBT001 - a parameter
    model = Of(net, remembering)
    if warm:
        model(torch.tensor(data[0]))
    report = evaluate_robustness(model, *data, PGD(0.12, steps=10))
    assert outcomes(report)["stateless"] == "fail"
    assert outcomes(evaluate_robustness(net, *data, PGD(0.12, steps=10)))["stateless"] == "pass"


def test_a_model_that_depends_on_its_batch_is_seen(net: Any, data: Any) -> None:
    model = Of(net, lambda own, x: own.net(x - 0.2 * x.mean(0)))
    report = evaluate_robustness(model, *data, PGD(0.1, steps=5))
    assert outcomes(report)["stateless"] == "fail"


@pytest.mark.parametrize(
    ("scale", "eps", "attack", "told"),
    [
        (255, 0.1, PGD, "0.1 is below one step"),
        (255, 25.5, PGD, None),
        (1, 8.0, PGD, "as wide as the whole range"),
        (1, 0.1, PGD, None),
        (255, 0.1, Square, "one step"),
    ],
)
def test_eps_in_another_unit_is_told(
    data: Any, scale: Any, eps: float, attack: Any, told: str | None
) -> None:
    torch.manual_seed(0)
    x = data[0] if scale == 1 else np.rint(data[0] * scale).astype(np.uint8)
    net = torch.nn.Linear(64, 10)
    y = adapt(net).logits(x.astype(np.float32)).argmax(axis=1)
    report = evaluate_robustness(net, x, y, attack(eps), bounds=(0, scale))
    assert outcomes(report)["eps-unit"] == ("pass" if told is None else "fail")
    reason = next(check.reason for check in report.checks if check.name == "eps-unit")
    assert told is None or told in reason
    if told is not None:
        assert Gate(min_accuracy=0.0).judge(report).verdict == "inconclusive"


@pytest.mark.parametrize("given", [(), (Square(0.12, queries=300),)])
def test_a_black_box_attack_that_finds_more_is_told(net: Any, data: Any, given: Any) -> None:
    masked = Of(net, lambda own, x: own.net(torch.round(x * 7) / 7))
    report = evaluate_robustness(masked, *data, [PGD(0.12, steps=10), *given])
    assert outcomes(report)["black-box-stronger"] == "inconclusive"
    assert outcomes(report)["gradient-present"] == "fail"  # Square does not hide it
    assert Gate(min_accuracy=0.0).judge(report).verdict == "inconclusive"
    honest = evaluate_robustness(net, *data, [PGD(0.12, steps=10), *given])
    assert set(outcomes(honest).values()) == {"pass"}, honest.checks
    saved = RobustnessReport.from_dict(report.to_dict())
    assert outcomes(saved) == outcomes(report)


def test_every_gradient_attack_is_checked(net: Any, data: Any) -> None:
    """A gradient that is gone off the data's own levels is that of PGD, not of FGSM."""

    class OnLevels(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            [x] = ctx.saved_tensors
            return gradient * ((x * 16 % 1).abs() < 1e-3).all(1, keepdim=True)

    model = Of(net, lambda own, x: own.net(OnLevels.apply(x)))
    report = evaluate_robustness(model, *data, [FGSM(0.1), PGD(0.1, steps=10)])
    assert {outcomes(report)["gradient-present"], outcomes(report)["gradient-agrees"]} == {"fail"}


def test_repeats_count_once(net: Any, data: Any) -> None:
    x, y = (each[:10] for each in data)
    alone = evaluate_robustness(net, x, y, PGD(0.1, steps=5))
    rows = np.tile(np.arange(10), 6)
    jitter = np.random.default_rng(0).uniform(0, 1e-7, (60, 64)).astype(np.float32)
    many = evaluate_robustness(net, np.clip(x[rows] + jitter, 0, 1), y[rows], PGD(0.1, steps=5))
    assert (many.n, many.given) == (10, 60)
    assert many.worst.interval == alone.worst.interval
    assert many.worst.examples.shape == x.shape
    assert many.to_dict()["given"] == 60
    assert sum(each.n for each in by_class(many, y[rows]).rows["worst"]) == 10
    assert len(worst_cases(net, many, x[rows], y[rows], count=3)) == 3


def test_the_same_input_with_two_labels_is_two_samples(net: Any, data: Any) -> None:
    x = np.repeat(data[0][:5], 2, axis=0)
    y = np.tile([0, 1], 5)
    assert evaluate_robustness(net, x, y, FGSM(0.1), checks=False).n == 10


def test_class_names_map_the_labels_and_others_are_refused() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.random((90, 4)).astype(np.float32)
    names = np.array(["low", "mid", "top"])[x[:, :3].argmax(axis=1)]
    model = linear.LogisticRegression().fit(x, names)
    report = evaluate_robustness(model, x, names, Square(0.05, queries=20), checks=False)
    assert report.clean.accuracy == pytest.approx(model.score(x, names))
    assert by_class(report, names).classes == ("low", "mid", "top")
    for wrong in (names == "low", x[:, :3].argmax(axis=1), np.where(names == "low", "new", names)):
        with pytest.raises(UsageError, match="model's classes"):
            evaluate_robustness(model, x, wrong, Square(0.05, queries=20))


ATTACKS = [
    PGD(0.1, steps=10), APGD(0.1, steps=10), APGD(0.1, steps=5, loss="targeted-dlr"),
    Square(0.1, queries=100), HopSkipJump(0.1, queries=200),
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_rejected_adversarial_input_is_defended_and_a_rejected_clean_one_wrong(
    net: Any, data: Any, attack: Any
) -> None:
    x, y = (each[:40] for each in data)

    def unsure(probabilities: Any) -> Any:
        return probabilities.max(axis=1) < 0.9

    model = adapt(net, reject=unsure)
    plain = evaluate_robustness(net, x, y, attack, checks=False)
    report = evaluate_robustness(model, x, y, attack, checks=False)
    chances = adapt(net).predict(x)
    right = (chances.argmax(axis=1) == y) & ~unsure(chances)
    assert (report.clean.correct == right).all()
    fooled = adapt(net).predict(report.worst.examples)
    held = (fooled.argmax(axis=1) == y) | unsure(fooled)
    assert (report.worst.correct == (right & held)).all()
    if attack.name not in {"hopskipjump", "square"}:  # few queries
        assert report.worst.hits < report.clean.hits  # wrong answers that are sure are found
    assert plain.clean.hits > report.clean.hits


def test_a_class_may_mean_abstention(net: Any, data: Any) -> None:
    x, y = data
    model = adapt(net, reject=3)
    report = evaluate_robustness(model, x, y, PGD(0.1, steps=10))
    answers = adapt(net).logits(report.worst.examples).argmax(axis=1)
    expected = report.clean.correct & ((answers == y) | (answers == 3))
    assert (report.worst.correct == expected).all()
    assert not report.clean.correct[y == 3].any()
    plain = evaluate_robustness(net, x, y, PGD(0.1, steps=10), checks=False)
    others = y != 3
    assert report.worst.correct[others].sum() > plain.worst.correct[others].sum()


@pytest.mark.parametrize("reject", ["three", -1, 10, True, 2.5, lambda p: p, lambda _: 1 / 0])
def test_an_abstention_that_cannot_be_is_refused(net: Any, data: Any, reject: Any) -> None:
    with pytest.raises(UsageError, match="reject"):
        evaluate_robustness(adapt(net, reject=reject), *data, FGSM(0.1), checks=False)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (lambda: torch.nn.Conv2d(3, 2, 3), np.zeros((4, 8, 8, 3), np.float32)),
        (lambda: torch.nn.Embedding(5, 2), np.full((4, 3), 0.5, np.float32)),
        (lambda: Of(None, lambda *_: {}["absent"]), np.zeros((4, 3), np.float32)),
        (lambda: Of(None, lambda _, x: x.tolist()[9]), np.zeros((4, 3), np.float32)),
    ],
)
def test_errors_of_the_model_are_ours_and_give_the_reason(model: Any, x: Any) -> None:
    with pytest.raises(UsageError, match=r"refuses inputs shaped \(2, .*Error") as caught:
        evaluate_robustness(model(), x, np.arange(4) % 2, FGSM(0.1))
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("bounds", "shape"),
    [((np.zeros((3, 1, 1)), np.ones((3, 1, 1))), (3, 4, 4)), (([0, 0.5], [1, 0.5]), (5, 2))],
)
def test_bounds_broadcast_and_may_be_equal_where_nothing_changes(bounds: Any, shape: Any) -> None:
    x = np.full((6, *shape), 0.5, np.float32)
    x[:, 0] += (
        np.linspace(0, 0.4, 6)[:, None][:, :1].reshape(-1, *(1,) * (len(shape) - 1))
        * (np.asarray(bounds[1]) - np.asarray(bounds[0]))[..., :1].max()
    )
    x = np.clip(x, *bounds).astype(np.float32)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), 2))
    report = evaluate_robustness(net, x, np.arange(6) % 2, PGD(0.1, steps=3), bounds=bounds)
    assert (report.worst.examples >= np.asarray(bounds[0]) - 1e-6).all()


def test_integers_stay_integers_for_the_clean_answers(data: Any) -> None:
    seen: list[Any] = []

    def call(own: Any, x: Any) -> Any:
        seen.append(x.dtype)
        return own.net(x / 255)

    x = np.rint(data[0] * 255).astype(np.uint8)
    model = Of(torch.nn.Linear(64, 10), call)
    report = evaluate_robustness(model, x, data[1], FGSM(25.0), bounds=(0, 255), checks=False)
    assert torch.uint8 in seen
    assert report.worst.examples.dtype == np.float32
    ids = torch.nn.Sequential(torch.nn.EmbeddingBag(256, 4), torch.nn.Linear(4, 10))
    with pytest.raises(UsageError, match=r"integers|no gradients"):
        evaluate_robustness(ids, x, data[1], FGSM(25.0), bounds=(0, 255), checks=False)
