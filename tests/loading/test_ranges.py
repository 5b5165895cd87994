from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import (
    ContentRefused,
    DigestMismatch,
    FormatRefused,
    Isolated,
    UntrustedSigner,
    UsageError,
)
from mlsecops.loading import Limits, SecureLoader
from mlsecops.loading.ranges import sharded_files
from mlsecops.provenance.files.pieces import Found
from mlsecops.signing import Signer, TrustPolicy, Verifier, bundle_path, sign

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

SHARD = 1000
SIGNER = Signer.generate("p256")


def loader(**options: Any) -> SecureLoader:
    return SecureLoader(TrustPolicy(keys=[SIGNER.public_key]), **options)


@pytest.fixture
def weights() -> dict[str, Any]:
    torch.manual_seed(0)
    shapes = {"a": (40, 7), "b": (3,), "c": (0, 4), "d": (500, 5), "e": ()}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.fixture
def file(tmp_path: Path, weights: dict[str, Any]) -> Path:
    safetensors_torch.save_file(weights, tmp_path / "m.safetensors")
    sign(tmp_path / "m.safetensors", SIGNER, shard_size=SHARD)
    return tmp_path / "m.safetensors"


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, Any]) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    parts = {"one.safetensors": ("a", "b"), "two.safetensors": ("c", "d", "e")}
    for name, names in parts.items():
        safetensors_torch.save_file({each: weights[each] for each in names}, place / name)
    mapping = {tensor: name for name, names in parts.items() for tensor in names}
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapping}))
    (place / "README.md").write_text("text\n" * 900)
    sign(place, SIGNER, shard_size=SHARD)
    return place


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_all_tensors_of_a_sharded_signature_are_loaded(
    request: pytest.FixtureRequest, weights: dict[str, Any], kind: str, framework: Any
) -> None:
    loaded = loader().load(request.getfixturevalue(kind), framework=framework)
    assert loaded.model.keys() == weights.keys()
    for name, tensor in weights.items():
        np.testing.assert_array_equal(np.asarray(loaded.model[name]), tensor.numpy())
    assert loaded.verified.compared is None
    assert loaded.tier == "private-copy"


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("names", [["a"], ["b"], ["c"], ["d", "e"], []])
def test_only_the_wanted_tensors_are_read(
    request: pytest.FixtureRequest, weights: dict[str, Any], kind: str, names: list[str]
) -> None:
    loaded = loader().load(request.getfixturevalue(kind), tensors=names)
    assert sorted(loaded.model) == sorted(names)
    for name in names:
        assert torch.equal(loaded.model[name], weights[name])
    compared = loaded.verified.compared
    assert compared is not None
    assert len(compared) < len(loaded.verified.manifest) or "d" in names


