"""Small networks trained on a poisoned training set, cached between runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

KEPT: Final = Path(__file__).parent.with_name(".cache") / "poisoning"
EPOCHS: Final = 10


def network() -> nn.Sequential:
    """One hidden layer: trains in seconds and learns fixed triggers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def convolutional() -> nn.Sequential:
    """Two convolutions and two dense layers: learns what moves and what bends, too."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip


def trained(
    x: Any, y: Any, *, seed: int = 0, make: Callable[[], nn.Sequential] = network
) -> nn.Sequential:
    """The network trained on the data, or read from the cache."""
    torch.manual_seed(seed)
    net = make()
    key = hashlib.sha256(x.tobytes() + y.tobytes() + str((seed, EPOCHS, net)).encode()).hexdigest()
    path = KEPT / f"{key[:24]}.pt"
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    _fit(net, x, y)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path)
    return net.eval()


def _fit(net: nn.Sequential, x: Any, y: Any) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[rows]), labels[rows]).backward()
            optimizer.step()
