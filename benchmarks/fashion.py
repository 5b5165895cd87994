"""Fashion-MNIST, from Debian's package dataset-fashion-mnist, and two nets trained on it once.

One net has standard training, the other adversarial training (PGD, Linf 0.1). Both are cached in
`benchmarks/.cache`, so that every benchmark uses the same ones.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

HOME: Final = Path("/usr/share/datasets/fashion-mnist")
CACHE: Final = Path(__file__).parent / ".cache"
EPS: Final = 0.1
_EPOCHS: Final = {"standard": 4, "robust": 8}
_STEPS: Final = 5


def images(part: str) -> tuple[Any, Any]:
    """Images `(n, 1, 28, 28)` float32 on [0, 1], and labels; part is `train` or `t10k`."""
    if not HOME.is_dir():
        raise SystemExit(f"no {HOME}: apt-get install dataset-fashion-mnist")
    x = _read(HOME / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    return (x / 255).astype(np.float32), _read(HOME / f"{part}-labels-idx1-ubyte.gz", 8).astype(int)


def net(kind: str) -> Any:
    """The net of a kind, `standard` or `robust`, trained on first use."""
    made = architecture()
    kept = CACHE / f"fashion-{kind}.pt"
    if kept.exists():
        made.load_state_dict(torch.load(kept, weights_only=True))
    else:
        print(f"training the {kind} net (once, some minutes)", file=sys.stderr, flush=True)
        _train(made, kind)
        CACHE.mkdir(exist_ok=True)
        torch.save(made.state_dict(), kept)
    return made.eval()


def architecture() -> Any:
    """Two convolutions and two dense layers."""
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def keras_twin(torch_net: Any) -> Any:
    """The same net in Keras, channels last, with the same weights."""
    import keras  # noqa: PLC0415 - TensorFlow only where it is measured

    layers = keras.layers
    twin = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.ZeroPadding2D(1), layers.Conv2D(16, 4, strides=2, activation="relu"),
            layers.ZeroPadding2D(1), layers.Conv2D(32, 4, strides=2, activation="relu"),
            layers.Permute((3, 1, 2)), layers.Flatten(),
            layers.Dense(100, activation="relu"), layers.Dense(10),
        ]
    )  # fmt: skip
    weights = [p.detach().numpy() for p in torch_net.parameters()]
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    twin.set_weights([w.transpose(axes[w.ndim]) for w in weights])
    return twin


def _read(path: Path, header: int) -> Any:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=header)


def _train(model: Any, kind: str) -> None:
    x, y = (torch.from_numpy(a) for a in images("train"))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(_EPOCHS[kind]):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - epoch / _EPOCHS[kind])
        for rows in torch.randperm(len(x)).split(128):
            seen = x[rows] if kind == "standard" else _attacked(model, x[rows], y[rows])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(seen), y[rows]).backward()
            optimizer.step()


def _attacked(model: Any, x: Any, y: Any) -> Any:
    z = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(_STEPS):
        z.requires_grad_(requires_grad=True)
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model(z), y), z)
        z = (z.detach() + 0.03 * gradient.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    return z
