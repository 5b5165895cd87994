"""What a zip archive holds, when every reader of it must see the same.

A Source comes in; checked entries go out. Refused is whatever lets two readers disagree (duplicate
names, a different local header, a second directory, bytes that no entry lists) or reaches outside
(`..`, links), and whatever declares more than it stores.

Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header) and 4.3.14 to 4.3.16 (end of central
directory).
"""

from __future__ import annotations

import contextlib
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Final, cast

from mlsecops.errors import FormatRefused, LimitExceeded, UnsafeContent
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source

_END: Final = b"PK\x05\x06"
_END_SIZE: Final = 22
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_END_RECORD: Final = struct.Struct("<4s4H2LH")
_END64_RECORD: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_LONGEST_DESCRIPTOR: Final = 24
_DESCRIBED_BEHIND: Final = 8
"""Flag of an entry whose sizes stand behind its bytes."""
_SYMLINK: Final = 0o120000
_KIND: Final = 0o170000
_DOS_FOLDER: Final = 0x10


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """A checked entry and where its stored bytes begin."""

    info: zipfile.ZipInfo
    offset: int

    @property
    def name(self) -> str:
        """Its name in the archive."""
        return self.info.filename

    @property
    def size(self) -> int:
        """Its uncompressed size in bytes."""
        return self.info.file_size

    @property
    def stored(self) -> bool:
        """Whether its bytes stand in the archive as they are."""
        return self.info.compress_type == zipfile.ZIP_STORED


class Archive:
    """A zip archive whose directory has been checked.

    Attributes:
        entries: Name → entry, folders left out.
    """

    def __init__(
        self, stream: BinaryIO, archive: zipfile.ZipFile, entries: dict[str, ZipEntry]
    ) -> None:
        self._stream = stream
        self._archive = archive
        self.entries = entries

    def read(self, name: str, *, limits: Limits) -> bytes:
        """Bytes of a small entry; their checksum is checked.

        Raises:
            LimitExceeded: It is no small entry.
            FormatRefused: It cannot be read whole.
        """
        limits.require("header_bytes", self.entries[name].size, where=name)
        try:
            return self._archive.read(name)
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise FormatRefused(f"{name}: cannot be read from the archive: {error}") from error

    def stream(self, name: str) -> BinaryIO:
        """Uncompressed bytes of an entry, from its start to its end.

        Raises:
            FormatRefused: It cannot be opened.
        """
        try:
            return cast("BinaryIO", self._archive.open(name))
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
            raise FormatRefused(f"{name}: cannot be read from the archive: {error}") from error

    def stored(self, name: str) -> ZipEntry:
        """An entry whose bytes stand in the archive as they are.

        Raises:
            FormatRefused: It is compressed.
        """
        entry = self.entries[name]
        if not entry.stored:
            raise FormatRefused(f"{name}: compressed in the archive: expected it stored as it is")
        return entry


