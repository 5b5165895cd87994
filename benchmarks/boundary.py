"""Distance of HopSkipJump's examples by number of queries, here and in ART (Fashion-MNIST, L2).

The net records its queries: each contestant attacks one image at a time, and its result after a
number of queries is the nearest misclassified point among them. Both start from noise, and neither
knows when it is stopped.

Run: `python -m benchmarks boundary` or `python -m benchmarks.boundary --count 40`
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from art.attacks.evasion import HopSkipJump as ArtHopSkipJump
from art.estimators.classification import PyTorchClassifier

from benchmarks import fashion
from mlsecops import evaluate_robustness
from mlsecops.robustness import HopSkipJump

QUERIES: Final = (500, 1000, 2000, 5000)
KINDS: Final = ("standard", "robust")


class _Enough(BaseException):
    """Enough queries; no `Exception`, which an adapter would take for the model's."""


class Recorder(torch.nn.Module):
    """A net that records its nearest misclassified point after each query."""

    def __init__(self, net: Any, x: Any, y: int) -> None:
        super().__init__()
        self.net = net
        self.at, self.label = torch.from_numpy(x), y
        self.nearest: list[float] = []

    def forward(self, x: Any) -> Any:
        """Scores; the last query ends the attack."""
        x = x.float()
        if len(self.nearest) >= QUERIES[-1]:
            raise _Enough
        logits = self.net(x)
        distances = (x - self.at).flatten(1).norm(dim=1).detach()
        for distance, answer in zip(distances.tolist(), logits.argmax(dim=1).tolist(), strict=True):
            best = self.nearest[-1] if self.nearest else float("inf")
            self.nearest.append(min(best, distance) if answer != self.label else best)
        return logits


def ours(net: Recorder, x: Any, y: Any, seed: int) -> None:
    attack = HopSkipJump(1e-9, norm="l2", queries=2 * QUERIES[-1])
    evaluate_robustness(net, x, y, attack, seed=seed, checks=False)


def theirs(net: Recorder, x: Any, _: Any, seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002 - what ART draws from
    estimator = PyTorchClassifier(
        net, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0)
    )
    ArtHopSkipJump(estimator, norm=2, max_iter=1000, verbose=False).generate(x)


def distances(attack: Callable[..., None], net: Any, x: Any, y: Any) -> Any:
    """Nearest misclassified point of each image after each number of queries."""
    found = []
    for i in range(len(x)):
        recorder = Recorder(net, x[i], int(y[i])).eval()
        with contextlib.suppress(_Enough):
            attack(recorder, x[i : i + 1], y[i : i + 1], i)
        found.append([recorder.nearest[min(q, len(recorder.nearest)) - 1] for q in QUERIES])
    return np.array(found)


def main() -> None:
    """Print median distances of correctly classified images, and how often ours is nearer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="images of each net")
    parser.add_argument("--kind", action="append", choices=KINDS, help="nets, by default both")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, y = fashion.images("t10k")
    for kind in options.kind or KINDS:
        net = fashion.net(kind)
        with torch.no_grad():
            known = np.flatnonzero(
                net(torch.from_numpy(x[:1000])).argmax(dim=1).numpy() == y[:1000]
            )
        rows = known[: options.count]
        here, there = (distances(each, net, x[rows], y[rows]) for each in (ours, theirs))
        for i, queries in enumerate(QUERIES):
            print(
                f"{kind} net, {queries} queries: median L2 here {np.median(here[:, i]):.2f}, "
                f"ART {np.median(there[:, i]):.2f}; here nearer {(here < there)[:, i].mean():.0%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
