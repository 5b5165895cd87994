"""Checkpoints whose classes are not installed: their tensors come out under the usual names."""

import importlib.util
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mlsecops.errors import FormatRefused
from mlsecops.loading.convert import convert
from mlsecops.loading.sandbox.convert_main import Inert, arrays

pytest.importorskip("py_landlock")
pytest.importorskip("pyseccomp")
joblib = pytest.importorskip("joblib")
torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.numpy").load_file

FOREIGN = """
import collections, enum, torch
class Settings(dict): pass
class Names(list): pass
class Stage(enum.Enum):
    FIT = "fit"
class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.register_buffer("steps", torch.zeros(1))
        self.register_buffer("scratch", torch.zeros(9), persistent=False)
class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(Block(), torch.nn.BatchNorm2d(2))
        self.yaml = Settings(depth=1)
class Scaler:
    def __init__(self, mean):
        self.mean_ = mean
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[ModuleType]:
    """A module of classes that no other process can import."""
    (tmp_path / "their_net.py").write_text(FOREIGN)
    spec = importlib.util.spec_from_file_location("their_net", tmp_path / "their_net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["their_net"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["their_net"]


DETECTOR = {
    "conv.weight": (2, 1, 3, 3), "conv.bias": (2,), "steps": (1,),
}  # fmt: skip
NORM = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def test_a_whole_model_of_a_foreign_class_gives_the_tensors_of_its_state_dict(
    tmp_path: Path, theirs: ModuleType
) -> None:
    net = theirs.Detector()
    torch.save({"epoch": 3, "model": net, "stage": theirs.Stage.FIT}, tmp_path / "yolo.pt")
    convert(tmp_path / "yolo.pt", tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    assert set(found) == {f"model.{name}" for name in net.state_dict()}
    np.testing.assert_array_equal(found["model.model.0.conv.bias"], net.model[0].conv.bias.detach())


def test_a_checkpoint_of_a_training_library_gives_its_state_dict(
    tmp_path: Path, theirs: ModuleType
) -> None:
    """Lightning keeps hyperparameters and callbacks of the application's classes next to it."""
    checkpoint = {
        "state_dict": theirs.Detector().state_dict(),
        "hyper_parameters": theirs.Settings(lr=0.1),
        "callbacks": {"best": theirs.Names(["a.ckpt"])},
        "pytorch-lightning_version": "2.6.0",
        "loops": {"stage": theirs.Stage.FIT},
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    convert(tmp_path / "last.ckpt", tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    assert {name: found[f"state_dict.model.0.{name}"].shape for name in DETECTOR} == DETECTOR
    assert {f"state_dict.model.1.{name}" for name in NORM} <= found.keys()


@pytest.mark.parametrize("ending", ["pkl", "joblib"])
def test_arrays_of_a_foreign_estimator_come_out(
    tmp_path: Path, theirs: ModuleType, ending: str
) -> None:
    value, file = {"step": theirs.Scaler(np.arange(3.0))}, tmp_path / f"m.{ending}"
    joblib.dump(value, file) if ending == "joblib" else file.write_bytes(pickle.dumps(value))
    convert(file, tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")["step.mean_"]
    np.testing.assert_array_equal(found, np.arange(3.0))


def test_a_function_that_is_not_there_is_not_called(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"cnot_installed\nfetch\n(S'http://a'\ntR.")
    with pytest.raises(FormatRefused, match="no tensors"):
        convert(tmp_path / "m.pkl", tmp_path / "out.safetensors")


def test_a_stand_in_keeps_state_and_items_of_every_kind() -> None:
    made = Inert(1, a=2)
    made.__setstate__(({"w": np.ones(1)}, {"v": np.ones(2)}))
    made["key"] = np.ones(3)
    made.extend([np.ones(4)])
    made.add(np.ones(5))
    assert {name: each.shape for name, each in arrays(made).items()} == {
        "w": (1,), "v": (2,), "key": (3,), "3": (4,), "4": (5,),
    }  # fmt: skip