class StreamSlice(io.RawIOBase):
    """A read-only part of a seekable stream."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._stream, self._start, self._size, self._at = stream, start, size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position in the part."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move inside the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        """Fill a buffer, never past the part's end."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed: Buffer is 3.12's
        self._stream.seek(self._start + self._at)
        data = self._stream.read(max(0, min(len(view), self._size - self._at)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextlib.contextmanager
def archive(source: Source, *, limits: Limits) -> Iterator[Archive]:
    """Open a zip archive and check its directory.

    Raises:
        FormatRefused: It is malformed, or readable in two ways.
        UnsafeContent: A name leaves the archive, or an entry is a link or encrypted.
        LimitExceeded: Too many entries, or too large for what they store.
    """
    with source.stream() as stream:
        try:
            opened = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise FormatRefused(f"{source.name}: not a readable zip archive: {error}") from error
        with opened:
            entries = _checked(source, stream, opened, limits)
            try:
                yield Archive(stream, opened, entries)
            except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
                raise FormatRefused(f"{source.name}: an entry cannot be read: {error}") from error


def _checked(
    source: Source, stream: BinaryIO, opened: zipfile.ZipFile, limits: Limits
) -> dict[str, ZipEntry]:
    infos = opened.infolist()
    limits.require("tensors", len(infos), where=source.name)
    _require_one_reading(source, stream, infos)
    entries: dict[str, ZipEntry] = {}
    seen: set[str] = set()
    end = 0
    for info in sorted(infos, key=lambda item: item.header_offset):
        _require_inside(info, source)
        # Some readers look names up without regard to case.
        if info.filename.casefold() in seen:
            raise FormatRefused(f"{source.name}: entry {info.filename!r} stands twice")
        seen.add(info.filename.casefold())
        offset = _local(info, stream, source)
        if info.header_offset < end or offset + info.compress_size > source.size:
            raise FormatRefused(f"{source.name}: entry {info.filename!r} overlaps another")
        _require_no_gap(end, info.header_offset, source)
        end = offset + info.compress_size
        if info.file_size > limits.ratio * max(info.compress_size, 1):
            raise LimitExceeded(
                f"{source.name}: entry {info.filename!r} declares {info.file_size} bytes and "
                f"stores {info.compress_size}: expected a ratio of at most {limits.ratio}"
            )
        if not info.is_dir():
            entries[info.filename] = ZipEntry(info, offset)
    _require_no_gap(end, _directory(source, stream, len(infos)), source)
    return entries


def _require_no_gap(end: int, start: int, source: Source) -> None:
    if not 0 <= start - end <= _LONGEST_DESCRIPTOR:
        raise FormatRefused(f"{source.name}: {start - end} bytes at {end} that no entry lists")


def _directory(source: Source, stream: BinaryIO, count: int) -> int:
    """Offset of the directory, when each record that tells it tells the same.

    Readers choose differently between the old end record and the one of zip64.
    """
    behind = source.size - _END_RECORD.size
    stream.seek(behind)
    _, *told, _ = _END_RECORD.unpack(stream.read(_END_RECORD.size))
    expected = (0, 0, count, count)
    stream.seek(max(0, behind - _LOCATOR.size - _END64_RECORD.size))
    tail = stream.read(_LOCATOR.size + _END64_RECORD.size)
    wide = tail[-_LOCATOR.size :].startswith(b"PK\x06\x07")
    if wide:
        behind -= len(tail)
        magic, length, _, _, *values = _END64_RECORD.unpack_from(tail)
        locator = _LOCATOR.unpack_from(tail, _END64_RECORD.size)
        agreed = (magic, length, *locator[1:]) == (b"PK\x06\x06", 44, 0, behind, 1) and all(
            old in {new, 0xFFFF if at < len(expected) else 0xFFFFFFFF}
            for at, (old, new) in enumerate(zip(told, values, strict=True))
        )
        told = values
    size, offset = told[len(expected) :]
    if (wide and not agreed) or tuple(told[:4]) != expected or offset + size != behind:
        raise FormatRefused(
            f"{source.name}: its end records do not tell of one directory of {count} entries "
            "right before them; two readers would see two archives"
        )
    return int(offset)


def _require_one_reading(source: Source, stream: BinaryIO, infos: list[zipfile.ZipInfo]) -> None:
    stream.seek(max(0, source.size - _END_SIZE))
    end = stream.read(_END_SIZE)
    if not end.startswith(_END) or end[-2:] != b"\0\0":
        raise FormatRefused(
            f"{source.name}: bytes after the archive's directory; expected it to end the file"
        )
    if not infos or min(info.header_offset for info in infos) != 0:
        raise FormatRefused(f"{source.name}: bytes before the archive's first entry, or no entry")


def _require_inside(info: zipfile.ZipInfo, source: Source) -> None:
    kind = _oddity(info)
    if kind:
        raise UnsafeContent(
            f"{source.name}: entry {info.filename!r} {kind}; expected plain files under relative "
            "names",
            rule="archive-entry",
            where=info.filename,
        )


def _oddity(info: zipfile.ZipInfo) -> str:
    """What an entry is, where it is no plain file and no folder."""
    name = info.filename
    parts = PurePosixPath(name).parts
    odd = not parts or info.orig_filename != name
    if odd or name.startswith("/") or "\\" in name or ".." in parts:
        return "leaves the archive"
    if (info.external_attr >> 16) & _KIND == _SYMLINK:
        return "is a link"
    if info.external_attr & _DOS_FOLDER and not info.is_dir():
        return "is marked a folder, and torch reads whatever lay in memory in its place"
    return "is encrypted" if info.flag_bits & 1 else ""


def _local(info: zipfile.ZipInfo, stream: BinaryIO, source: Source) -> int:
    """Offset of the stored bytes, when the local header tells the same as the directory."""
    stream.seek(info.header_offset)
    head = stream.read(_LOCAL.size)
    if len(head) < _LOCAL.size:
        raise FormatRefused(f"{source.name}: entry {info.filename!r} has no local header")
    magic, _, flags, method, *_, packed, plain, name_length, extra_length = _LOCAL.unpack(head)
    name = stream.read(name_length)
    expected = info.filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "replace")
    same = (magic, name, method, flags) == (
        b"PK\x03\x04",
        expected,
        info.compress_type,
        info.flag_bits,
    )
    told = {(info.compress_size, info.file_size), (0xFFFFFFFF, 0xFFFFFFFF)}
    if not same or ((packed, plain) not in told and not flags & _DESCRIBED_BEHIND):
        raise FormatRefused(
            f"{source.name}: entry {info.filename!r}: its local header tells another name, "
            "method, size or flags than the directory; two readers would see two archives"
        )
    return int(info.header_offset + _LOCAL.size + name_length + extra_length)
