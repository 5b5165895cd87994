from __future__ import annotations

from pathlib import Path

import pytest

from mlsecops.signing import KeySigner, Signer, TrustPolicy


@pytest.fixture(scope="session")
def signer() -> KeySigner:
    return Signer.generate("p256")


@pytest.fixture
def policy(signer: KeySigner) -> TrustPolicy:
    return TrustPolicy(keys=[signer.public_key])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "layers").mkdir(parents=True)
    (root / "layers" / "0.bin").write_bytes(b"weights")
    (root / "layers-1.bin").write_bytes(b"more weights")
    (root / "config.json").write_text("{}")
    return root