def test_a_change_outside_the_wanted_ranges_is_left_to_the_whole_load(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert "a" in loader().load(file, tensors=["a"]).model
    with pytest.raises(DigestMismatch) as caught:
        loader().load(file)
    assert len(caught.value.changed) == 1


@pytest.mark.parametrize("at", [3, 20, 400])
def test_a_change_of_header_or_tensor_is_refused_before_anything_is_handed_on(
    file: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    monkeypatch.setattr(sharded_files.ShardedFiles, "part", lambda *_: pytest.fail("handed on"))
    with pytest.raises(DigestMismatch):
        loader().load(file, tensors=["a"])


def test_a_tensor_that_is_swapped_after_it_was_read_is_not_seen(
    file: Path, weights: dict[str, Any]
) -> None:
    loaded = loader().load(file, tensors=["d"])
    file.write_bytes(bytes(len(file.read_bytes())))
    assert torch.equal(loaded.model["d"], weights["d"])


def test_files_that_come_go_or_grow_are_refused_without_reading_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    monkeypatch.setattr(sharded_files.ShardedFiles, "_compare", lambda *each: read.append(each))
    (folder / "more.txt").write_text("x")
    with pytest.raises(DigestMismatch) as caught:
        loader().load(folder, tensors=["a"])
    assert caught.value.added == ("more.txt:0:1",)
    (folder / "more.txt").unlink()
    with (folder / "two.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(DigestMismatch):
        loader().load(folder, tensors=["a"])
    (folder / "two.safetensors").unlink()
    with pytest.raises((DigestMismatch, ContentRefused)):
        loader().load(folder, tensors=["a"])
    assert read == []


def test_companions_are_compared_by_a_whole_load_only(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(text.replace("text", "next", 1))
    assert loader().load(folder, tensors=["a"]).verified.compared is not None
    with pytest.raises(DigestMismatch) as caught:
        loader().load(folder)
    assert caught.value.changed == ("README.md:0:1000",)


def test_an_index_that_lies_about_a_shard_is_refused(folder: Path) -> None:
    place = folder / "model.safetensors.index.json"
    value = json.loads(place.read_text())
    value["weight_map"]["a"] = "two.safetensors"
    place.write_text(json.dumps(value))
    sign(folder, SIGNER, shard_size=SHARD)
    with pytest.raises((UsageError, FormatRefused)):
        loader().load(folder, tensors=["a"])
    with pytest.raises(FormatRefused):
        loader().load(folder)


def test_a_signed_header_that_lies_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4000]}}).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(8)
    for bad in (data, b"\xff" * 8 + data[8:], b"abc"):
        (tmp_path / "m.safetensors").write_bytes(bad)
        sign(tmp_path / "m.safetensors", SIGNER, shard_size=SHARD)
        with pytest.raises(ContentRefused):
            loader().load(tmp_path / "m.safetensors", tensors=["a"])


def test_another_signer_another_digest_and_isolated_parts_are_refused(file: Path) -> None:
    other = SecureLoader(TrustPolicy(keys=[Signer.generate("p256").public_key]))
    with pytest.raises(UntrustedSigner):
        other.load(file, tensors=["a"])
    found = loader().load(file, tensors=["a"])
    first = found.verified.manifest[found.verified.compared[0]]  # type: ignore[index] # not None

    class Isolating:
        def isolated(self, digest: Any) -> str | None:
            return "an incident" if digest == first else None

    with pytest.raises(Isolated):
        loader(isolation=Isolating()).load(file, tensors=["a"])


def test_wrong_names_and_options_are_wrong_use(file: Path, folder: Path) -> None:
    for place in (file, folder):
        with pytest.raises(UsageError, match="no zz"):
            loader().load(place, tensors=["a", "zz"])
        with pytest.raises(UsageError, match="into="):
            loader().load(place, tensors=["a"], into=torch.nn.Linear(1, 1))
        with pytest.raises(UsageError, match="tensors"):
            loader().load(place, tensors="a")  # type: ignore[arg-type] # one text, not several


def test_a_module_is_filled_from_a_sharded_signature(tmp_path: Path) -> None:
    net, like = torch.nn.Linear(30, 20), torch.nn.Linear(30, 20)
    safetensors_torch.save_file(net.state_dict(), tmp_path / "m.safetensors")
    sign(tmp_path / "m.safetensors", SIGNER, shard_size=SHARD)
    loader().load(tmp_path / "m.safetensors", into=like)
    assert torch.equal(net.weight, like.weight)


def test_tensors_go_to_a_device_file_by_file(folder: Path) -> None:
    loaded = loader().load(folder, device="meta")
    assert {tensor.device.type for tensor in loaded.model.values()} == {"meta"}
    assert len(loaded.model) == 5


def test_other_formats_signed_in_shards_are_refused_with_advice(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "m.pt")
    sign(tmp_path / "m.pt", SIGNER, shard_size=SHARD)
    with pytest.raises(FormatRefused, match="sign whole files"):
        loader().load(tmp_path / "m.pt")


