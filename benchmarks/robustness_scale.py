"""Time and memory of attacks on 10,000 images with a net of ResNet-18's size.

The net has ResNet-18's layers and its 11.2 million parameters (He et al. 2016, table 1). Images are
Fashion-MNIST's test set, framed to 3 x 32 x 32. The net is trained for a few steps, since the time
does not depend on how well. FGSM, and PGD with few steps; batches of 250, one thread. Peak memory
is the process' own, less what it had before.

`--device cuda` and `--precision bfloat16` measure the same on a GPU.

Run: `python -m benchmarks robustness_scale [--count 10000] [--steps 5]` (about ten minutes)
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from benchmarks import fashion
from mlsecops import FGSM, PGD, adapt, evaluate_robustness

WIDTHS: Final = (64, 128, 256, 512)
BATCH: Final = 250
EPS: Final = 8 / 255


class Block(nn.Module):
    """Two convolutions and the input, added."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.shortcut = nn.Identity() if before == width else nn.Sequential(
            nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        """The block's output."""
        return torch.relu(self.convolutions(x) + self.shortcut(x))


def resnet18(classes: int = 10) -> Any:
    """ResNet-18 without weights."""
    torch.manual_seed(0)
    layers: list[Any] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    before = WIDTHS[0]
    for width in WIDTHS:
        layers += [Block(before, width, 1 if before == width else 2), Block(width, width, 1)]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def images(part: str, count: int) -> tuple[Any, Any]:
    """Images `(n, 3, 32, 32)` and labels."""
    x, y = fashion.images(part)
    framed = np.pad(x[:count], ((0, 0), (0, 0), (2, 2), (2, 2)))
    return np.repeat(framed, 3, axis=1), y[:count]


def trained(net: Any, x: Any, y: Any, *, steps: int) -> Any:
    """The net after some steps on batches of 64."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for rows in np.random.default_rng(0).integers(0, len(x), (steps, 64)):
        optimizer.zero_grad()
        inputs, labels = torch.from_numpy(x[rows]), torch.from_numpy(y[rows])
        nn.functional.cross_entropy(net.train()(inputs), labels).backward()
        optimizer.step()
    return net.eval()


def main() -> None:
    """Train, evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=5, help="of PGD")
    parser.add_argument("--training", type=int, default=40, help="steps")
    parser.add_argument("--device", default=None)
    parser.add_argument("--precision", choices=("bfloat16", "float16"))
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--attack", action="append", choices=("fgsm", "pgd"))
    parser.add_argument("--checks", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    net = trained(resnet18(), *images("train", 5000), steps=options.training)
    x, y = images("t10k", options.count)
    size = sum(each.numel() for each in net.parameters())
    print(f"{size / 1e6:.1f} million parameters, {len(x)} images", flush=True)
    view = adapt(net, device=options.device, precision=options.precision,
                 channels_last=options.channels_last)  # fmt: skip
    attacks = {"fgsm": FGSM(EPS), "pgd": PGD(EPS, steps=options.steps)}
    for name in options.attack or attacks:
        forget_peak()
        before = memory("VmRSS")
        seconds, cpu = time.perf_counter(), time.process_time()
        report = evaluate_robustness(
            view, x, y, attacks[name], checks=options.checks, batch_size=BATCH
        )
        seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
        print(
            f"{name}: clean {report.clean.accuracy:.3f} worst {report.worst.accuracy:.3f}, "
            f"{cpu:.0f} CPU s, {seconds:.0f} s, {report.forward_passes} forward and "
            f"{report.gradient_passes} backward, memory {memory('VmHWM') - before:.0f} MB above "
            f"{before:.0f} MB; {x.nbytes / 1e6:.0f} MB of images",
            flush=True,
        )


def memory(field: str) -> float:
    """Resident memory of this process in MB: now (`VmRSS`), or the largest since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e3


def forget_peak() -> None:
    """Let the largest resident memory be the present one (Linux, proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
