"""What it costs to load a signed model through SecureLoader instead of trusting the path.

A state dict of 64 MiB in safetensors and in torch's own format, in the page cache. The peers read
the path as they are used without this library: nothing is verified, scanned or pinned.

Run: ``python -m benchmarks loading``
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

from benchmarks.measure import Comparison, compare
from mlsecops import SecureLoader, Signer, TrustPolicy, sign

LAYERS: Final = 16
SIDE: Final = 1024  # 16 layers of 1024 × 1024 float32 are 64 MiB
ROUNDS: Final = 9


def comparisons() -> Iterator[Comparison]:
    """One comparison for each format."""
    torch.set_num_threads(1)
    weights = {f"layer.{number}.weight": torch.randn(SIDE, SIDE) for number in range(LAYERS)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file(weights, path)
        yield loaded("load 64 MiB safetensors", path, {"safetensors load_file": load_file})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        torch.save(weights, path)
        yield loaded("load 64 MiB state dict", path, {"torch.load, weights_only": plain_torch})


def plain_torch(path: Path) -> Any:
    """Load as torch does by default."""
    return torch.load(path, weights_only=True)


def loaded(what: str, path: Path, peers: dict[str, Callable[[Path], Any]]) -> Comparison:
    """Compare loading a file, which is signed for it; every tensor is read once in full."""
    signer = Signer.generate("p256")
    sign(path, signer)
    policy = TrustPolicy(keys=[signer.public_key])
    secure = {
        "SecureLoader, sealed": SecureLoader(policy),
        "SecureLoader, private copy": SecureLoader(policy, tier="private-copy"),
    }
    return compare(
        what,
        {
            **{name: _job(loader, path) for name, loader in secure.items()},
            **{name: (lambda load=load: touch(load(path))) for name, load in peers.items()},
        },
        ours="SecureLoader, sealed",
        rounds=ROUNDS,
    )


def _job(loader: SecureLoader, path: Path) -> Callable[[], object]:
    return lambda: touch(loader.load(path, framework="torch").model)


def touch(weights: Any) -> float:
    """Read every tensor: a memory map that nobody reads costs nothing and is worth nothing."""
    return float(sum(tensor.sum() for tensor in weights.values()))
