"""Masked models before the gate, which no defence that only hides its gradient may pass.

Small nets on scikit-learn's digits, each behind a mask, are evaluated with every suite. A pass is
false at a floor that is 10 points above an accuracy that the mask is known not to hold: under
examples of the same model without the mask (of an ensemble: of the mean of its nets; for a model
that rejects odd inputs: rounded to the data's levels), or under a long Square search. The honest
nets, one of them adversarially trained, must pass at a floor under their own interval.

Run: `python -m benchmarks.attacks --part masks [--suite NAME …] [--seed N …]`
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from mlsecops import PGD, Gate, adapt, evaluate_robustness
from mlsecops.robustness import Square, suite

EPS: Final = 0.12  # in pixels from 0 to 1; two of their 16 levels
LEVEL: Final = 1 / 16
COUNT: Final = 200  # test samples
ABOVE: Final = 0.1  # of the floor over the honest figure
REJECT: Final = 10  # column of abstention of the masks that reject
SUITES: Final[dict[str, Callable[[], list[Any]]]] = {
    "quick": lambda: suite("quick", eps=EPS),
    "standard": lambda: suite("standard", eps=EPS),
    "nightly": lambda: suite("nightly", eps=EPS),
    "PGD": lambda: [PGD(EPS, steps=40)],
    "PGD + Square": lambda: [PGD(EPS, steps=40), Square(EPS, queries=500)],
}
Call = Callable[[Any], Any]


def show(
    suites: Iterable[str] = tuple(SUITES),
    seeds: Iterable[int] = range(3),
    chosen: Container[str] | None = None,
) -> None:
    """Print each verdict, and the number of false passes and of honest nets that do not pass.

    With the names of masks these alone are judged, and no honest net.
    """
    false = total = refused = honest = 0
    for seed in seeds:
        x, y = test_samples()
        for name in suites:
            for kind in ("standard", "hardened") if chosen is None else ():
                net = trained(seed, hardened=kind == "hardened")
                report = evaluate_robustness(net, x, y, SUITES[name](), seed=seed)
                floor = max(report.worst.interval.low - 0.01, 0.0)
                verdict = Gate(min_accuracy=floor).judge(report)
                honest, refused = honest + 1, refused + (verdict.verdict != "pass")
                print(f"{seed} {name:12} honest, {kind}: {verdict.verdict} {verdict.reasons}")
            for mask in masks(seed):
                if chosen is not None and mask.name not in chosen:
                    continue
                verdict, line = judged(mask, x, y, SUITES[name](), seed)
                false, total = false + (verdict == "pass"), total + 1
                print(f"{seed} {name:12} {line}", flush=True)
    print(f"{false} false passes of {total}; {refused} of {honest} honest reports do not pass")


@dataclass
class Mask:
    """A model whose gradient or answers hide how weak it is.

    Attributes:
        name: Which.
        model: The masked model.
        open: The model without the mask, on which an attacker works.
        reject: Column of abstention, or None.
    """

    name: str
    model: nn.Module
    open: nn.Module
    reject: int | None = None


def judged(mask: Mask, x: Any, y: Any, attacks: list[Any], seed: int) -> tuple[str, str]:
    """Verdict of a gate that the mask must not pass, and a line about it."""
    model = adapt(mask.model, reject=mask.reject)
    floor = min(known(mask, model, x, y) + ABOVE, 1.0)
    report = evaluate_robustness(model, x, y, attacks, seed=seed)
    verdict = Gate(min_accuracy=floor).judge(report).verdict
    failed = [check.name for check in report.checks if check.outcome != "pass"]
    figures = f"clean {report.clean.accuracy:.2f} worst {report.worst.accuracy:.2f}"
    return verdict, f"{mask.name:24} floor {floor:.2f} {figures} {verdict:12} {failed}"


def known(mask: Mask, model: Any, x: Any, y: Any) -> float:
    """An accuracy that the masked model does not hold."""
    model = copy.deepcopy(model)  # what is asked here is not remembered there
    clean = model.logits(x).argmax(axis=1) == y
    rejected = -1 if mask.reject is None else mask.reject
    shares = []
    for eps in (EPS, LEVEL):
        found = evaluate_robustness(mask.open, x, y, [PGD(eps, steps=40)], checks=False)
        examples = found.worst.examples
        if eps == LEVEL:
            examples = np.clip(np.round(examples * 16) / 16, x - EPS, x + EPS).astype("float32")
        answers = model.logits(examples).argmax(axis=1)
        shares.append(float((clean & ((answers == y) | (answers == rejected))).mean()))
    searched = evaluate_robustness(model, x, y, [Square(EPS, queries=1500)], checks=False)
    return min(*shares, searched.worst.accuracy)


def masks(seed: int) -> Iterator[Mask]:
    """Every mask, around nets of one seed."""
    net = trained(seed)
    for name, call in calls(net).items():
        yield Mask(name, Called(net, call), net)
    winners = trained(seed, activation=Winners())
    yield Mask("k-winners", winners, winners)
    yield Mask("near-duplicate cache", Cache(net), net)
    nets = nn.ModuleList([net, trained(seed + 10), trained(seed + 20)])
    yield Mask("ensemble that abstains", Called(nets, ensemble(nets)), Called(nets, mean_of(nets)),
               reject=REJECT)  # fmt: skip
    yield Mask("class for odd inputs", Called(net, off_grid(net)), net, reject=REJECT)
    yield Mask("class for odd inputs, untold", Called(net, off_grid(net)), net)


def calls(net: nn.Module) -> dict[str, Call]:
    """Masks that are functions of the input and the net."""
    near = torch.tensor(samples()[0][:1000])
    levels = (torch.arange(32) + 0.5) / 32

    def noisy(_: Any, gradient: Any) -> Any:
        return gradient + 20 * gradient.abs().mean() * torch.randn_like(gradient)

    return {
        "thermometer": lambda x: net((x[..., None] > levels).float().mean(-1)),
        "bit depth": lambda x: net(torch.round(x * 7) / 7),
        "JPEG": lambda x: net(blocks(x)),
        "stochastic resizing": lambda x: net(moved(x)),
        "temperature 1e-4": lambda x: net(x) * 1e-4,
        "temperature 1e4": lambda x: net(x) * 1e4,
        "softmax at 100": lambda x: (net(x) * 100).softmax(1),
        "distilled": lambda x: (net(x) * 50).softmax(1).clamp_min(1e-7).log(),
        "quantised layer": lambda x: net[2](torch.round(net[1](net[0](x)) * 2) / 2),
        "quantised scores": lambda x: torch.round(net(x)),
        "labels alone": lambda x: nn.functional.one_hot(net(x).argmax(1), 10).float(),
        "gradient noise": lambda x: net(Backward.apply(x, noisy)),
        "gradient detached": lambda x: net(x.detach()),
        "gradient reversed": lambda x: net(Backward.apply(x, lambda _, g: -g)),
        "gradient on the grid": lambda x: net(Backward.apply(x, on_grid)),
        "gradient of other pixels": lambda x: net(Backward.apply(x, lambda _, g: g.roll(7, 1))),
        "gaussian noise": lambda x: net((x + 0.25 * torch.randn_like(x)).clamp(0, 1)),
        "dropped pixels": lambda x: net(x * (torch.rand_like(x) > 0.3)),
        "noise of a hash": lambda x: net(x + hashed(x)),
        "shattered": lambda x: net(x + 0.05 * torch.sin(3000 * x)),
        "clamp": lambda x: net(((x - 0.3) * 50).clamp(0, 1)),
        "nearest known sample": lambda x: net(near[torch.cdist(x.detach(), near).argmin(1)]),
    }  # fmt: skip


class Called(nn.Module):
    """A function of the input as a module."""

    def __init__(self, inner: nn.Module, call: Call) -> None:
        super().__init__()
        self.inner, self.call = inner, call

    def forward(self, x: Any) -> Any:
        """The function's result."""
        return self.call(x)


