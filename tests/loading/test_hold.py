"""Verified bytes for readers that the library does not know."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlsecops.errors import ChangedDuringLoad, DigestMismatch, FormatRefused, UnsafeContent
from mlsecops.loading.snapshot import TIERS
from mlsecops.signing import Signer, sign
from tests.loading.conftest import MOUNTS, Trusting

pytest.importorskip("h5py")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

from tests.attackers import model_files, model_folders  # noqa: E402 - they need h5py


@pytest.fixture
def gguf(tmp_path: Path, signer: Signer) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(model_files.gguf(tensors=model_files.gguf_tensor("w", [4]), count=1))
    sign(path, signer)
    return path


@pytest.mark.parametrize("tier", TIERS)
def test_a_reader_gets_the_very_bytes_whatever_becomes_of_the_path(
    gguf: Path, trusting: Trusting, tmp_path_factory: pytest.TempPathFactory, tier: str
) -> None:
    honest = gguf.read_bytes()
    with trusting(tier=tier).hold(gguf) as held:
        other = gguf.with_name("other")
        other.write_bytes(b"GGUF evil")
        shutil.move(gguf.parent, moved := tmp_path_factory.mktemp("moved") / "away")
        gguf.parent.mkdir()
        (moved / "other").rename(gguf)
        assert Path(held.path).name == "model.gguf"
        assert Path(held.path).read_bytes() == honest
        assert (held.format, held.tier) == ("gguf", tier if MOUNTS else "private-copy")
    assert not Path(held.path).exists()


def test_a_pinned_file_that_is_changed_meanwhile_is_reported(
    gguf: Path, trusting: Trusting
) -> None:
    # Where nothing can be mounted a private copy is held, which the change does not reach.
    end = pytest.raises(ChangedDuringLoad) if MOUNTS else contextlib.nullcontext()
    with end, trusting(tier="pinned").hold(gguf) as held:
        os.utime(gguf)
        assert held.tier == ("pinned" if MOUNTS else "private-copy")


def test_what_was_not_signed_or_is_hostile_is_not_held(
    gguf: Path, trusting: Trusting, signer: Signer, tmp_path: Path
) -> None:
    data = gguf.read_bytes()
    gguf.write_bytes(data + b"x")
    with pytest.raises(DigestMismatch), trusting().hold(gguf):
        pass
    for name, content, error in (
        ("m.keras", model_folders.keras_file(model_folders.hostile_layers()["CVE-2024-3660"]),
         UnsafeContent),
        ("m.unknown", b"\x00nobody knows this", FormatRefused),
    ):  # fmt: skip
        path = tmp_path / name
        path.write_bytes(content)
        sign(path, signer)
        with pytest.raises(error), trusting().hold(path):
            pass


def test_a_folder_is_held_with_all_its_shards(
    tmp_path: Path, trusting: Trusting, signer: Signer
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for number, name in enumerate(names):
        safetensors_numpy.save_file({f"w{number}": np.full(3, number)}, model / name)
    index = {"weight_map": {f"w{number}": name for number, name in enumerate(names)}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    sign(model, signer)
    with trusting().hold(model) as held:
        folder = Path(held.path).parent
        assert Path(held.path).name == "model.safetensors.index.json"
        assert [safetensors_numpy.load_file(folder / name) for name in names]
        assert {each.name for each in folder.iterdir()} == {*names, Path(held.path).name}


def test_an_error_of_the_readers_own_passes_through(gguf: Path, trusting: Trusting) -> None:
    with pytest.raises(ZeroDivisionError), trusting().hold(gguf):
        raise ZeroDivisionError
