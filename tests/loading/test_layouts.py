"""Layouts of folders that libraries write: several models, states, downloads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import FormatRefused
from mlsecops.loading import scan
from mlsecops.signing import Signer, sign
from tests.loading.conftest import Trusting

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
save_file = pytest.importorskip("safetensors.torch").save_file


class Payload:
    def __reduce__(self) -> Any:
        return print, ("ran",)


def relu(path: Path) -> None:
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def sharded(folder: Path) -> None:
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for number, name in enumerate(names):
        save_file({f"w{number}": torch.full((2,), float(number))}, folder / name)
    index = {"weight_map": {f"w{number}": name for number, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"w0": torch.zeros(2)}, folder / "consolidated.safetensors")


@pytest.mark.parametrize("tier", ["sealed", "pinned", "private-copy"])
def test_a_named_model_loads_whatever_lies_next_to_it(
    tmp_path: Path, trusting: Trusting, signer: Signer, tier: str
) -> None:
    sharded(tmp_path)
    relu(tmp_path / "encoder_model.onnx")
    relu(tmp_path / "decoder_model.onnx")
    np.save(tmp_path / "mean.npy", np.zeros(2))
    sign(tmp_path, signer)
    loader = trusting(tier=tier)
    loaded = loader.load(tmp_path, file="model.safetensors.index.json").model
    assert {name: value.tolist() for name, value in loaded.items()} == {
        "w0": [0.0, 0.0], "w1": [1.0, 1.0],
    }  # fmt: skip
    assert loader.load(tmp_path, file="decoder_model.onnx").model.graph.node[0].op_type == "Relu"
    assert loader.load(tmp_path, file="mean.npy").model.shape == (2,)
    with loader.hold(tmp_path, file="encoder_model.onnx") as held:
        assert Path(held.path).name == "encoder_model.onnx"
        assert held.format == "onnx"


def test_several_models_without_a_name_are_refused(
    tmp_path: Path, trusting: Trusting, signer: Signer
) -> None:
    sharded(tmp_path)
    sign(tmp_path, signer)
    with pytest.raises(FormatRefused, match=r"consolidated\.safetensors.*file="):
        trusting().load(tmp_path)


def test_an_index_that_names_what_is_not_there_is_refused(
    tmp_path: Path, trusting: Trusting, signer: Signer
) -> None:
    sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    sign(tmp_path, signer)
    with pytest.raises(FormatRefused, match="model-00002-of-00002"):
        trusting().load(tmp_path, file="model.safetensors.index.json")


def test_a_torch_archive_may_be_called_a_pickle(tmp_path: Path) -> None:
    """As accelerate calls the states of random number generators."""
    torch.save({"step": 3}, tmp_path / "random_states_0.pkl")
    assert not scan(tmp_path / "random_states_0.pkl").findings
    torch.save(Payload(), tmp_path / "evil.pkl")
    assert scan(tmp_path / "evil.pkl").refused


def test_the_state_of_a_hub_download_is_text(tmp_path: Path) -> None:
    state = tmp_path / ".cache/huggingface/download"
    state.mkdir(parents=True)
    (state / "config.json.metadata").write_text("0123\nabcd\n1700000000.0\n")
    (state / "config.json.lock").write_text("")
    (state.parent / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    assert not scan(tmp_path).unchecked
    (state / "evil.metadata").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert scan(tmp_path).refused
