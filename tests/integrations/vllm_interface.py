"""Stand-in for vLLM, which needs a GPU: the modules and calls that the plugin meets.

Source: vLLM 0.11 to main; see `mlsecops.integrations.vllm`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

LOADERS: dict[str, Any] = {}


@dataclasses.dataclass
class LoadConfig:
    load_format: str
    model_loader_extra_config: dict[str, Any]


@dataclasses.dataclass
class ModelConfig:
    model: str
    revision: str | None = None


class Engine:
    """A model of the engine, which takes names and tensors."""

    def __init__(self, secondary: tuple[Any, ...] = ()) -> None:
        self.secondary_weights = secondary
        self.loaded: dict[str, Any] = {}

    def load_weights(self, weights: Iterator[tuple[str, Any]]) -> set[str]:
        self.loaded = dict(weights)
        return set(self.loaded)


class DefaultModelLoader:
    """vLLM's default loader: it opens `*.safetensors` of a folder while it iterates."""

    @dataclasses.dataclass
    class Source:
        """Where weights come from."""

        model_or_path: str
        revision: str | None = None
        prefix: str = ""

    def __init__(self, load_config: LoadConfig) -> None:
        self.load_config = load_config
        if unknown := load_config.model_loader_extra_config.keys() - {"num_threads"}:
            raise ValueError(unknown)

    def download_model(self, model_config: ModelConfig) -> None:
        """Nothing: the folder is there."""

    def _get_weights_iterator(self, source: Any) -> Iterator[tuple[str, Any]]:
        from safetensors import safe_open  # noqa: PLC0415 - as vLLM does

        for path in sorted(Path(source.model_or_path).glob("*.safetensors")):
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    yield source.prefix + name, file.get_tensor(name)

    def get_all_weights(self, model_config: ModelConfig, model: Engine) -> Iterator[Any]:
        yield from self._get_weights_iterator(self.Source(model_config.model))
        for source in model.secondary_weights:
            yield from self._get_weights_iterator(source)

    def load_weights(self, model: Engine, model_config: ModelConfig) -> None:
        assert self.load_config.load_format in {"auto", "safetensors"}
        model.load_weights(self.get_all_weights(model_config, model))


class LoRAModel:
    """Weights of an adapter."""

    @classmethod
    def from_local_checkpoint(
        cls,
        lora_dir: str,
        expected_lora_modules: set[str],
        peft_helper: Any,
        *,
        lora_model_id: int | None = None,
        tensorizer_config_dict: dict[str, Any] | None = None,
    ) -> dict[str, bytes]:
        del expected_lora_modules, peft_helper, lora_model_id, tensorizer_config_dict
        return {each.name: each.read_bytes() for each in Path(lora_dir).iterdir()}


class PEFTHelper:
    """Settings of an adapter."""

    @classmethod
    def from_local_dir(
        cls,
        lora_path: str,
        max_position_embeddings: int | None,
        tensorizer_config_dict: dict[str, Any] | None = None,
    ) -> dict[str, bytes]:
        del max_position_embeddings, tensorizer_config_dict
        return {each.name: each.read_bytes() for each in Path(lora_path).iterdir()}


def modules(*, adapters: str = "vllm.lora.lora_model") -> dict[str, ModuleType]:
    """Modules of a version of vLLM, for `sys.modules`."""
    LOADERS.clear()

    def register_model_loader(load_format: str) -> Any:
        return lambda cls: LOADERS.__setitem__(load_format, cls) or cls

    content: dict[str, dict[str, Any]] = {
        "vllm": {},
        "vllm.model_executor": {},
        "vllm.model_executor.model_loader": {"register_model_loader": register_model_loader},
        "vllm.model_executor.model_loader.default_loader": {
            "DefaultModelLoader": DefaultModelLoader
        },
        "vllm.lora": {},
        adapters: {"LoRAModel": type("LoRAModel", (), dict(vars(LoRAModel)))},
        "vllm.lora.peft_helper": {"PEFTHelper": type("PEFTHelper", (), dict(vars(PEFTHelper)))},
    }
    made: dict[str, ModuleType] = {}
    for name, values in content.items():
        made[name] = module = ModuleType(name)
        vars(module).update(values, __path__=[])
    return made
