"""How torch reads bytes that were checked: tensors out, nothing run.

A path to bytes that cannot change comes in (:mod:`mlsecops.loading` makes it); tensors, or the
caller's own module filled with them, go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from mlsecops._extras import require
from mlsecops.errors import FormatRefused, FrameworkTooOld, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

OLDEST: Final = (2, 10)
"""Before it, ``weights_only`` could be escaped (CVE-2025-32434, CVE-2026-24747)."""


def read_safetensors(path: str, *, framework: str, device: str) -> dict[str, Any]:
    """Tensors of a safetensors file.

    Args:
        path: Bytes to read.
        framework: ``"torch"`` or ``"numpy"``.
        device: Where torch tensors go.
    """
    safetensors = require("safetensors")
    kind = "pt" if framework == "torch" else "np"
    try:
        with safetensors.safe_open(path, framework=kind, device=device) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open gives no mapping
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise FormatRefused(f"safetensors cannot read the file: {error}") from error


def read_torch(path: str, *, device: str, legacy: bool, names: Iterable[str] = ()) -> Any:
    """What a torch file holds, read with ``weights_only``.

    Args:
        path: Bytes to read.
        device: Where tensors go.
        legacy: Whether the file is of torch's old layout, which cannot be mapped.
        names: Further globals that the scan allowed; each is imported.

    Raises:
        FrameworkTooOld: The installed torch is known to be escapable.
        FormatRefused: torch refuses the file.
    """
    torch = require("torch")
    _require_new(torch)
    allowed = [_resolve(name) for name in sorted(names)]
    try:
        # weights_only is always given: the environment can flip its default.
        with (
            torch.serialization.safe_globals(allowed),
            torch.sparse.check_sparse_tensor_invariants(),
        ):
            return torch.load(path, weights_only=True, mmap=not legacy, map_location=device)
    except Exception as error:  # torch raises whatever the bytes make it raise
        raise FormatRefused(f"torch refuses the file: {error}") from error


def own_globals() -> frozenset[str]:
    """Names that ``weights_only`` allows by itself."""
    unpickler = require("torch._weights_only_unpickler")
    return frozenset(unpickler._get_allowed_globals())  # noqa: SLF001 - torch tells it nowhere else


def fill_module(module: nn.Module, state: Any) -> nn.Module:
    """Give the caller's module the tensors, all of them or none.

    Raises:
        FormatRefused: Names or shapes differ; the module is as it was.
    """
    if not isinstance(state, Mapping):
        raise FormatRefused(f"expected a state dict to fill {type(module).__name__}, got another")
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
            "build the architecture that was saved"
        )
    module.load_state_dict(state, strict=True)
    return module


def is_module(value: Any) -> bool:
    """Whether a value is a torch module."""
    return isinstance(value, require("torch").nn.Module)


def _require_new(torch: Any) -> None:
    version = tuple(int(part) for part in str(torch.__version__).split("+")[0].split(".")[:2])
    if version < OLDEST:
        raise FrameworkTooOld(
            f"torch {torch.__version__}: expected at least {OLDEST[0]}.{OLDEST[1]}, whose "
            'weights_only holds; upgrade with: pip install "mlsecops-sdk[torch]"'
        )


def _resolve(name: str) -> tuple[Any, str]:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute), name
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"cannot import allowed global {name!r}: {error}") from error
