"""Verified call: a loading call whose path leads to a signed artifact runs on held bytes.

call, block's options → path → artifact that covers it → held files → the library's own call
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mlsecops.errors import SignatureMissing, UsageError
from mlsecops.integrations.huggingface import local_folder, name_as_given
from mlsecops.integrations.protection.calls import Call
from mlsecops.loading import SecureLoader
from mlsecops.loading.artifact import INDEX, external_ends
from mlsecops.loading.holding.active import is_held, is_reading, reading
from mlsecops.loading.holding.part import HoldOptions, held_part
from mlsecops.loading.scanner import examine
from mlsecops.loading.snapshot import opened
from mlsecops.provenance.files.hub_cache import readable_path
from mlsecops.provenance.files.tree import SIGNATURE_NAME

__all__ = ["verified_call"]

_WEIGHTS: Final = frozenset(
    {
        ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".keras", ".onnx", ".onnx_data",
        ".msgpack", ".gguf", ".npz", ".npy", ".pkl", ".tflite", ".ot", ".pte", ".mlmodel", ".xml",
    }
)  # fmt: skip
"""Suffixes of files that settings, tokenizers and processors are not read from."""


def verified_call(
    call: Call,
    original: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: HoldOptions,
) -> Any:
    """Run a library's loading call on verified bytes.

    Args:
        call: Which call it is.
        original: The library's function.
        args: Its positional arguments.
        kwargs: Its further arguments.
        options: The policy and how to hold.

    Raises:
        SignatureMissing: No signature covers what it would load.
        MLSecOpsError: As `SecureLoader.hold` raises.
    """
    given = args[call.position] if len(args) > call.position else kwargs.get(call.argument)
    if _passes(given):
        return original(*args, **kwargs)
    if not isinstance(given, (str, os.PathLike)):
        raise SignatureMissing(
            f"{call.key}: expected the path of a signed file, got {type(given).__name__}, whose "
            "origin nobody can verify; give the path, or hold the file with SecureLoader"
        )
    with _held(Path(given), call, options) as held:
        if len(args) > call.position:
            args = (*args[: call.position], held, *args[call.position + 1 :])
        else:
            kwargs = {**kwargs, call.argument: held}
        with reading():
            result = original(*args, **kwargs)
    name_as_given(args[0] if call.name.endswith("__init__") else result, held, given)
    return result


def _passes(given: Any) -> bool:
    """Whether a call reads nothing, or bytes that are verified already."""
    if given is None or is_reading(anywhere=True):
        return True
    if isinstance(given, (str, os.PathLike)):
        return is_held(given)
    if is_reading():
        return True
    try:
        descriptor = given.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    try:  # what is open stays the same file
        return is_held(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return False


@contextlib.contextmanager
def _held(given: Path, call: Call, options: HoldOptions) -> Iterator[str]:
    """Path of the held bytes of what a call loads."""
    whole = call.needs in {"folder", "settings"}
    signed, name = _artifact(local_folder(given) if whole else given)
    if not name and call.needs != "settings":
        loader = SecureLoader(
            options.policy,
            tier=options.tier,
            allow_globals=options.allow_globals,
            limits=options.limits,
            isolation=options.isolation,
        )
        with loader.hold(signed, allow_unchecked=options.allow_unchecked) as held:
            yield held.folder if signed.is_dir() else held.path
        return
    with held_part(signed, _wanted(signed, name, call, options), options) as part:
        yield f"{part}/{name}".rstrip("/")


def _wanted(signed: Path, name: str, call: Call, options: HoldOptions) -> Callable[[str], bool]:
    """Which files of a signed folder a call reads.

    Args:
        signed: The folder.
        name: What the call names in it: a file, a folder, or nothing for the folder itself.
        call: The call.
        options: Limits of a first look into a model.
    """
    if call.needs in {"folder", "settings"}:
        prefix = f"{name}/" if name else ""
        only = _is_setting if call.needs == "settings" else bool
        return lambda each: each.startswith(prefix) and only(each)
    names = {name}
    if call.needs == "onnx":  # a first look; what is held is scanned, and must have it all
        with opened(readable_path(signed / name), name=name) as source:
            _, result = examine(source, allow_globals=(), limits=options.limits)
        names |= external_ends(name, result.external).keys()
    return names.__contains__


def _is_setting(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() not in _WEIGHTS and not name.endswith(INDEX)


def _artifact(given: Path) -> tuple[Path, str]:
    """The signed file or folder that a path leads to, or a signed folder above and the name in it.

    Raises:
        SignatureMissing: Neither the file nor a folder above it is signed.
        UsageError: There is no such file.
    """
    place = Path(os.path.realpath(given.parent), given.name)
    if place.is_symlink() and readable_path(place) == os.fspath(place):
        place = Path(os.path.realpath(place))
    if not place.exists():
        raise UsageError(f"cannot read {given}: there is no such file or folder")
    own = place / SIGNATURE_NAME if place.is_dir() else place.with_name(f"{place.name}.sig")
    if own.exists():
        return place, ""
    for folder in place.parents:
        if (folder / SIGNATURE_NAME).exists():
            return folder, place.relative_to(folder).as_posix()
    raise SignatureMissing(
        f"{given}: expected a signature, {place.name}.sig or {SIGNATURE_NAME} in a folder above, "
        "got none; sign it, or get the signed model"
    )
