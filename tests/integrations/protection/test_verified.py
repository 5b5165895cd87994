"""Reads of a signed folder by hub libraries: all of it, a subfolder, or its settings."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import DigestMismatch, SignatureMissing
from mlsecops.integrations.protection.calls import Call
from mlsecops.integrations.protection.verified import verified_call
from mlsecops.loading.holding.part import HoldOptions
from mlsecops.signing import Signer, TrustPolicy, sign

save_file = pytest.importorskip("safetensors.numpy").save_file
SIGNER = Signer.generate("p256")
OPTIONS = HoldOptions(policy=TrustPolicy(keys=[SIGNER.public_key]))


def called(path: Path, needs: Any) -> Any:
    """Names and contents that a library would find at the path, and what it calls itself then."""

    def library(path: str) -> Any:
        files = {each.name: each.read_bytes() for each in Path(path).iterdir() if each.is_file()}
        return SimpleNamespace(files=files, name_or_path=path, config=None)

    call = Call(module="library", name="load", argument="path", needs=needs)
    return verified_call(call, library, (), {"path": path}, OPTIONS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "run"
    for part in ("base", "model"):
        (place / part).mkdir(parents=True)
        save_file({"w": np.ones(3)}, place / part / "model-00001-of-00001.safetensors")
        index = {"weight_map": {"w": "model-00001-of-00001.safetensors"}}
        (place / part / "model.safetensors.index.json").write_text(json.dumps(index))
        (place / part / "config.json").write_text("{}")
    sign(place, SIGNER)
    return place


def test_settings_are_read_without_weights(folder: Path) -> None:
    found = called(folder / "base", "settings")
    assert sorted(found.files) == ["config.json"]
    assert found.name_or_path == str(folder / "base")


@pytest.mark.parametrize("part", ["base", "model"])
def test_a_subfolder_of_a_signed_folder_is_read_whole(folder: Path, part: str) -> None:
    """Also one called `model`, next to the `model.sig` of the folder above."""
    assert sorted(called(folder / part, "folder").files) == [
        "config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json",
    ]  # fmt: skip
    (folder / part / "config.json").write_text('{"a": 1}')
    with pytest.raises(DigestMismatch) as error:
        called(folder / part, "folder")
    assert error.value.changed == (f"{part}/config.json",)


def test_a_file_that_was_planted_next_to_the_settings_is_refused(folder: Path) -> None:
    (folder / "base/adapter_config.json").write_text("{}")
    with pytest.raises(DigestMismatch) as error:
        called(folder / "base", "settings")
    assert error.value.added == ("base/adapter_config.json",)
    (folder / "base/adapter_config.json").unlink()
    (folder / "base/config.json").unlink()
    with pytest.raises(DigestMismatch) as error:
        called(folder / "base", "settings")
    assert error.value.removed == ("base/config.json",)


def test_a_folder_without_a_signature_above_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for needs in ("settings", "folder"):
        with pytest.raises(SignatureMissing):
            called(tmp_path, needs)
    with pytest.raises(SignatureMissing):
        called(Path("org/model-that-nobody-downloaded"), "folder")