class Backward(torch.autograd.Function):
    """The identity, whose gradient is a function of the input and the honest gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, change: Any) -> Any:
        """The input."""
        ctx.save_for_backward(x)
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        """The changed gradient."""
        return ctx.change(ctx.saved_tensors[0], gradient), None


class Winners(nn.Module):
    """k-winners-take-all: a tenth of the units, the others zero (Xiao et al. 2020)."""

    def forward(self, x: Any) -> Any:
        """The largest values."""
        least = x.topk(max(1, x.shape[1] // 10), dim=1).values[:, -1:]
        return x * (x >= least)


class Cache(nn.Module):
    """Answers near-duplicates of what it was asked before from memory."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.asked, self.said = net, torch.zeros(0, 64), torch.zeros(0, 10)

    def forward(self, x: Any) -> Any:
        """The remembered answer, or a new one."""
        out = self.net(x)
        if len(self.asked):
            far, which = torch.cdist(x.detach(), self.asked, p=torch.inf).min(1)
            known = far < EPS + 0.01
            out = torch.where(known[:, None], self.said[which] + 0.05 * out, out)
            x, new = x[~known], out[~known]
        else:
            new = out
        self.asked = torch.cat([self.asked, x.detach()])
        self.said = torch.cat([self.said, new.detach()])
        return out


