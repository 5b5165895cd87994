"""Zip archive reader that refuses archives which two readers would read differently.

A Source comes in; checked entries go out. Refused are ambiguous archives (duplicate names, a
different local header, a second directory, bytes that no entry lists), names and links that leave
the archive, and entries that expand too far.

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
from typing import BinaryIO, Final, cast

from mlsecops._bounded.budget import Pace, require_text
from mlsecops.errors import FormatRefused, LimitExceeded, UnsafeContent
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_END_RECORD: Final = struct.Struct("<4s4H2LH")
_END64_RECORD: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_LONGEST_DESCRIPTOR: Final = 24  # bytes; APPNOTE 4.3.9, with signature and zip64 sizes
_DESCRIPTOR_FLAG: Final = 8  # bit; APPNOTE 4.4.4, sizes follow the entry's bytes
_UTF8_FLAG: Final = 0x800  # bit; APPNOTE 4.4.4, names are UTF-8
_SYMLINK: Final = 0o120000  # file type; POSIX sys/stat.h, S_IFLNK
_FILE_TYPE: Final = 0o170000  # bits; POSIX sys/stat.h, S_IFMT
_DOS_FOLDER: Final = 0x10  # bit; MS-DOS directory attribute, APPNOTE 4.4.15
_UNREADABLE: Final = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """A checked entry and the offset of its stored bytes."""

    info: zipfile.ZipInfo
    offset: int

    @property
    def size(self) -> int:
        """Uncompressed size in bytes."""
        return self.info.file_size


class Archive:
    """A zip archive whose directory has been checked.

    Attributes:
        entries: Name → entry, folders left out.
    """

    def __init__(
        self, archive: zipfile.ZipFile, entries: dict[str, ZipEntry], stream: BinaryIO
    ) -> None:
        self._archive, self._stream = archive, stream
        self.entries = entries

    def read(self, name: str, *, limits: Limits) -> bytes:
        """Bytes of a small entry; their checksum is checked.

        Raises:
            LimitExceeded: It is longer than `header_bytes`.
            FormatRefused: It cannot be read whole.
        """
        size = self.entries[name].size
        limits.require("header_bytes", size, where=name)
        require_text(size, where=name)
        with _readable(name):
            return self._archive.read(name)

    def stream(self, name: str) -> BinaryIO:
        """Uncompressed bytes of an entry, from its start to its end.

        Raises:
            FormatRefused: It cannot be opened.
        """
        with _readable(name):
            return cast("BinaryIO", self._archive.open(name))

    def stored(self, name: str) -> ZipEntry:
        """An entry that is stored without compression.

        Raises:
            FormatRefused: It is compressed.
        """
        entry = self.entries[name]
        if entry.info.compress_type != zipfile.ZIP_STORED:
            raise FormatRefused(f"{name}: compressed in the archive: expected it stored")
        return entry

    def read_stored(self, name: str) -> bytes:
        """Bytes of an entry that is stored, and short; their checksum is checked.

        Raises:
            FormatRefused: It is compressed, or cannot be read whole.
        """
        entry = self.stored(name)
        self._stream.seek(entry.offset)
        data = self._stream.read(entry.size)
        if len(data) != entry.size or zlib.crc32(data) != entry.info.CRC:
            raise FormatRefused(f"{name}: cannot be read from the archive: wrong checksum")
        return data


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise FormatRefused(f"{name}: cannot be read from the archive: {error}") from error


class StreamSlice(io.RawIOBase):
    """Read-only part of a seekable stream."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._stream, self._start, self._size, self._at = stream, start, size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move inside the slice."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        """Fill a buffer, up to the end of the slice."""
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
        FormatRefused: It is malformed or ambiguous.
        UnsafeContent: A name leaves the archive, or an entry is a link or encrypted.
        LimitExceeded: It has too many entries, or they expand too far.
    """
    with source.stream() as stream, open_zip(source, stream) as opened:
        entries = _checked(source, stream, opened, limits)
        try:
            yield Archive(opened, entries, stream)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
            raise FormatRefused(f"{source.name}: an entry cannot be read: {error}") from error


def open_zip(source: Source, stream: BinaryIO) -> zipfile.ZipFile:
    """Open a zip archive, unchecked.

    Raises:
        FormatRefused: It is malformed.
    """
    try:
        return zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise FormatRefused(f"{source.name}: not a readable zip archive: {error}") from error


def _checked(
    source: Source, stream: BinaryIO, opened: zipfile.ZipFile, limits: Limits
) -> dict[str, ZipEntry]:
    infos = opened.infolist()
    limits.require("tensors", len(infos), where=source.name)
    _require_one_directory(source, stream, infos)
    entries: dict[str, ZipEntry] = {}
    seen: set[str] = set()
    end, pace = 0, Pace(source.name)
    for info in sorted(infos, key=lambda item: item.header_offset):
        pace.step()
        require_plain_entry(_problem(info), info.filename, source)
        # Some readers look up names without regard to case.
        if info.filename.casefold() in seen:
            raise FormatRefused(f"{source.name}: more than one entry {info.filename!r}")
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
    """Offset of the directory, where all records give the same one.

    Readers choose differently between the end record and the one of zip64.
    """
    end = source.size - _END_RECORD.size
    stream.seek(end)
    _, *values, _ = _END_RECORD.unpack(stream.read(_END_RECORD.size))
    expected = (0, 0, count, count)
    stream.seek(max(0, end - _LOCATOR.size - _END64_RECORD.size))
    tail = stream.read(_LOCATOR.size + _END64_RECORD.size)
    agreed = True
    if tail[-_LOCATOR.size :].startswith(b"PK\x06\x07"):
        end -= len(tail)
        magic, length, _, _, *wide = _END64_RECORD.unpack_from(tail)
        locator = _LOCATOR.unpack_from(tail, _END64_RECORD.size)
        agreed = (magic, length, *locator[1:]) == (b"PK\x06\x06", 44, 0, end, 1) and all(
            old in {new, 0xFFFF if at < len(expected) else 0xFFFFFFFF}
            for at, (old, new) in enumerate(zip(values, wide, strict=True))
        )
        values = wide
    *counts, size, offset = values
    if not agreed or tuple(counts) != expected or offset + size != end:
        raise FormatRefused(
            f"{source.name}: expected end records of one directory of {count} entries right before "
            "them, got others; two readers would see two archives"
        )
    return int(offset)


def _require_one_directory(source: Source, stream: BinaryIO, infos: list[zipfile.ZipInfo]) -> None:
    stream.seek(max(0, source.size - _END_RECORD.size))
    end = stream.read(_END_RECORD.size)
    if not end.startswith(b"PK\x05\x06") or end[-2:] != b"\0\0":
        raise FormatRefused(
            f"{source.name}: bytes after the archive's directory; expected it to end the file"
        )
    if not infos or min(info.header_offset for info in infos) != 0:
        raise FormatRefused(f"{source.name}: bytes before the archive's first entry, or no entry")


def require_plain_entry(problem: str, name: str, source: Source) -> None:
    """Demand that an entry of an archive is a plain file or folder, without a problem.

    Raises:
        UnsafeContent: There is one.
    """
    if problem:
        raise UnsafeContent(
            f"{source.name}: entry {name!r} {problem}; expected plain files under relative names",
            rule="archive-entry",
            where=name,
        )


def _problem(info: zipfile.ZipInfo) -> str:
    name = info.filename
    parts = name.split("/")
    odd = not any(part not in {"", "."} for part in parts) or info.orig_filename != name
    if odd or name.startswith("/") or "\\" in name or ".." in parts:
        return "leaves the archive"
    if (info.external_attr >> 16) & _FILE_TYPE == _SYMLINK:
        return "is a link"
    if info.external_attr & _DOS_FOLDER and not info.is_dir():
        return "is marked a folder, for which torch returns uninitialised memory"
    return "is encrypted" if info.flag_bits & 1 else ""


def _local(info: zipfile.ZipInfo, stream: BinaryIO, source: Source) -> int:
    """Offset of the stored bytes, where the local header agrees with the directory."""
    stream.seek(info.header_offset)
    head = stream.read(_LOCAL.size)
    if len(head) < _LOCAL.size:
        raise FormatRefused(f"{source.name}: entry {info.filename!r} has no local header")
    magic, _, flags, method, *_, stored, plain, name_length, extra_length = _LOCAL.unpack(head)
    encoding = "utf-8" if info.flag_bits & _UTF8_FLAG else "cp437"
    expected = b"PK\x03\x04", info.filename.encode(encoding, "replace")
    same = (magic, stream.read(name_length)) == expected and (method, flags) == (
        info.compress_type,
        info.flag_bits,
    )
    sizes = {(info.compress_size, info.file_size), (0xFFFFFFFF, 0xFFFFFFFF)}
    if not same or ((stored, plain) not in sizes and not flags & _DESCRIPTOR_FLAG):
        raise FormatRefused(
            f"{source.name}: entry {info.filename!r}: its local header has another name, method, "
            "size or flags than the directory; two readers would see two archives"
        )
    return int(info.header_offset + _LOCAL.size + name_length + extra_length)
