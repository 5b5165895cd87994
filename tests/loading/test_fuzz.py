"""A short run of what ``make fuzz`` does for long: changed files at every parser."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("h5py")
pytest.importorskip("torch")

from tests import fuzzing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seeds")


@pytest.fixture(scope="module")
def honest(folder: Path) -> Any:
    return fuzzing.seeds(folder)


@pytest.mark.parametrize(
    "name",
    ["pickle.pkl", "unpickler.pkl", "joblib.joblib", "torch.pt", "reader.pt", "zip.zip", "tar.tar",
     "safetensors.safetensors", "hdf5.h5", "keras.keras", "gguf.gguf", "onnx.onnx",
     "savedmodel/saved_model.pb", "tflite.tflite", "skops.skops", "npy.npy", "bundle.sig",
     "template.jinja", "config.json", "settings.yaml", "tables.toml", "registry.log",
     "playbook.json", "rules.toml", "access.toml", "trust.toml", "distributed.distcp",
     *sorted(fuzzing.engine_seeds())],
)  # fmt: skip
def test_a_parser_answers_whatever_it_is_given(folder: Path, honest: Any, name: str) -> None:
    fuzzing.fuzz(name, honest[name], folder, examples=80, number=1)()
