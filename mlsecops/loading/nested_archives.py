"""Extraction of nested archives (zip, tar, compressed files) into a private folder.

A Source comes in; a temporary folder goes out, whose files have the names that the archive gives
them. Names that leave the folder, links, devices and archive bombs are refused first.
"""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, cast

from mlsecops._bounded.budget import Pace, spend, spending
from mlsecops.errors import FormatRefused
from mlsecops.loading.containers.compression import expanded
from mlsecops.loading.containers.zip_archive import archive, require_plain_entry
from mlsecops.loading.detection import Format
from mlsecops.loading.limits import PIECE, Limits
from mlsecops.loading.snapshot import Source

MOST_NESTED: Final = 4  # archives in archives; chosen: what is deeper is unchecked, which shows


@contextlib.contextmanager
def unpacked(source: Source, found: Format, *, limits: Limits) -> Iterator[Path]:
    """Unpack into a folder that is deleted when the block ends.

    Args:
        source: The archive.
        found: `zip`, `tar` or `compressed`.
        limits: Limits of count and ratio.

    Raises:
        FormatRefused: It is malformed.
        LimitExceeded: It has too many files, or they expand too far.
        UnsafeContent: A name leaves the archive, or an entry is not a plain file.
    """
    with spending(limits.budget(source.size)) as left:
        left.spend(0, where=source.name)  # nothing is begun after the budget's end
        with tempfile.TemporaryDirectory(prefix="mlsecops-") as made:
            folder = Path(made)
            _UNPACKERS[found](source, folder, limits)
            yield folder


def _zip(source: Source, folder: Path, limits: Limits) -> None:
    with archive(source, limits=limits) as opened:
        total = sum(entry.size for entry in opened.entries.values())
        limits.require_expansion(source.size, total, where=source.name)
        for name, entry in opened.entries.items():
            with opened.stream(name) as stream:
                _write(stream, folder, name, entry.size, source)


def _tar(source: Source, folder: Path, limits: Limits) -> None:
    try:
        with source.stream() as stream, tarfile.open(fileobj=stream, mode="r:") as opened:
            total, pace = 0, Pace(source.name)
            for count, member in enumerate(opened):
                pace.step(10)  # a header of 512 bytes
                limits.require("tensors", count + 1, where=source.name)
                require_plain_entry(_problem(member), member.name, source)
                total += member.size
                limits.require_expansion(source.size, total, where=source.name)
                inner = opened.extractfile(member)
                if inner is not None and not member.isdir():
                    _write(inner, folder, member.name, member.size, source)
            _require_padding(stream, opened.offset, source)
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise FormatRefused(f"{source.name}: not a readable tar archive: {error}") from error


def _require_padding(stream: BinaryIO, start: int, source: Source) -> None:
    """Demand that only zeros follow the last entry: other readers skip a block that is no header.

    Source: POSIX.1-2017, pax, ustar interchange format (two blocks of zeros end an archive).
    """
    stream.seek(start)
    while piece := stream.read(PIECE):
        if piece.strip(b"\0"):
            raise FormatRefused(
                f"{source.name}: bytes behind the archive's last entry; expected zeros to its end"
            )


def _compressed(source: Source, folder: Path, limits: Limits) -> None:
    with expanded(source, limits=limits) as plain, plain.stream() as stream:
        name = PurePosixPath(source.name)
        short = {".tgz": ".tar", ".tbz2": ".tar", ".txz": ".tar"}.get(name.suffix.lower(), "")
        _write(stream, folder, f"{name.stem}{short}" or "content", plain.size, source)


def _problem(member: tarfile.TarInfo) -> str:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        return "leaves the archive"
    plain = (member.isfile() or member.isdir()) and not member.issparse()
    return "" if plain else "is not a plain file"


def _write(stream: object, folder: Path, name: str, size: int, source: Source) -> None:
    target = folder / name
    if target.exists():
        raise FormatRefused(f"{source.name}: more than one entry {name!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as writer:
        while piece := cast("BinaryIO", stream).read(PIECE):
            spend(len(piece), where=source.name)
            writer.write(piece)
        if writer.tell() != size:
            raise FormatRefused(f"{source.name}: entry {name!r} does not have its declared size")


_UNPACKERS: Final = {Format.ZIP: _zip, Format.TAR: _tar, Format.COMPRESSED: _compressed}
