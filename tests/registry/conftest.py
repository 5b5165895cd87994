from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer.generate("p256")


@pytest.fixture(scope="session")
def policy(signer: Signer) -> TrustPolicy:
    return TrustPolicy(keys=[signer.public_key])


@pytest.fixture
def registry(tmp_path: Path, signer: Signer, policy: TrustPolicy) -> Registry:
    return Registry(tmp_path / "registry", signer=signer, policy=policy)


@pytest.fixture
def model(tmp_path: Path, signer: Signer) -> Callable[[bytes], Path]:
    """A signed model folder around some weights."""

    def build(weights: bytes) -> Path:
        folder = tmp_path / f"model-{weights.hex()[:16]}"
        (folder / "layers").mkdir(parents=True)
        (folder / "weights.bin").write_bytes(weights)
        (folder / "layers" / "one.bin").write_bytes(b"layer of " + weights)
        sign(folder, signer)
        return folder

    return build
