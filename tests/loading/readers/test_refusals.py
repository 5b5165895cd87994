"""Bytes that a framework refuses or a reader cannot hold: our errors, and what they say."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from mlsecops.errors import ChangedDuringLoad, FormatRefused, UsageError
from mlsecops.loading import Limits, snapshot
from mlsecops.loading.readers import decode, keras_reader, onnx_reader, pickle_reader, torch_reader
from tests.attackers import model_files


@pytest.mark.parametrize(
    ("read", "package", "message"),
    [
        (lambda path: onnx_reader.read_onnx(path, external={}), "onnx", "onnx cannot read"),
        (lambda path: pickle_reader.read_pickle(path, names=()), "pickle", "cannot be read"),
        (lambda path: pickle_reader.read_skops(path, names=()), "skops", "skops refuses"),
        (
            lambda path: torch_reader.read_safetensors(
                path, framework="numpy", device="cpu", lasting=True
            ),
            "safetensors",
            "safetensors cannot read",
        ),
    ],
)
def test_what_a_library_cannot_read_is_refused(
    tmp_path: Path, read: Callable[[str], object], package: str, message: str
) -> None:
    pytest.importorskip(package)
    (tmp_path / "file").write_bytes(b"\x80\x04garbage")
    with pytest.raises(FormatRefused, match=message):
        read(str(tmp_path / "file"))


def test_what_keras_and_tensorflow_raise_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Mock(side_effect=RuntimeError("broken"))
    stand_in = SimpleNamespace(
        saving=SimpleNamespace(load_model=failing), saved_model=SimpleNamespace(load=failing)
    )
    monkeypatch.setattr(keras_reader, "require", lambda _: stand_in)
    monkeypatch.setattr(keras_reader, "require_patched", lambda _: None)
    (tmp_path / "file").write_bytes(b"bytes")
    with pytest.raises(FormatRefused, match="Keras refuses the archive: broken"):
        keras_reader.read_keras(str(tmp_path / "file"))
    with pytest.raises(FormatRefused, match="TensorFlow refuses the SavedModel: broken"):
        keras_reader.read_savedmodel({"saved_model.pb": str(tmp_path / "file")})


def test_external_data_that_was_not_checked_is_not_read(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "m.onnx").write_bytes(model_files.onnx(tensor=model_files.outside("w.bin")))
    with pytest.raises(FormatRefused, match=r"'w\.bin', which was not checked"):
        onnx_reader.read_onnx(str(tmp_path / "m.onnx"), external={})


def test_tensors_go_into_a_model_of_their_framework() -> None:
    request = Mock(into=[])
    with pytest.raises(UsageError, match="into= is a list: expected a torch module"):
        decode.fill(request, {})
    with pytest.raises(UsageError, match="into= is a list: expected a Keras model"):
        decode._keras(request)


@pytest.mark.parametrize("size", [3, 5])
def test_a_small_file_that_changes_its_size_meanwhile_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        assert snapshot._whole(descriptor, 4, "m") == b"1234"
        with pytest.raises(ChangedDuringLoad, match=f"expected {size} bytes"):
            snapshot._whole(descriptor, size, "m")
    finally:
        os.close(descriptor)


def test_a_file_that_cannot_be_held_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    full = Mock(__enter__=Mock(side_effect=OSError(errno.ENOSPC, "no space")), __exit__=Mock())
    monkeypatch.setattr(snapshot, "hold", lambda *_, **__: full)
    held = snapshot.snapshot(
        {"m": str(tmp_path / "file")}, tier="sealed", algorithm="sha256", limits=Limits()
    )
    with pytest.raises(UsageError, match="cannot hold m sealed: no space"), held:
        pass
