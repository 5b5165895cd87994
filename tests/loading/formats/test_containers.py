"""Containers that are cut, nested or ambiguous: each refusal by its own message."""

from __future__ import annotations

import bz2
import ctypes
import gzip
import io
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import FormatRefused, LimitExceeded, UsageError
from mlsecops.loading import Limits, scan
from mlsecops.loading.artifact import layout
from mlsecops.loading.containers.compression import expanded
from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.containers.flatbuffers import FlatTables, flat_tables
from mlsecops.loading.containers.protobuf import BYTES, Field, ProtobufReader
from mlsecops.loading.containers.zip_archive import archive
from mlsecops.loading.holding import mounts
from mlsecops.loading.snapshot import Source
from tests.attackers.model_files import torch_zip, zipped_names

Call = Callable[[bytes, Limits], object]


def source(data: bytes) -> Source:
    return Source(name="f", path="", size=len(data), content=data)


def cursor(data: bytes, limits: Limits) -> Cursor:
    return Cursor(io.BytesIO(data), len(data), where="f", limits=limits)


def every(data: bytes, limits: Limits) -> object:
    """All fields of a message, and those of each field of bytes in it."""
    reader = ProtobufReader(io.BytesIO(data), len(data), where="f", limits=limits)

    def inner(message: Field, depth: int) -> Iterable[object]:
        for field in reader.fields(message, depth=depth):
            yield field, [*inner(field, depth + 1)] if field.kind == BYTES else field.value

    return [*inner(reader.whole, 0)]


def inside_a_number(data: bytes, limits: Limits) -> object:
    reader = ProtobufReader(io.BytesIO(data), len(data), where="f", limits=limits)
    (number,) = reader.fields(reader.whole)
    return [*reader.fields(number)]


def tables(use: Callable[[FlatTables], object]) -> Call:
    def call(data: bytes, limits: Limits) -> object:
        with flat_tables(source(data), limits) as found:
            return use(found)

    return call


def expand(data: bytes, limits: Limits) -> object:
    with expanded(source(data), limits=limits) as found:
        return found.size


def entry(use: Callable[[Any, str], object], name: str = "a") -> Call:
    def call(data: bytes, limits: Limits) -> object:
        with archive(source(data), limits=limits) as found:
            return use(found, name)

    return call


def changed(data: bytes, at: int, form: str, value: int) -> bytes:
    """Data with a number in place of another; a place before the start counts from the end."""
    made = bytearray(data)
    struct.pack_into(form, made, at % len(made), value)
    return bytes(made)


def overlapping() -> bytes:
    """An archive whose second entry lies in the bytes of the first."""
    second = zipped_names({"b": b"bb"})
    (info,) = zipfile.ZipFile(io.BytesIO(second)).infolist()
    info.header_offset = 31  # behind the header of "a"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a", second[:33])
        made.filelist.append(info)
    return buffer.getvalue()


ONE, TWO = zipped_names({"a": b"aa"}), zipped_names({"a": b"aa", "b": b"bb"})
LISTED = TWO.index(b"PK\x01\x02", TWO.index(b"PK\x01\x02") + 4)
TABLE = struct.pack("<IHHi", 8, 4, 4, 4)  # an offset to a table at 8, whose field table is at 4


