"""What an archive of files holds: each is written to a private folder, to be scanned as one.

A Source comes in; a temporary folder goes out, whose files stand under the names that the archive
gives them. Names that leave it, links, devices and bombs are refused first.
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from mlsecops.errors import FormatRefused, LimitExceeded, UnsafeContent
from mlsecops.loading.containers.compression import expanded
from mlsecops.loading.containers.zip_archive import archive
from mlsecops.loading.detection import Format
from mlsecops.loading.limits import MIB, Limits
from mlsecops.loading.snapshot import Source

MOST_NESTED: Final = 4
"""Archives in archives that are opened; what lies deeper is unchecked."""
_ALWAYS_FINE: Final = 64 * MIB
_PIECE: Final = 1 << 20


@contextlib.contextmanager
def unpacked(source: Source, found: Format, *, limits: Limits) -> Iterator[Path]:
    """Unpack into a folder that goes when the block ends.

    Args:
        source: The archive.
        found: `zip`, `tar` or `compressed`.
        limits: Ceilings of count and ratio.

    Raises:
        FormatRefused: It is malformed.
        LimitExceeded: It holds too many files, or far more than it stores.
        UnsafeContent: A name leaves the archive, or an entry is no plain file.
    """
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as made:
        folder = Path(made)
        _UNPACKERS[found](source, folder, limits)
        yield folder


def _zip(source: Source, folder: Path, limits: Limits) -> None:
    with archive(source, limits=limits) as opened:
        _require_total(source, sum(entry.size for entry in opened.entries.values()), limits)
        for name, entry in opened.entries.items():
            with opened.stream(name) as stream:
                _write(stream, folder, name, entry.size, source)


def _tar(source: Source, folder: Path, limits: Limits) -> None:
    try:
        with source.stream() as stream, tarfile.open(fileobj=stream, mode="r:") as opened:
            total = 0
            for count, member in enumerate(opened):
                limits.require("tensors", count + 1, where=source.name)
                _require_plain(member, source)
                total += member.size
                _require_total(source, total, limits)
                inner = opened.extractfile(member)
                if inner is not None and not member.isdir():
                    _write(inner, folder, member.name, member.size, source)
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise FormatRefused(f"{source.name}: not a readable tar archive: {error}") from error


def _compressed(source: Source, folder: Path, limits: Limits) -> None:
    with expanded(source, limits=limits) as plain, plain.stream() as stream:
        name = PurePosixPath(source.name)
        short = {".tgz": ".tar", ".tbz2": ".tar", ".txz": ".tar"}.get(name.suffix.lower(), "")
        _write(stream, folder, f"{name.stem}{short}" or "content", plain.size, source)


def _require_plain(member: tarfile.TarInfo, source: Source) -> None:
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name
    if outside or not (member.isfile() or member.isdir()) or member.issparse():
        kind = "leaves the archive" if outside else "is no plain file"
        raise UnsafeContent(
            f"{source.name}: entry {member.name!r} {kind}; expected plain files under relative "
            "names",
            rule="archive-entry",
            where=member.name,
        )


def _require_total(source: Source, total: int, limits: Limits) -> None:
    most = min(limits.file_bytes, max(limits.ratio * source.size, _ALWAYS_FINE))
    if total > most:
        raise LimitExceeded(
            f"{source.name}: holds {total} bytes in {source.size}: expected at most {most}"
        )


def _write(stream: object, folder: Path, name: str, size: int, source: Source) -> None:
    target = folder / name
    if target.exists():
        raise FormatRefused(f"{source.name}: entry {name!r} stands twice")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as writer:
        reader: BinaryIO = stream  # type: ignore[assignment]  # tarfile types its readers as IO
        shutil.copyfileobj(reader, writer, _PIECE)
        if writer.tell() != size:
            raise FormatRefused(f"{source.name}: entry {name!r} is not of the size it declares")


_UNPACKERS: Final = {Format.ZIP: _zip, Format.TAR: _tar, Format.COMPRESSED: _compressed}
