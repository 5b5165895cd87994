"""vLLM: a model loader that gives the engine verified bytes, and verified LoRA adapters.

`vllm.general_plugins` → `register`, in each process of the engine
`--load-format mlsecops` → held folder → vLLM's default loader reads it
adapter that is loaded at run time → held folder → vLLM's own reader

The policy is named by `--model-loader-extra-config '{"policy": "trust.toml"}'`, or for all
processes by the environment variable `MLSECOPS_POLICY`, which adapters need.

Source: vLLM 0.11 to main, `plugins/__init__.py`, `model_executor/model_loader/__init__.py`,
`base_loader.py`, `default_loader.py`, `lora/lora_model.py`, `lora/peft_helper.py`.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mlsecops._choices import one_of
from mlsecops._extras import require
from mlsecops.errors import SignatureMissing, UsageError
from mlsecops.integrations.huggingface import local_folder
from mlsecops.loading import SecureLoader
from mlsecops.loading.snapshot import TIERS
from mlsecops.signing import TrustPolicy

__all__ = ["FORMAT", "POLICY", "register"]

FORMAT: Final = "mlsecops"
"""Name of the load format."""
POLICY: Final = "MLSECOPS_POLICY"
"""Environment variable that names the trust policy (TOML)."""
_OWN: Final = ("policy", "tier", "load_format", "allow_globals", "allow_unchecked")
"""Options of this loader among vLLM's extra ones; the rest is for the default loader."""
_ADAPTERS: Final = (
    (("vllm.lora.lora_model", "vllm.lora.models"), "LoRAModel", "from_local_checkpoint"),
    (("vllm.lora.peft_helper",), "PEFTHelper", "from_local_dir"),
)
"""Modules by version, class and function that read an adapter's folder."""
_GUARDED: Final = "__mlsecops_guarded__"


def register() -> None:
    """Register the load format, and guard adapters if `MLSECOPS_POLICY` is set; as often as called.

    Raises:
        UsageError: The policy cannot be read, or this vLLM has no function that reads adapters;
            vLLM ends then.
    """
    loaders = require("vllm.model_executor.model_loader")
    default = require("vllm.model_executor.model_loader.default_loader").DefaultModelLoader
    loaders.register_model_loader(FORMAT)(_loader_class(default))
    if place := os.environ.get(POLICY):
        loader = SecureLoader(TrustPolicy.load(place))
        for modules, owner, name in _ADAPTERS:
            _guard(_class_in(modules, owner, name), name, loader)


def _loader_class(default: Any) -> Any:
    """The model loader, a subclass of vLLM's default one."""

    class VerifiedModelLoader(default):  # type: ignore[misc] # known at run time
        """Loads weights from a held folder: verified, scanned and not changed meanwhile."""

        def __init__(self, load_config: Any) -> None:
            extra = dict(load_config.model_loader_extra_config or {})
            self._loader, self._unchecked = _secure_loader(extra)
            plain = copy.copy(load_config)
            plain.load_format = extra.get("load_format", "auto")
            plain.model_loader_extra_config = {
                name: value for name, value in extra.items() if name not in _OWN
            }
            self._folders: dict[str, str] = {}
            super().__init__(plain)

        def load_weights(self, model: Any, model_config: Any) -> None:
            """Fill the engine's model with verified weights."""
            folder = local_folder(model_config.model, revision=model_config.revision)
            with self._loader.hold(folder, allow_unchecked=self._unchecked) as held:
                self._folders = {os.fspath(model_config.model): held.folder}
                own = copy.copy(model_config)
                own.model = held.folder
                try:
                    super().load_weights(model, own)
                finally:
                    self._folders = {}

        def _get_weights_iterator(self, source: Any) -> Iterator[tuple[str, Any]]:
            """Weights of one source, which must be the held folder."""
            place = self._folders.get(source.model_or_path, source.model_or_path)
            if place not in self._folders.values():
                raise SignatureMissing(
                    f"{source.model_or_path}: expected weights of the verified model's folder, got "
                    "those of another; put them into the folder, and sign it whole"
                )
            own = copy.copy(source)
            own.model_or_path = place
            weights: Iterator[tuple[str, Any]] = super()._get_weights_iterator(own)
            return weights

    return VerifiedModelLoader


def _secure_loader(extra: Mapping[str, Any]) -> tuple[SecureLoader, bool]:
    """Loader of vLLM's extra options, and whether it holds what is not checked.

    Raises:
        UsageError: No policy is named, or an option is wrong.
    """
    place = extra.get("policy") or os.environ.get(POLICY)
    if not place:
        raise UsageError(
            f"load format {FORMAT}: expected a trust policy, got none; name it: "
            f'--model-loader-extra-config \'{{"policy": "trust.toml"}}\', or {POLICY}=trust.toml'
        )
    tier = one_of("tier", extra.get("tier", "sealed"), TIERS)
    names = extra.get("allow_globals", ())
    loader = SecureLoader(TrustPolicy.load(place), tier=tier, allow_globals=names)
    return loader, extra.get("allow_unchecked") is True


def _class_in(modules: tuple[str, ...], owner: str, name: str) -> Any:
    """The class that reads adapters in this version of vLLM."""
    for module in modules:
        try:
            found = getattr(importlib.import_module(module), owner)
        except (ImportError, AttributeError):
            continue
        if name in vars(found):
            return found
    raise UsageError(
        f"{POLICY}: expected {owner}.{name} in {' or '.join(modules)}, got none; this version of "
        "vLLM reads adapters elsewhere, so they cannot be verified: serve without LoRA"
    )


def _guard(owner: Any, name: str, loader: SecureLoader) -> None:
    """Let a class method that reads an adapter's folder read a held one."""
    original = vars(owner)[name].__func__
    if hasattr(original, _GUARDED):
        original = getattr(original, _GUARDED)

    form = inspect.signature(original)

    @functools.wraps(original)
    def verified(cls: Any, folder: str, *args: Any, **kwargs: Any) -> Any:
        given = form.bind_partial(cls, folder, *args, **kwargs).arguments
        if given.get("tensorizer_config_dict"):
            raise SignatureMissing(
                f"{folder}: expected an adapter's signed folder, got tensors of another place "
                "(tensorizer); put the adapter into a folder, and sign it"
            )
        with loader.hold(local_folder(folder)) as held:
            return original(cls, held.folder, *args, **kwargs)

    setattr(verified, _GUARDED, original)
    setattr(owner, name, classmethod(verified))
