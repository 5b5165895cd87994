"""Checkpoints as training code writes them: what the scan passes is loaded, with its values."""

import collections
import datetime as dt
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from mlsecops.errors import FormatRefused, UnsafeContent
from mlsecops.loading import scan
from mlsecops.loading.readers import torch_reader
from mlsecops.loading.snapshot import TIERS
from mlsecops.signing import Signer, sign
from tests.attackers import model_files
from tests.loading.conftest import Trusting

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

VALUES = {
    "scalar": np.float64(0.9),
    "integer": np.int64(3),
    "flag": np.float64(1).__gt__(0),
    "text": np.str_("best"),
    "time": np.datetime64("2026-01-02"),
    "array": np.arange(6, dtype="i2").reshape(2, 3),
    "record": np.zeros(2, [("a", "i4"), ("b", "f8")]),
    "objects": np.array([{"a": 1}, None], dtype=object),
    "kind": np.dtype("f4"),
    "generator": np.random.get_state(),  # noqa: NPY002 - as older training code does
    "default": collections.defaultdict(list, {"a": [1]}),
    "nested": collections.defaultdict(dict, {"a": {"b": np.float32(1)}}),
    "recent": collections.deque([1.5, 2.5], maxlen=9),
    "order": collections.OrderedDict(a=1),
    "count": collections.Counter("aab"),
    "names": {"a", "b"},
    "fixed": frozenset({1}),
    "when": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    "long": 1 << 90,
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", sorted(VALUES))
def test_values_that_training_code_keeps_are_loaded(
    tmp_path: Path, signer: Signer, trusting: Trusting, name: str, protocol: int
) -> None:
    file = tmp_path / "run.pt"
    torch.save({"w": torch.ones(3), name: VALUES[name]}, file, pickle_protocol=protocol)
    assert scan(file).findings == ()
    sign(file, signer)
    model = trusting().load(file).model
    assert torch.equal(model["w"], torch.ones(3))
    assert repr(model[name]) == repr(VALUES[name])


@pytest.mark.parametrize("tier", TIERS)
def test_four_bit_floats_are_the_same_in_every_tier(
    tmp_path: Path, signer: Signer, trusting: Trusting, tier: str
) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415 - an optional package

    four = torch.arange(8, dtype=torch.uint8).reshape(2, 4).view(torch.float4_e2m1fn_x2)
    save_file({"x": four}, tmp_path / "m.safetensors")
    sign(tmp_path / "m.safetensors", signer)
    found = trusting(tier=tier).load(tmp_path / "m.safetensors", framework="torch").model["x"]
    assert (found.dtype, found.shape) == (four.dtype, four.shape)
    assert torch.equal(found.view(torch.uint8), four.view(torch.uint8))


def safetensors_of(kind: str, shape: list[int], size: int) -> bytes:
    header = json.dumps({"x": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + bytes(size)


@pytest.mark.parametrize(("kind", "size"), [("F6_E2M3", 3), ("I4", 2), ("NEWER", 5)])
def test_a_data_type_without_a_reader_is_unchecked_and_not_malformed(
    tmp_path: Path, kind: str, size: int
) -> None:
    (tmp_path / "m.safetensors").write_bytes(safetensors_of(kind, [4], size))
    verdict = scan(tmp_path / "m.safetensors")
    assert not verdict.findings
    assert kind in verdict.unchecked[0].why


@pytest.mark.parametrize(("shape", "size"), [([4, 3], 6), ([], 0), ([4], 3)])
def test_half_a_pair_of_four_bit_floats_is_refused(
    tmp_path: Path, shape: list[int], size: int
) -> None:
    (tmp_path / "m.safetensors").write_bytes(safetensors_of("F4", shape, size))
    assert scan(tmp_path / "m.safetensors").refused


def test_a_name_that_the_scan_did_not_find_is_not_imported(tmp_path: Path) -> None:
    file = tmp_path / "m.pt"
    file.write_bytes(model_files.torch_zip(model_files.calling("os.getenv", "HOME", protocol=2)))
    with pytest.raises(UnsafeContent, match="getenv"):
        torch_reader.read_torch(str(file), device="cpu", legacy=False, names=["builtins.set"])


def test_a_refusal_never_advises_to_drop_the_checks(tmp_path: Path) -> None:
    file = tmp_path / "m.pt"
    file.write_bytes(model_files.torch_zip(b"\x80\x02K\x01K\x02s."))
    with pytest.raises(FormatRefused) as caught:
        torch_reader.read_torch(str(file), device="cpu", legacy=False)
    assert "weights_only" not in str(caught.value)


def test_a_tar_archive_is_not_read_as_a_legacy_file(tmp_path: Path) -> None:
    """Torch opens a tar archive of any first bytes in a reader of its own."""
    file, data = tmp_path / "m.pt", pickle.dumps({"a": 1}, protocol=2)
    with tarfile.open(file, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(FormatRefused):
        torch_reader.read_torch(str(file), device="cpu", legacy=True)


def test_a_checkpoint_in_the_old_layout_keeps_its_numpy_values(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    file = tmp_path / "run.pth"
    value: dict[str, Any] = {"w": torch.ones(3), "best": collections.defaultdict(int, a=1)}
    torch.save(value, file, _use_new_zipfile_serialization=False)
    sign(file, signer)
    assert trusting().load(file).model["best"]["a"] == 1


def test_a_program_of_torchscript_is_never_handed_to_its_reader(tmp_path: Path) -> None:
    """`torch.load` without `weights_only` gives such an archive to `torch.jit.load`."""

    class Doubling(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x

    place = tmp_path / "m.pt"
    torch.jit.script(Doubling()).save(str(place))
    names = {"torch.nn.modules.module.Module", "collections.OrderedDict"}
    with patch("torch.jit.load") as jit_load:
        with pytest.raises(FormatRefused):
            torch_reader.read_torch(str(place), device="cpu", legacy=False, names=names)
        with place.open("rb") as stream, pytest.raises(FormatRefused):
            torch_reader.read_torch_bytes(stream, names=names, device="cpu")
    jit_load.assert_not_called()