def ensemble(nets: Any) -> Call:
    """The mean of the nets, and abstention where they disagree."""

    def call(x: Any) -> Any:
        each = torch.stack([net(x) for net in nets])
        agree = (each.argmax(2) == each.argmax(2)[0]).all(0)
        return with_rejection(each.mean(0), ~agree)

    return call


def mean_of(nets: Any) -> Call:
    """The mean of the nets."""
    return lambda x: torch.stack([net(x) for net in nets]).mean(0)


def off_grid(net: nn.Module) -> Call:
    """Abstention for inputs between the 16 levels of the data."""

    def call(x: Any) -> Any:
        away = (x * 16 - torch.round(x * 16)).abs() > 0.05
        return with_rejection(net(x), away.float().mean(1) > 0.05)

    return call


def with_rejection(scores: Any, rejected: Any) -> Any:
    """Scores with a column that leads where the input is rejected."""
    high, low = scores.max(1).values, scores.min(1).values
    column = torch.where(rejected, high + 1, low - 1)
    return torch.cat([scores, column[:, None]], 1)


def on_grid(x: Any, gradient: Any) -> Any:
    """The gradient, where the input is on the 16 levels of the data."""
    return gradient * ((x * 16 - torch.round(x * 16)).abs() < 1e-3).all(1, keepdim=True)


def moved(x: Any) -> Any:
    """The picture, by up to a pixel elsewhere and resized by up to a tenth."""
    picture = x.reshape(-1, 1, 8, 8)
    size = int(torch.randint(8, 11, ()))
    large = nn.functional.interpolate(picture, size=(size, size), mode="bilinear")
    at = torch.randint(0, size - 7, (2,))
    return large[:, :, at[0] : at[0] + 8, at[1] : at[1] + 8].reshape(-1, 64)


def blocks(x: Any) -> Any:
    """The picture after a discrete cosine transform with coarse coefficients, as in JPEG."""
    n = torch.arange(8.0)
    base = torch.cos(torch.pi * (2 * n[None] + 1) * n[:, None] / 16)
    base = base / base.norm(dim=1, keepdim=True)
    coarse = 0.1 + 0.05 * (n[:, None] + n[None])
    found = base @ x.reshape(-1, 8, 8) @ base.T
    return (base.T @ (torch.round(found / coarse) * coarse) @ base).reshape(-1, 64)


def hashed(x: Any) -> Any:
    """Noise that is the same for the same input."""
    rows = x.detach().numpy()
    seeds = [int.from_bytes(hashlib.sha256(row.tobytes()).digest()[:8], "big") for row in rows]
    noise = [np.random.default_rng(seed).normal(scale=0.2, size=64) for seed in seeds]
    return torch.tensor(np.stack(noise), dtype=torch.float32) if len(rows) else x


def samples() -> tuple[Any, Any]:
    """Pixels from 0 to 1 `(n, 64)`, and digits."""
    data = load_digits()
    return (data.data / 16).astype("float32"), data.target


def test_samples() -> tuple[Any, Any]:
    """Samples that no net was trained on."""
    x, y = samples()
    return x[1400 : 1400 + COUNT], y[1400 : 1400 + COUNT]


def trained(seed: int, *, hardened: bool = False, activation: nn.Module | None = None) -> Any:
    """A net of one hidden layer, perhaps with adversarial training."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 64), activation or nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    inputs, labels = (torch.tensor(each[:1400]) for each in samples())
    for _ in range(150):
        moved_inputs = inputs
        if hardened:
            leaf = inputs.clone().requires_grad_()
            loss = nn.functional.cross_entropy(net(leaf), labels)
            slope = torch.autograd.grad(loss, leaf)[0].sign()
            moved_inputs = (inputs + EPS * slope).clamp(0, 1)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(moved_inputs), labels).backward()
        optimizer.step()
    return net.eval()
