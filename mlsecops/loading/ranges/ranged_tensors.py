"""Tensors of safetensors files that are signed in shards: only those that are wanted are read.

names of tensors → index and headers, compared and checked → spans of the tensors → shards read and
compared on all cores → tensors over those bytes

With a device, one file's tensors go there while the next file is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from mlsecops.errors import FormatRefused, UsageError
from mlsecops.loading.artifact import ArtifactLayout, shards
from mlsecops.loading.formats.safetensors import LENGTH, examine_safetensors
from mlsecops.loading.limits import Limits
from mlsecops.loading.ranges.sharded_files import ShardedFiles, Span
from mlsecops.loading.readers import torch_reader
from mlsecops.loading.snapshot import Source

SUFFIX: Final = ".safetensors"
_NUMPY: Final = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
"""Data type of safetensors → NumPy's (safetensors README, "Format": little-endian)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A tensor's place.

    Attributes:
        file: Name of its file.
        span: First byte of its data in the file, and the byte after the last.
        entry: Its dtype and shape, from the checked header.
    """

    file: str
    span: Span
    entry: Mapping[str, Any]


def read_tensors(
    held: ShardedFiles,
    files: ArtifactLayout,
    *,
    tensors: Collection[str] | None,
    limits: Limits,
    framework: str | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Verified tensors by name.

    Args:
        held: The artifact's files.
        files: Their layout.
        tensors: Wanted names; None for all, with every other file of the artifact compared too.
        limits: Resource limits.
        framework: `"torch"` or `"numpy"`; torch where it is installed by default.
        device: Device of torch tensors.

    Raises:
        UsageError: There is no tensor of a name, or an option does not fit.
        DigestMismatch: A shard is not the signed one.
        FormatRefused: The files are not safetensors, or malformed.
    """
    kind = framework or ("torch" if find_spec("torch") else "numpy")
    if kind not in {"torch", "numpy"} or (kind == "numpy" and device != "cpu"):
        raise UsageError(f"safetensors are read by torch (on any device) or numpy, not {kind!r}")
    if device != "cpu":
        torch_reader.require_device(device)
    homes = _homes(held, files, tensors, limits)
    if tensors is None and device == "cpu":
        held.read({name: [(0, held.sizes[name])] for name in homes})
    placed = _placed(held, homes, tensors, limits)
    found = dict(_streamed(held, placed, kind, device))
    if tensors is None:
        held.compare_rest(held.files)
    return found


def _homes(
    held: ShardedFiles, files: ArtifactLayout, tensors: Collection[str] | None, limits: Limits
) -> dict[str, frozenset[str] | None]:
    """File → wanted tensors in it; None where no index lists them."""
    if files.kind != "shards":
        _require_safetensors(files.main)
        return {files.main: None if tensors is None else frozenset(tensors)}
    size = held.sizes[files.main]
    limits.require("header_bytes", size, where=files.main)
    held.read({files.main: [(0, size)]})
    text = bytes(held.part(files.main, 0, size))
    index = Source(name=files.main, path="", size=size, content=text)
    home = shards(index, frozenset(held.files) - {files.main}, limits=limits)
    wanted = frozenset(home) if tensors is None else frozenset(tensors)
    _require_there(wanted, home)
    found: dict[str, set[str]] = {}
    for tensor in wanted:
        _require_safetensors(home[tensor])
        found.setdefault(home[tensor], set()).add(tensor)
    return {name: frozenset(each) for name, each in sorted(found.items())}


def _require_safetensors(name: str) -> None:
    if not name.endswith(SUFFIX):
        raise FormatRefused(
            f"{name}: signed in shards: expected {SUFFIX}, whose tensors can be read one by one; "
            "sign whole files to load this format"
        )


def _require_there(wanted: Collection[str], there: Collection[str]) -> None:
    missing = sorted(frozenset(wanted) - frozenset(there))
    if missing:
        some = ", ".join(sorted(there)[:5])
        raise UsageError(
            f"tensors: the model has no {', '.join(missing[:5])}; it has {len(there)}, such as "
            f"{some}"
        )


def _placed(
    held: ShardedFiles,
    homes: Mapping[str, frozenset[str] | None],
    tensors: Collection[str] | None,
    limits: Limits,
) -> dict[str, Placed]:
    """Places of the wanted tensors, from headers that were compared and checked."""
    held.read({name: [(0, min(LENGTH, held.sizes[name]))] for name in homes})
    ends = {}
    for name in homes:
        if held.sizes[name] < LENGTH:
            raise FormatRefused(f"{name}: expected safetensors, got {held.sizes[name]} bytes")
        ends[name] = LENGTH + int.from_bytes(held.part(name, 0, LENGTH), "little")
        limits.require("header_bytes", ends[name], where=name)
    held.read({name: [(0, end)] for name, end in ends.items()})
    placed: dict[str, Placed] = {}
    for name, wanted in homes.items():
        header = _header(held, name, ends[name], limits)
        chosen = frozenset(header) if wanted is None else wanted
        _require_there(chosen, header)
        if tensors is None and wanted is not None and frozenset(header) != wanted:
            raise FormatRefused(f"{name}: its tensors differ from those in the index")
        for tensor in chosen:
            first, end = (ends[name] + at for at in header[tensor]["data_offsets"])
            placed[tensor] = Placed(file=name, span=(first, end), entry=header[tensor])
    return placed


def _header(held: ShardedFiles, name: str, end: int, limits: Limits) -> dict[str, Any]:
    text = bytes(held.part(name, 0, end))
    source = Source(name=name, path="", size=held.sizes[name], content=text)
    result = examine_safetensors(source, limits)
    if result.unchecked:
        item = result.unchecked[0]
        raise FormatRefused(f"{item.what} was not checked ({item.why}), so it is not loaded")
    return torch_reader.safetensors_header(text[LENGTH:])


def _streamed(
    held: ShardedFiles, placed: Mapping[str, Placed], kind: str, device: str
) -> Iterator[tuple[str, Any]]:
    """The tensors; for a device, one file's are copied there while the next file is read."""
    spans: dict[str, list[Span]] = {}
    for each in placed.values():
        spans.setdefault(each.file, []).append(each.span)
    for file, wanted in spans.items():
        if not held.covers(file, wanted):
            held.drop(file)  # the header's shard may hold tensors too: it is read with them
    if device == "cpu":
        held.read(spans)
        for name, each in placed.items():
            yield name, _made(held, name, each, kind)
        return
    waiting = list(spans.items())
    with ThreadPoolExecutor(1) as reader:
        reading = [reader.submit(held.read, dict(waiting[:1]))]
        for at, (file, _) in enumerate(waiting, start=1):
            reading[-1].result()
            reading.append(reader.submit(held.read, dict(waiting[at : at + 1])))
            for name, each in placed.items():
                if each.file == file:
                    yield name, _made(held, name, each, kind).to(device)
            held.drop(file)
        reading[-1].result()


def _made(held: ShardedFiles, name: str, each: Placed, kind: str) -> Any:
    part = held.part(each.file, *each.span) if each.span[0] < each.span[1] else memoryview(b"")
    if kind == "torch":
        return torch_reader.tensor_in(name, each.entry, part)
    import numpy as np  # noqa: PLC0415 - torch needs none of it

    dtype = _NUMPY.get(each.entry["dtype"])
    if dtype is None:
        raise FormatRefused(f"{name!r}: NumPy has no type for {each.entry['dtype']}; use torch")
    return np.frombuffer(part, dtype).reshape(each.entry["shape"])
