"""Network interface of the demo, one implementation for each framework."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.demo.digits import Split
    from mlsecops.loading import LoadedModel, SecureLoader
    from mlsecops.robustness import Attack

_HOMES: Final = {
    "torch": ("mlsecops.demo.torch_network", "TorchNetwork"),
    "tensorflow": ("mlsecops.demo.keras_network", "KerasNetwork"),
}


class Network(Protocol):
    """A small convolutional network in one framework, on `(n, 1, 8, 8)` or `(n, 8, 8, 1)`."""

    title: str
    channels_first: bool

    def build(self, *, seed: int) -> Any:
        """Make an untrained model."""

    def fit(
        self, model: Any, data: Split, *, epochs: int, seed: int, attack: Attack | None = None
    ) -> None:
        """Train in place; with an attack, also on its examples (Madry 2018)."""

    def save(self, model: Any, folder: Path) -> None:
        """Write the model as one file into a folder."""

    def load(self, loader: SecureLoader, folder: Path) -> LoadedModel:
        """Load the model through a SecureLoader."""


def network(framework: str) -> Network:
    """Import a framework, `"torch"` or `"tensorflow"`, and return its network."""
    if framework not in _HOMES:
        raise UsageError(f"framework: unknown {framework!r}; expected {' or '.join(_HOMES)}")
    module, name = _HOMES[framework]
    return cast("Network", getattr(import_module(module), name)())
