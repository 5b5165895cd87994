"""What PGD costs here, beside the Adversarial Robustness Toolbox and beside a bare torch loop.

PGD with 40 steps at eps 0.1 on a small convolutional net and 512 images of 8×8, with a budget that
every contestant spends in full: no sample is dropped when it is fooled. The bare loop is the floor:
torch tensors throughout, no projection but the two clips, one loss.

The second comparison is the same question as it is asked: the accuracy under that attack, where
``evaluate_robustness`` (checks off) drops a sample as soon as it is fooled.

Run: ``python -m benchmarks attacks``
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from sklearn.datasets import load_digits

from benchmarks.measure import Comparison, compare
from mlsecops import PGD, adapt, evaluate_robustness

EPS: Final = 0.1
STEPS: Final = 40
STEP: Final = 2.5 * EPS / STEPS
COUNT: Final = 512
BATCH: Final = 256
ROUNDS: Final = 7


def comparisons() -> Iterator[Comparison]:
    """One comparison of the whole budget, one of a measured accuracy."""
    torch.set_num_threads(1)
    x, y = digits()
    net = trained(x, y)
    x, y = x[:COUNT], y[:COUNT]
    adapter = adapt(net)
    whole = PGD(EPS, steps=STEPS, until="end")
    art = ProjectedGradientDescent(
        classifier(net), eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1,
        batch_size=BATCH, verbose=False,
    )  # fmt: skip
    yield compare(
        "PGD-40, 512 digits, every step",
        {
            "mlsecops PGD": lambda: whole.perturb(
                adapter, x, y, seed=0, bounds=(0, 1), batch_size=BATCH
            ),
            "ART PGD": lambda: art.generate(x, y),
            "bare torch loop": lambda: bare(net, x, y),
        },
        ours="mlsecops PGD",
        rounds=ROUNDS,
    )
    yield compare(
        "accuracy under PGD-40",
        {
            "evaluate_robustness": lambda: evaluate_robustness(
                adapter, x, y, [PGD(EPS, steps=STEPS)], checks=False
            ),
            "ART PGD, then predict": lambda: net_accuracy(net, art.generate(x, y), y),
        },
        ours="evaluate_robustness",
        rounds=ROUNDS,
    )


def digits() -> tuple[Any, Any]:
    """Images ``(n, 1, 8, 8)`` float32 on [0, 1] and their digits."""
    x, y = load_digits(return_X_y=True)
    return (x / 16).reshape(-1, 1, 8, 8).astype(np.float32), y.astype(np.int64)


def trained(x: Any, y: Any) -> Any:
    """A small net, trained for a few epochs."""
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(5):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return net.eval()


def classifier(net: Any) -> PyTorchClassifier:
    """The net as ART takes it."""
    return PyTorchClassifier(
        model=net,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=(1, 8, 8),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def bare(net: Any, x: Any, y: Any) -> Any:
    """The shortest PGD that is one."""
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    done = []
    for rows in torch.arange(len(x)).split(BATCH):
        clean, truth = inputs[rows], labels[rows]
        z = (clean + torch.empty_like(clean).uniform_(-EPS, EPS)).clamp(0, 1)
        for _ in range(STEPS):
            z.requires_grad_(requires_grad=True)
            loss = torch.nn.functional.cross_entropy(net(z), truth, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, z)
            moved = z.detach() + STEP * gradient.sign()
            z = moved.clamp(clean - EPS, clean + EPS).clamp(0, 1)
        done.append(z)
    return torch.cat(done)


def net_accuracy(net: Any, x: Any, y: Any) -> float:
    """Share of images that the net gets right."""
    with torch.no_grad():
        return float((net(torch.from_numpy(x)).argmax(1).numpy() == y).mean())
