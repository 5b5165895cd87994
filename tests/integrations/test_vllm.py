"""vLLM's plugin against the interface of its model loaders and adapters."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import (
    DigestMismatch,
    FormatRefused,
    SignatureMissing,
    UntrustedSigner,
    UsageError,
)
from mlsecops.integrations.vllm import FORMAT, POLICY, register
from mlsecops.signing import Signer, sign
from tests.integrations import vllm_interface as vllm

save_file = pytest.importorskip("safetensors.numpy").save_file
SIGNER = Signer.generate("p256")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "key.pem").write_text(SIGNER.public_key.pem)
    place = tmp_path / "trust.toml"
    place.write_text('[[keys]]\npath = "key.pem"\n')
    return place


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"w": np.arange(3.0)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    sign(folder, SIGNER)
    return folder


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(POLICY, raising=False)
    for name, module in vllm.modules().items():
        monkeypatch.setitem(sys.modules, name, module)


def load(model: Path, extra: dict[str, Any], engine: vllm.Engine | None = None) -> vllm.Engine:
    engine = engine or vllm.Engine()
    loader = vllm.LOADERS[FORMAT](vllm.LoadConfig(FORMAT, extra))
    loader.load_weights(engine, vllm.ModelConfig(str(model)))
    return engine


def test_the_package_names_the_plugin_at_vllm_s_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    plugins = project["project"]["entry-points"]["vllm.general_plugins"]
    assert plugins == {"mlsecops": "mlsecops.integrations.vllm:register"}


@pytest.mark.usefixtures("installed")
def test_the_engine_gets_verified_weights(model: Path, policy: Path) -> None:
    register()
    register()
    engine = load(model, {"policy": str(policy), "num_threads": 2, "tier": "private-copy"})
    np.testing.assert_array_equal(engine.loaded["w"], np.arange(3.0))


@pytest.mark.usefixtures("installed")
def test_a_shard_that_is_swapped_while_the_engine_reads_is_not_read(
    model: Path, policy: Path
) -> None:
    register()

    class Swapping(vllm.Engine):
        def load_weights(self, weights: Any) -> set[str]:
            save_file({"w": np.full(3, 6.0)}, model / "evil")
            (model / "evil").replace(model / "model.safetensors")
            return super().load_weights(weights)

    engine = load(model, {"policy": str(policy)}, Swapping())
    np.testing.assert_array_equal(engine.loaded["w"], np.arange(3.0))


@pytest.mark.usefixtures("installed")
def test_what_the_policy_does_not_accept_is_never_read(model: Path, policy: Path) -> None:
    register()
    (model / "config.json").write_text('{"a": 1}')
    engine = vllm.Engine()
    with pytest.raises(DigestMismatch):
        load(model, {"policy": str(policy)}, engine)
    sign(model, Signer.generate("p256"), replace=True)
    with pytest.raises(UntrustedSigner):
        load(model, {"policy": str(policy)}, engine)
    assert engine.loaded == {}


@pytest.mark.usefixtures("installed")
def test_secondary_weights_come_from_the_verified_folder_or_not_at_all(
    model: Path, policy: Path, tmp_path: Path
) -> None:
    register()
    source = vllm.DefaultModelLoader.Source
    engine = load(
        model, {"policy": str(policy)}, vllm.Engine((source(str(model), prefix="second."),))
    )
    assert sorted(engine.loaded) == ["second.w", "w"]
    with pytest.raises(SignatureMissing, match="another"):
        load(model, {"policy": str(policy)}, vllm.Engine((source(str(tmp_path)),)))


@pytest.mark.usefixtures("installed")
def test_without_a_policy_nothing_is_loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    with pytest.raises(UsageError, match=POLICY):
        load(model, {})
    monkeypatch.setenv(POLICY, "/no/such/trust.toml")
    with pytest.raises(UsageError):
        load(model, {})
    with pytest.raises(UsageError):
        register()


@pytest.mark.usefixtures("installed")
def test_unknown_formats_need_their_option(model: Path, policy: Path) -> None:
    register()
    (model / "m.engine").write_bytes(b"\0ftrt nobody knows this")
    sign(model, SIGNER)
    with pytest.raises(FormatRefused):
        load(model, {"policy": str(policy), "allow_unchecked": "yes"})
    assert load(model, {"policy": str(policy), "allow_unchecked": True}).loaded


@pytest.mark.parametrize("version", ["vllm.lora.lora_model", "vllm.lora.models"])
def test_adapters_that_are_loaded_at_run_time_are_verified(
    model: Path, policy: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    found = vllm.modules(adapters=version)
    for name, module in found.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv(POLICY, str(policy))
    register()
    register()
    read = found[version].LoRAModel.from_local_checkpoint
    assert sorted(read(str(model), {"q_proj"}, None, lora_model_id=1)) == [
        "config.json", "model.safetensors",
    ]  # fmt: skip
    helper = found["vllm.lora.peft_helper"].PEFTHelper
    assert helper.from_local_dir(str(model), 4096)["config.json"] == b"{}"
    with pytest.raises(SignatureMissing, match="tensorizer"):
        helper.from_local_dir(str(model), 4096, {"uri": "s3://x"})
    (model / "config.json").write_text('{"r": 64}')
    for call in (
        lambda: read(str(model), set(), None),
        lambda: helper.from_local_dir(str(model), 1),
    ):
        with pytest.raises(DigestMismatch):
            call()


@pytest.mark.usefixtures("installed")
def test_a_version_that_reads_adapters_elsewhere_ends_the_engine(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POLICY, str(policy))
    monkeypatch.delattr(sys.modules["vllm.lora.lora_model"], "LoRAModel")
    with pytest.raises(UsageError, match="serve without LoRA"):
        register()