def test_a_signature_of_whole_files_loads_the_whole_and_picks(
    tmp_path: Path, weights: dict[str, Any]
) -> None:
    for name, save in (("m.safetensors", safetensors_torch.save_file), ("m.pt", torch.save)):
        save(weights, tmp_path / name)
        sign(tmp_path / name, SIGNER)
        loaded = loader().load(tmp_path / name, tensors=["b", "d"])
        assert sorted(loaded.model) == ["b", "d"]
        assert loaded.verified.compared is None
        with pytest.raises(UsageError, match="no zz"):
            loader().load(tmp_path / name, tensors=["zz"])
    np.save(tmp_path / "m.npy", np.zeros(3))
    sign(tmp_path / "m.npy", SIGNER)
    with pytest.raises(UsageError, match="ndarray"):
        loader().load(tmp_path / "m.npy", tensors=["b"])


@pytest.mark.parametrize("tier", ["sealed", "pinned", "private-copy"])
def test_progress_rises_to_the_whole_of_a_signature_of_files(
    tmp_path: Path, weights: dict[str, Any], tier: Any
) -> None:
    safetensors_torch.save_file(weights, tmp_path / "m.safetensors")
    sign(tmp_path / "m.safetensors", SIGNER)
    seen: list[tuple[int, int]] = []
    loader(tier=tier).load(
        tmp_path / "m.safetensors", progress=lambda done, total: seen.append((done, total))
    )
    size = (tmp_path / "m.safetensors").stat().st_size
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)


def test_progress_of_ranges_is_of_what_is_read(file: Path) -> None:
    seen: list[tuple[int, int]] = []
    loader().load(file, tensors=["a"], progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert 0 < seen[-1][0] <= file.stat().st_size + SHARD


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("tier", ["sealed", "pinned", "private-copy"])
def test_a_model_that_is_signed_in_shards_is_held(
    request: pytest.FixtureRequest, kind: str, tier: str
) -> None:
    path: Path = request.getfixturevalue(kind)
    with loader(tier=tier).hold(path) as held:
        files = (
            [path] if kind == "file" else [each for each in path.iterdir() if each.suffix != ".sig"]
        )
        for each in files:
            assert (Path(held.folder) / each.name).read_bytes() == each.read_bytes()
        assert held.verified.compared is None


@pytest.mark.parametrize("attack", ["flip", "grow", "shorten", "add", "add empty", "remove"])
def test_a_changed_model_that_is_signed_in_shards_is_not_held(folder: Path, attack: str) -> None:
    weights = folder / "two.safetensors"
    data = weights.read_bytes()
    if attack == "flip":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif attack == "grow":
        weights.write_bytes(data + b"x")
    elif attack == "shorten":
        weights.write_bytes(data[:-1])
    elif attack == "remove":
        (folder / "README.md").unlink()
    else:
        (folder / "more.txt").write_bytes(b"" if "empty" in attack else b"x")
    with pytest.raises(DigestMismatch), loader().hold(folder):
        pytest.fail("it was held")


def test_what_was_not_read_is_not_handed_on(file: Path) -> None:
    found = list_file(file)
    signed = Verifier(TrustPolicy(keys=[SIGNER.public_key])).open(
        bundle_path(file).read_bytes(), where="m"
    )
    with sharded_files.ShardedFiles(
        found, signed.manifest, single=True, limits=Limits(), where="m"
    ) as held:
        (name,) = found
        held.read({name: [(0, 10)]})
        assert bytes(held.part(name, 0, 10)) == file.read_bytes()[:10]
        with pytest.raises(UsageError, match="bytes 5000 to 5001 were not read"):
            held.part(name, 5000, 5001)
        with pytest.raises(FormatRefused, match="expected them inside the file"):
            held.read({name: [(0, file.stat().st_size + 1)]})


def list_file(file: Path) -> dict[str, Found]:
    return {file.name: Found(str(file), file.stat().st_size)}
