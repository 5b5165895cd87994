"""Reader of distributed checkpoints: tensors put together from chunks in verified files.

`.metadata` and `.distcp` files, all held and scanned → the state dict as it was saved

Source: torch `distributed/checkpoint/default_planner.py`, `_nested_dict.py`.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mlsecops._extras import require
from mlsecops.errors import FormatRefused
from mlsecops.loading.formats.checkpoints.distributed import archives
from mlsecops.loading.readers.pickle_reader import read_pickle
from mlsecops.loading.readers.torch_reader import read_torch_bytes
from mlsecops.loading.snapshot import Source


def read_distributed(
    metadata: Source, files: Mapping[str, Source], *, names: Collection[str], device: str
) -> dict[str, Any]:
    """State dict of a checkpoint.

    Args:
        metadata: The checked `.metadata`.
        files: Name relative to its folder → checked `.distcp` file.
        names: Names that the scan of all files found and allowed.
        device: Where tensors go.

    Raises:
        FormatRefused: A chunk is missing, or lies where no archive begins.
    """
    torch = require("torch")
    found = read_pickle(metadata.path, names=names)
    reader = _Chunks(files, names, device)
    flat: dict[str, Any] = {}
    try:
        for index, place in found.storage_data.items():
            entry = found.state_dict_metadata[index.fqn]
            value = reader.read(place)
            if not hasattr(entry, "size"):
                flat[index.fqn] = value
                continue
            if index.fqn not in flat:
                kind = entry.properties.dtype
                flat[index.fqn] = torch.zeros(entry.size, dtype=kind, device=device)
            _put(flat[index.fqn], value, index.offset)
    except FormatRefused:
        raise
    except Exception as error:  # the metadata's values may be of any kind
        raise FormatRefused(f"{metadata.name}: not a readable checkpoint: {error}") from error
    return _nested(flat, found.planner_data)


class _Chunks:
    """Reader of the ranges that are archives of their own."""

    def __init__(self, files: Mapping[str, Source], names: Collection[str], device: str) -> None:
        self._files, self._names, self._device = files, names, device
        self._parts: dict[str, set[tuple[int, int]]] = {}

    def read(self, place: Any) -> Any:
        """Object of a range."""
        name = place.relative_path
        if name not in self._files:
            raise FormatRefused(f"a chunk in {name!r}, which is not held")
        if name not in self._parts:
            parts = archives(self._files[name])
            self._parts[name] = {(part.start, part.size) for part in parts}
        if (place.offset, place.length) not in self._parts[name]:
            raise FormatRefused(
                f"{name}: a chunk of {place.length} bytes at {place.offset}: expected one of the "
                "archives that were scanned; save the checkpoint again"
            )
        with Path(self._files[name].path).open("rb") as stream:
            stream.seek(place.offset)
            data = io.BytesIO(stream.read(place.length))
        return read_torch_bytes(data, names=self._names, device=self._device)


def _put(whole: Any, chunk: Any, offset: Any) -> None:
    part = whole
    for dimension, (start, size) in enumerate(zip(offset, chunk.shape, strict=True)):
        part = part.narrow(dimension, start, size)
    part.copy_(chunk)


def _nested(flat: dict[str, Any], paths: Any) -> dict[str, Any]:
    """The state dict whose flat names the planner kept."""
    if not isinstance(paths, dict) or set(paths) != set(flat):
        return flat
    nested = require("torch.distributed.checkpoint._nested_dict")
    return dict(nested.unflatten_state_dict(flat, paths))
