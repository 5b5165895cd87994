"""Torch modules filled with the tensors of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlsecops._extras import require
from mlsecops.errors import FormatRefused

if TYPE_CHECKING:
    from torch import Tensor, nn


def fill_module(module: nn.Module, state: Any) -> nn.Module:
    """Copy all tensors into the caller's module, or none if names or shapes differ.

    A file may leave out a name that shares its memory with one that it gives (tied weights). Of a
    training checkpoint (epoch, optimizer, weights) the one member that has the module's names is
    taken.

    Raises:
        FormatRefused: Names or shapes differ, tied names have different bytes, or several members
            have the names.
    """
    if not isinstance(state, Mapping):
        raise FormatRefused(
            f"{type(module).__name__}: expected a state dict, got {type(state).__name__}"
        )
    wanted: Mapping[str, Tensor] = module.state_dict()
    state = _weights(module, wanted, state)
    extra = sorted(state.keys() - wanted.keys())
    wrong = [
        name
        for name in wanted.keys() & state.keys()
        if getattr(state[name], "shape", None) != getattr(wanted[name], "shape", None)
    ]
    missing = sorted(_not_given(wanted, state))
    if missing or extra or wrong:
        raise FormatRefused(
            f"the file does not fit {type(module).__name__}: missing {missing[:5]}, "
            f"unexpected {extra[:5]}, of another shape {sorted(wrong)[:5]}; "
            "build the saved architecture"
        )
    _require_equal_ties(module, wanted, state)
    module.load_state_dict(state, strict=False)  # what it misses is tied
    return module


def _weights(module: nn.Module, wanted: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    """The weights of a training checkpoint; any other state as it is."""
    if not wanted or wanted.keys() & state.keys():
        return state
    fitting = {
        name: member
        for name, member in state.items()
        if isinstance(member, Mapping) and member.keys() == wanted.keys()
    }
    if len(fitting) > 1:
        raise FormatRefused(
            f"the file fits {type(module).__name__} several times: {sorted(map(str, fitting))}; "
            "load it without into=, and fill the module with one of them"
        )
    return next(iter(fitting.values()), state)


def _memory(tensor: Any) -> tuple[Any, ...]:
    """Identity of the numbers that a tensor shows: equal for tied names only."""
    if not hasattr(tensor, "data_ptr") or not tensor.numel() or not tensor.data_ptr():
        return ("alone", id(tensor))  # no tensor, an empty one, or one on torch's meta device
    return tensor.device, tensor.dtype, tensor.data_ptr(), tensor.shape, tensor.stride()


def _not_given(wanted: Mapping[str, Any], state: Mapping[str, Any]) -> set[str]:
    """Names that the file lacks and no name tied to them gives."""
    given = {_memory(value) for name, value in wanted.items() if name in state}
    lacking = wanted.keys() - state.keys()
    return {name for name in lacking if _memory(wanted[name]) not in given}


def _require_equal_ties(
    module: nn.Module, wanted: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    """Demand that names with the same memory are given the same numbers."""
    first: dict[tuple[Any, ...], str] = {}
    for name in sorted(wanted.keys() & state.keys()):
        other = first.setdefault(_memory(wanted[name]), name)
        if other != name and not _equal(state[name], state[other]):
            raise FormatRefused(
                f"{type(module).__name__}: {[other, name]} share their weights, and the "
                "file gives each other numbers: untie them, or get the right file"
            )


def _equal(left: Any, right: Any) -> bool:
    torch = require("torch")
    if left is right or left.dtype != right.dtype:
        return left is right
    flat = (each.to("cpu").contiguous().reshape(-1).view(torch.uint8) for each in (left, right))
    return bool(torch.equal(*flat))


def is_module(value: Any) -> bool:
    """Whether a value is a torch module."""
    return isinstance(value, require("torch").nn.Module)
