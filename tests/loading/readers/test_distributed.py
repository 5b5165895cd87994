"""Distributed checkpoints (`torch.distributed.checkpoint`): scanned, verified, put together."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import ContentRefused, DigestMismatch, FormatRefused
from mlsecops.loading import scan, scan_each
from mlsecops.loading.snapshot import TIERS
from mlsecops.signing import Signer, sign
from tests.attackers import model_files
from tests.loading.conftest import Trusting

torch = pytest.importorskip("torch")
checkpoint = pytest.importorskip("torch.distributed.checkpoint")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def state() -> dict[str, Any]:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    half = {"w": torch.arange(6.0).to(torch.bfloat16).reshape(2, 3)}
    return {"model": net.state_dict(), "optim": optimizer.state_dict(), "half": half, "epoch": 3}


@pytest.fixture
def folder(tmp_path: Path, state: Any) -> Path:
    checkpoint.save(state, checkpoint_id=str(tmp_path / "step-100"))
    return tmp_path / "step-100"


def test_its_files_are_known_and_pass(folder: Path) -> None:
    found = {Path(v.path).name: v for v in scan_each(folder)}
    assert {n: str(v.format) for n, v in found.items()} == {
        ".metadata": "distributed-metadata", "__0_0.distcp": "distributed",
    }  # fmt: skip
    assert scan(folder).findings == ()
    assert scan(folder).unchecked == ()


@pytest.mark.parametrize("tier", TIERS)
def test_it_is_loaded_as_it_was_saved(
    folder: Path, state: Any, signer: Signer, trusting: Trusting, tier: str
) -> None:
    sign(folder, signer)
    loaded = trusting(tier=tier).load(folder).model
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["half"]["w"], state["half"]["w"])
    assert {n: torch.equal(t, state["model"][n]) for n, t in loaded["model"].items()} == (
        dict.fromkeys(state["model"], True)
    )
    assert loaded["optim"]["param_groups"][0]["betas"] == (0.9, 0.999)


def test_chunks_of_one_tensor_are_put_together(
    folder: Path, signer: Signer, trusting: Trusting
) -> None:
    """Rewrite the metadata as two processes leave it: each with half of a tensor's rows."""
    whole = torch.arange(12.0).reshape(4, 3)
    places, pieces, at = {}, [], 0
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    index_kind, place_kind = (type(each) for each in next(iter(metadata.storage_data.items())))
    entry = metadata.state_dict_metadata["half.w"]
    for rows in (0, 2):
        torch.save(whole[rows : rows + 2].clone(), folder / "part")
        data = (folder / "part").read_bytes()
        index = index_kind("w", torch.Size([rows, 0]))
        places[index] = place_kind("__0_0.distcp", at, len(data))
        pieces.append(data)
        at += len(data)
    (folder / "part").unlink()
    (folder / "__0_0.distcp").write_bytes(b"".join(pieces))
    entry.size, entry.properties.dtype = torch.Size([4, 3]), torch.float32
    metadata.state_dict_metadata, metadata.storage_data = {"w": entry}, places
    metadata.planner_data = {"w": ("w",)}
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    sign(folder, signer)
    assert torch.equal(trusting().load(folder).model["w"], whole)


def changed(folder: Path, **fields: Any) -> None:
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    for place in metadata.storage_data.values():
        for name, value in fields.items():
            setattr(place, name, value)
        break
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


@pytest.mark.parametrize(
    "fields",
    [{"relative_path": "../../other"}, {"relative_path": "/etc/passwd"}, {"length": 1 << 40},
     {"relative_path": "missing.distcp"}, {"offset": -1}],
    ids=["parent", "absolute", "beyond", "missing", "negative"],
)  # fmt: skip
def test_a_range_that_leaves_the_checkpoint_is_refused(
    folder: Path, signer: Signer, trusting: Trusting, fields: Any
) -> None:
    changed(folder, **fields)
    assert scan(folder).refused
    sign(folder, signer)
    with pytest.raises(ContentRefused):
        trusting().load(folder)


def test_a_range_inside_an_archive_is_not_read(
    folder: Path, signer: Signer, trusting: Trusting
) -> None:
    """An archive in the bytes of a tensor is none that the scan has looked into."""
    changed(folder, offset=8, length=100)
    sign(folder, signer)
    with pytest.raises(FormatRefused, match="archives that were scanned"):
        trusting().load(folder)


def test_a_tensor_larger_than_what_is_stored_is_refused(folder: Path) -> None:
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    metadata.state_dict_metadata["half.w"].size = torch.Size([1 << 20, 1 << 20])
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    assert [f.rule for f in scan(folder).findings] == ["limit-exceeded"]


@pytest.mark.parametrize("tail", [b"", b"N."])
def test_a_list_of_ranges_is_one_pickle_with_plain_sizes(folder: Path, tail: bytes) -> None:
    place = folder / ".metadata"
    if not tail:
        metadata = pickle.loads(place.read_bytes())
        metadata.state_dict_metadata["half.w"].size = None
        place.write_bytes(pickle.dumps(metadata))
    place.write_bytes(place.read_bytes() + tail)
    said = [found.message for found in scan(place).findings]
    assert any(
        ("bytes after the pickle's end" if tail else "a tensor whose size is computed") in each
        for each in said
    )


def test_code_in_any_archive_of_a_shard_is_refused(folder: Path, tmp_path: Path) -> None:
    evil = model_files.torch_zip(model_files.calling("os.mkdir", str(tmp_path / "ran")))
    shard = folder / "__0_0.distcp"
    honest = shard.read_bytes()
    for data in (honest + evil, evil + honest):
        shard.write_bytes(data)
        assert "pickle-global" in {f.rule for f in scan(shard).findings}
    assert not (tmp_path / "ran").exists()


def test_code_in_the_metadata_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / ".metadata").write_bytes(
        model_files.calling("os.mkdir", str(tmp_path / "torch.distributed.checkpoint.metadata"))
    )
    assert scan(folder).refused


@pytest.mark.parametrize("tail", [b"\0", b"PK\x05\x06" + bytes(18), b"?" * 999])
def test_bytes_that_belong_to_no_archive_are_unchecked(folder: Path, tail: bytes) -> None:
    with (folder / "__0_0.distcp").open("ab") as stream:
        stream.write(tail)
    verdict = scan(folder / "__0_0.distcp")
    assert verdict.unchecked or verdict.refused


def test_a_changed_shard_is_refused(folder: Path, signer: Signer, trusting: Trusting) -> None:
    sign(folder, signer)
    data = bytearray((folder / "__0_0.distcp").read_bytes())
    data[-1] ^= 1
    (folder / "__0_0.distcp").write_bytes(data)
    with pytest.raises(DigestMismatch):
        trusting().load(folder)
