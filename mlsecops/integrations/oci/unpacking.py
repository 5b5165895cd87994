"""Layers of an artifact, unpacked into a private folder: files, or tar archives of regular files.

manifest → layers by digest → files below the folder, within a number of bytes

Source: CNCF ModelPack specification, layers and `org.cncf.model.filepath`; ORAS, titles.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mlsecops.errors import FormatRefused, LimitExceeded, UnsafeContent
from mlsecops.integrations.oci.registry import OciRegistry, described_layer

_NAMES: Final = ("org.cncf.model.filepath", "org.opencontainers.image.title")
_MAX_LAYERS: Final = 10_000  # layers; chosen: far above real artifacts
_CHUNK: Final = 1 << 20  # bytes; chosen: a part of a copy


def unpack(registry: OciRegistry, manifest: Mapping[str, Any], model: Path, most: int) -> None:
    """Fetch the layers of a manifest into a private folder."""
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not 0 < len(layers) <= _MAX_LAYERS:
        raise FormatRefused(f"{registry.reference}: expected 1 to {_MAX_LAYERS} layers")
    left = most
    for layer in layers:
        digest, kind, notes = described_layer(layer, registry.reference)
        title = next((notes[key] for key in _NAMES if isinstance(notes.get(key), str)), None)
        with tempfile.NamedTemporaryFile(dir=model.parent) as archive_file:
            registry.fetch(digest, archive_file, most=most)
            archive_file.flush()
            if ".tar" in kind or kind.endswith("tar+gzip"):
                left -= _extracted(Path(archive_file.name), model, left, registry.reference)
            elif title is None:
                raise FormatRefused(
                    f"{registry.reference}: layer {digest}: expected a file path in its "
                    f"annotations ({_NAMES[0]}), got none"
                )
            else:
                left -= _placed(Path(archive_file.name), model, title, left, registry.reference)


def _placed(archive_file: Path, model: Path, name: str, most: int, where: str) -> int:
    size = archive_file.stat().st_size
    _require_room(size, most, where)
    place = _inside(model, name, where)
    with archive_file.open("rb") as source, place.open("xb") as target:
        while chunk := source.read(_CHUNK):
            target.write(chunk)
    return size


def _extracted(archive_file: Path, model: Path, most: int, where: str) -> int:
    """Unpack regular files and folders of a tar archive; return their bytes."""
    total = 0
    try:
        with tarfile.open(archive_file, "r:*") as archive:
            for member in archive:
                if member.isdir():
                    continue
                source = archive.extractfile(member) if member.isreg() else None
                if source is None:
                    raise UnsafeContent(
                        f"{where}: {member.name!r} is no regular file: expected files only",
                        rule="not-a-regular-file",
                        where=member.name,
                    )
                total += member.size
                _require_room(total, most, where)
                with _inside(model, member.name, where).open("xb") as target:
                    while chunk := source.read(_CHUNK):
                        target.write(chunk)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise FormatRefused(f"{where}: expected a layer that is a tar archive: {error}") from error
    return total


def _require_room(size: int, most: int, where: str) -> None:
    if size > most:
        raise LimitExceeded(
            f"{where}: expected at most {most} more bytes of files; raise max_bytes"
        )


def _inside(model: Path, name: str, where: str) -> Path:
    """Place of a file below a folder; its parents are made."""
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
        raise UnsafeContent(
            f"{where}: {name!r}: expected a relative path inside the model",
            rule="name-not-relative",
            where=name,
        )
    place = model.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        raise FormatRefused(f"{where}: {name!r} is there twice: expected each file once")
    return place
