"""Lineage store: the statements in folders of bundles, a registry's folder among them.

folders and files → bundles, envelopes and bare statements → statements, and what was not read

A folder may hold anything else: only JSON that mentions in-toto is parsed. What looks like a bundle
and cannot be read is listed with the reason, never left out in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mlsecops._repr import concise_repr
from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.provenance.files.opening import open_regular, printable
from mlsecops.provenance.graph import MAX_BUNDLE_BYTES, statements_in
from mlsecops.provenance.statement import Statement

Reader = Callable[[bytes, str], Iterable[Statement]]
"""From a file's bytes and its path to its statements, or an error of the library."""

_MARK: Final = (
    b"in-toto"  # in the type of every statement and in the payload type of every envelope
)
_ENDINGS: Final = (".sig", ".json", ".jsonl", ".sigstore", ".bundle")
_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
_PEEKED: Final = 64  # bytes; chosen: weights of gigabytes are left after one short read
_ESCAPED: Final = re.compile(rb"\\u00([2-7][0-9a-fA-F])")
"""An ASCII character as JSON may write it, such as the hyphen of in-toto."""
_SKIPPED: Final = frozenset({".git"})


@concise_repr("statements", "files", "unread")
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStatements:
    """Statements of a lineage store.

    Attributes:
        statements: Statements, in the order of their files' paths.
        files: Number of files that they were read from.
        unread: Paths of files that hold statements, or may, and the reason why none was read.
    """

    statements: tuple[Statement, ...]
    files: int
    unread: tuple[tuple[str, str], ...]


def _unverified(data: bytes, where: str) -> Iterable[Statement]:
    return statements_in(data, where=where)


def read_store(*places: str | os.PathLike[str], reader: Reader = _unverified) -> StoredStatements:
    """Read every statement in folders and files; links are not followed.

    Args:
        places: Folders, which are walked, and files.
        reader: Takes a file's bytes and its path, and gives its statements; by default signatures
            are not checked.

    Raises:
        UsageError: A place does not exist.
    """
    statements: list[Statement] = []
    unread: list[tuple[str, str]] = []
    files = 0
    for place in places:
        for path in _paths(os.fspath(place), unread):
            try:
                found = tuple(_read(path, reader))
            except MLSecOpsError as error:
                unread.append((printable(path), str(error)))
                continue
            statements += found
            files += bool(found)
    return StoredStatements(statements=tuple(statements), files=files, unread=tuple(unread))


def _paths(place: str, unread: list[tuple[str, str]]) -> Iterator[str]:
    if not os.path.lexists(place):
        raise UsageError(f"cannot read {place}: there is no such file or folder")
    if not os.path.isdir(place):  # noqa: PTH112 - as os.walk, texts
        yield place
        return

    def failed(error: OSError) -> None:
        unread.append((printable(str(error.filename)), error.strerror or str(error)))

    for folder, folders, names in os.walk(place, onerror=failed):
        folders[:] = sorted(set(folders) - _SKIPPED)
        for name in sorted(names):
            path = f"{folder.rstrip('/')}/{name}"
            if not os.path.islink(path):  # noqa: PTH114 - as above
                yield path
            elif name.endswith(_ENDINGS):
                unread.append((printable(path), "a link, which is not followed: give its target"))


def _read(path: str, reader: Reader) -> Iterator[Statement]:
    data = _candidate(path)
    if data is None:
        return
    parts = data.splitlines() if path.endswith(".jsonl") else [data]
    for number, part in enumerate(parts, start=1):
        if part.strip():
            where = path if len(parts) == 1 else f"{path}, line {number}"
            yield from reader(part, where)


def _candidate(path: str) -> bytes | None:
    """Bytes of a file that may hold statements; None for another."""
    with os.fdopen(open_regular(path), "rb") as stream:
        data = stream.read(_PEEKED)
        if not data.strip(_BLANK):
            data += stream.read(MAX_BUNDLE_BYTES)
        if not data.lstrip(_BLANK).startswith(b"{"):
            return None
        data += stream.read(MAX_BUNDLE_BYTES + 1)
    plain = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), data)
    return data if _MARK in plain else None
