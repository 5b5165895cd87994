"""Registry names against the names that signatures bear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlsecops import errors
from mlsecops.loading import SecureLoader
from mlsecops.registry import Registry
from mlsecops.signing import Scope, Signer, TrustedKey, TrustPolicy, sign

np = pytest.importorskip("numpy")
safetensors = pytest.importorskip("safetensors.numpy")

TOY = Signer.generate("p256")


@pytest.fixture
def scoped(signer: Signer) -> TrustPolicy:
    names = {signer: ("fraud",), TOY: ("toy",)}
    return TrustPolicy(
        keys=[TrustedKey(key.public_key, Scope(models=models)) for key, models in names.items()]
    )


@pytest.fixture
def signed(tmp_path: Path) -> Callable[[str, Signer], Path]:
    def build(name: str, key: Signer) -> Path:
        folder = tmp_path / "candidates" / name
        folder.mkdir(parents=True)
        safetensors.save_file({"w": np.full(2, len(name), "f4")}, folder / "model.safetensors")
        sign(folder, key, name=name)
        return folder.rename(tmp_path / f"run-{name}")

    return build


def test_a_model_is_published_only_under_the_name_of_its_signature(
    tmp_path: Path, signer: Signer, scoped: TrustPolicy, signed: Callable[[str, Signer], Path]
) -> None:
    registry = Registry(
        tmp_path / "registry", signer=signer, policy=scoped, log_keys=[signer.public_key]
    )
    registry.publish("fraud", signed("fraud", signer))
    with pytest.raises(errors.UntrustedSigner, match=r"expected .*'fraud', got .*'toy'"):
        registry.publish("fraud", signed("toy", TOY))
    registry.promote("fraud", 1, "serving")
    assert registry.history("fraud")[0].detail["signed_name"] == "fraud"
    version = registry.resolve("fraud", "serving")
    assert version.path is not None
    loader = SecureLoader(scoped, isolation=registry)
    assert loader.load(version.path, digest=version.digest).verified.name == "fraud"
    assert loader.load(version.path, name="fraud").digest == version.digest
    with pytest.raises(errors.UntrustedSigner, match=r"name=, --name, or its digest"):
        loader.load(version.path)
    with pytest.raises(errors.UntrustedSigner, match="'toy'"):
        loader.load(version.path, digest=version.digest, name="toy")


def test_what_a_wider_policy_let_in_neither_serves_nor_resolves_later(
    tmp_path: Path, signer: Signer, scoped: TrustPolicy, signed: Callable[[str, Signer], Path]
) -> None:
    wide = TrustPolicy(keys=[signer.public_key, TOY.public_key])
    options: dict[str, Any] = {"signer": signer, "log_keys": [signer.public_key]}
    before = Registry(tmp_path / "registry", policy=wide, **options)
    before.publish("fraud", signed("toy", TOY))
    before.promote("fraud", 1, "serving")
    assert before.history("fraud")[0].detail["signed_name"] == "toy"
    before.publish("fraud", signed("fraud", signer))
    before.promote("fraud", 2, "serving")
    now = Registry(tmp_path / "registry", policy=scoped, **options)
    for call in (
        lambda: now.promote("fraud", 1, "approved"),
        lambda: now.resolve("fraud", 1),
        lambda: now.verify("fraud", 1),
    ):
        with pytest.raises(errors.UntrustedSigner, match=r"'fraud', got .*'toy'"):
            call()
    with pytest.raises(errors.RegistryError, match="'toy'"):
        now.rollback("fraud")
