"""Torch modules filled with the tensors of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlsecops._extras import require
from mlsecops.errors import FormatRefused

if TYPE_CHECKING:
    from torch import Tensor, nn


def fill_module(module: nn.Module, state: Any) -> nn.Module:
    """Copy all tensors into the caller's module, or none if names or shapes differ."""
    if not isinstance(state, Mapping):
        raise FormatRefused(
            f"{type(module).__name__}: expected a state dict, got {type(state).__name__}"
        )
    wanted: Mapping[str, Tensor] = module.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    wrong = [
        name
        for name in wanted.keys() & state.keys()
        if getattr(state[name], "shape", None) != getattr(wanted[name], "shape", None)
    ]
    if missing or extra or wrong:
        raise FormatRefused(
            f"the file does not fit {type(module).__name__}: missing {missing[:5]}, "
            f"unexpected {extra[:5]}, of another shape {sorted(wrong)[:5]}; "
            "build the saved architecture"
        )
    module.load_state_dict(state, strict=True)
    return module


def is_module(value: Any) -> bool:
    """Whether a value is a torch module."""
    return isinstance(value, require("torch").nn.Module)
