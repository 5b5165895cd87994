"""The name of a loaded model: what another signed model in its place is refused by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlsecops.cli import main
from mlsecops.errors import UntrustedSigner
from mlsecops.loading import SecureLoader
from mlsecops.signing import Scope, Signer, TrustedKey, TrustPolicy, sign
from tests.attackers.signing import put_in_place

RELEASE, TOY = Signer.generate("p256"), Signer.generate("p256")
SCOPED = TrustPolicy(
    keys=[
        TrustedKey(RELEASE.public_key, Scope(models=("fraud-*",))),
        TrustedKey(TOY.public_key, Scope(models=("toy-*",))),
    ]
)


@pytest.fixture(params=["folder", "file"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The served model and a toy, each signed by its key; files or folders."""
    places = []
    for name, key in (("fraud-model", RELEASE), ("toy-model", TOY)):
        place = tmp_path / (name if request.param == "folder" else f"{name}.npy")
        if request.param == "folder":
            place.mkdir()
        np.save(place / "w.npy" if place.is_dir() else place, np.full(2, len(name)))
        sign(place, key)
        places.append(place)
    return places[0], places[1]


def test_another_signed_model_is_neither_loaded_nor_held(models: tuple[Path, Path]) -> None:
    served, toy = models
    loader = SecureLoader(SCOPED)
    digest = loader.load(toy).digest
    put_in_place(served, toy)
    with pytest.raises(UntrustedSigner, match=r"'fraud-model.*'toy-model"):
        loader.load(served)
    with pytest.raises(UntrustedSigner, match=r"'fraud-model.*'toy-model"), loader.hold(served):
        pytest.fail("held")
    assert loader.load(served, digest=digest).verified.name == toy.name
    assert loader.load(served, name=toy.name).digest == digest


def test_a_demanded_name_is_enforced_by_every_policy(models: tuple[Path, Path]) -> None:
    served, _ = models
    loader = SecureLoader(TrustPolicy(keys=[RELEASE.public_key]))
    digest = loader.load(served, name=served.name).digest
    for options in ({"name": "fraud-2"}, {"name": "fraud-2", "digest": digest}):
        with pytest.raises(UntrustedSigner, match="'fraud-2'"):
            loader.load(served, **options)
        with pytest.raises(UntrustedSigner, match="'fraud-2'"), loader.hold(served, **options):
            pytest.fail("held")


def test_the_commands_load_by_name(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served, toy = models
    lines = []
    for key, names in ((RELEASE, "fraud-*"), (TOY, "toy-*")):
        lines += ["[[keys]]", f"pem = '''{key.public_key.pem}'''", f'models = ["{names}"]']
    (tmp_path / "trust.toml").write_text("\n".join(lines))
    load = ["load", str(put_in_place(served, toy)), "--policy", str(tmp_path / "trust.toml")]
    assert main([*load, "--name", toy.name]) == 0
    capsys.readouterr()
    assert main(load) == 1
    assert "toy-model" in capsys.readouterr().err
