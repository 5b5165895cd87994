"""Demo network in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlsecops._extras import require
from mlsecops.adapters import adapt

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mlsecops.demo.digits import Split
    from mlsecops.loading import LoadedModel, SecureLoader
    from mlsecops.robustness import Attack

BATCH: Final = 64  # images; chosen
FILE: Final = "model.safetensors"


def digits_net() -> nn.Module:
    """Two convolutions and two dense layers on `(n, 1, 8, 8)`; gives logits `(n, 10)`."""
    layers = require("torch").nn
    net: nn.Module = layers.Sequential(
        layers.Conv2d(1, 16, 3, padding=1),
        layers.ReLU(),
        layers.Conv2d(16, 32, 3, padding=1),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(32 * 4 * 4, 64),
        layers.ReLU(),
        layers.Linear(64, 10),
    )
    return net


class TorchNetwork:
    """Network that is built, trained, saved and loaded with PyTorch."""

    title = "PyTorch"
    channels_first = True

    def __init__(self) -> None:
        torch = require("torch")
        # One thread: the network is too small to share, and sums keep their order.
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(mode=True)

    def build(self, *, seed: int) -> nn.Module:
        """Make an untrained model."""
        require("torch").manual_seed(seed)
        return digits_net()

    def fit(
        self,
        model: nn.Module,
        data: Split,
        *,
        epochs: int,
        seed: int,
        attack: Attack | None = None,
    ) -> None:
        """Train in place; with an attack, also on its examples."""
        torch = require("torch")
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        generator = torch.Generator().manual_seed(seed)
        for epoch in range(epochs):
            for rows in torch.randperm(len(data.y), generator=generator).split(BATCH):
                x, y = data.x[rows.numpy()], data.y[rows.numpy()]
                images, labels = torch.from_numpy(x), torch.from_numpy(y)
                if attack is not None:
                    view = adapt(model)
                    examples = attack.perturb(view, x, y, seed=seed + epoch, bounds=(0, 1))
                    images = torch.cat([images, torch.from_numpy(examples)])
                    labels = torch.cat([labels, labels])
                self._step(model, optimizer, images, labels)
        model.eval()

    @staticmethod
    def _step(model: nn.Module, optimizer: Any, images: Tensor, labels: Tensor) -> None:
        model.train()
        optimizer.zero_grad()
        loss = require("torch").nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write `model.safetensors`."""
        require("safetensors.torch").save_file(model.state_dict(), folder / FILE)

    def load(self, loader: SecureLoader, folder: Path) -> LoadedModel:
        """Load the weights into a new network."""
        return loader.load(folder, into=digits_net())