@pytest.mark.parametrize(
    ("call", "data", "message"),
    [
        (lambda d, m: cursor(d, m).until(b"\n", most=2), b"ab\n", "within 2 bytes"),
        (lambda d, m: cursor(d, m).require_end(), b"ab", "end of the file, got 2 more bytes"),
        (lambda d, m: cursor(d, m).take(3), b"ab", "3 more bytes, and the file has 2"),
        (inside_a_number, b"\x08\x01", "expected a message, got a number"),
        (every, b"\x0b\x08\x01", "expected the end of a group"),
        (every, b"\x0f", "expected a known wire type, got 7"),
        (every, b"\x0a\x05a", "expected at most 1 bytes for field 1"),
        (every, b"\x08\xff", "expected a number that ends"),
        (tables(FlatTables.root), b"", "an empty file"),
        (tables(FlatTables.root), b"\0", "a table that leaves the file"),
        (tables(FlatTables.root), struct.pack("<I", 9), "an offset of 9 leaves the file"),
        (tables(lambda t: t.number(-1, "<I")), TABLE, "an offset before the file"),
        (tables(lambda t: t.require_range(8, 5)), TABLE, "5 bytes at 8 leave the file"),
        (tables(lambda t: t.require(bool, [0], "tensor")), TABLE, "no tensor has index 0"),
        (expand, b"plain", "expected compressed bytes"),
        (expand, bz2.compress(b"a" * 99)[:-9], "stream ends early"),
        (expand, bz2.compress(b"a" * 99)[:-9] + bytes(9), "not readable as bz2"),
        (expand, gzip.compress(b"a", mtime=0) + b"x", "bytes after the compressed ones"),
        (
            entry(lambda found, name: found.stored(name)),
            zipped_names({"a": b"aa"}, compression=zipfile.ZIP_DEFLATED),
            "a: compressed in the archive",
        ),
        (
            entry(lambda found, name: found.stream(name).read()),
            ONE.replace(b"aaPK", b"abPK", 1),
            "an entry cannot be read",
        ),
        (entry(id), overlapping(), "'b' overlaps another"),
        (entry(id), changed(TWO, LISTED + 42, "<I", len(TWO) - 5), "'b' has no local header"),
        (entry(id), ONE[:-2] + b"\1\0x", "bytes after the archive's directory"),
    ],
)
def test_each_malformed_container_is_named(call: Call, data: bytes, message: str) -> None:
    with pytest.raises(FormatRefused, match=message):
        call(data, Limits())


@pytest.mark.parametrize(
    ("call", "data", "limits", "message"),
    [
        (every, b"\x0a\x02\x0a\x00", Limits(depth=1), "messages nested deeper than 1"),
        (every, b"\x0b" * 3, Limits(depth=1), "groups nested deeper than 1"),
        (every, b"\x08\x01" * 3, Limits(opcodes=2), "over 2 fields"),
        (
            tables(lambda t: [t.field(8, 0), t.field(8, 0)]),
            TABLE,
            Limits(opcodes=1),
            "over 1 fields",
        ),
    ],
)
def test_what_is_nested_or_counted_has_a_limit(
    call: Call, data: bytes, limits: Limits, message: str
) -> None:
    with pytest.raises(LimitExceeded, match=message):
        call(data, limits)


def test_a_file_in_a_file_and_one_that_is_gone_are_wrong_use(tmp_path: Path) -> None:
    file = tmp_path / "m.pt"
    file.write_bytes(torch_zip(b"\x80\x02N."))
    assert not scan(file).refused
    with pytest.raises(UsageError, match=r"is no folder: file='m\.pt'"):
        layout(file, ignore=(), file="m.pt")
    with pytest.raises(UsageError, match=r"cannot read .*absent"):
        layout(tmp_path / "absent", ignore=())


def tar(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tar(("a", b"1"), ("a", b"2")), "more than one entry 'a'"),
        (tar(("a", b"1"))[:512] + b"1", "not a readable tar archive|does not have its declared"),
        (
            tar(("a", b"1"))[:1024] + b"x" * 512 + tar(("b", b"2")),
            "bytes behind the archive's last",
        ),
        (tar(("a", b"1")) + tar(("b", b"2")), "bytes behind the archive's last"),
    ],
)
def test_an_archive_of_archives_that_lies_is_named(
    tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "m.tar").write_bytes(data)
    (found,) = scan(tmp_path / "m.tar").findings
    assert re.search(message, found.message)


def test_a_system_without_mounts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="place"):
        mounts._checked(-1, "place")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(OSError, match="no mounts on this system"):
        mounts.mount_memory("place")
