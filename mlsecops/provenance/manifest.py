"""What one artifact consists of: sorted names with their digests, and one root digest over all.

A path comes in, a Manifest goes out; a Manifest and a path come in, and a mismatch is named.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mlsecops._files import write_atomically
from mlsecops.errors import DigestMismatch, FormatRefused, UsageError
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.hashing import Found, Progress, hash_files, open_regular
from mlsecops.provenance.tree import DEFAULT_IGNORE, ignore_paths, list_tree

SCHEMA: Final = "mlsecops.manifest/1"
MAX_MANIFEST_BYTES: Final = 256 << 20
_SUM_LINE: Final = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
_ESCAPES: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPE: Final = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One named part of an artifact: its digest, and its size in bytes where that is known."""

    name: str
    digest: Digest
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Diff:
    """How two manifests differ, by name; falsy when they do not."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        parts = (("changed", self.changed), ("added", self.added), ("removed", self.removed))
        return (
            "; ".join(f"{word} {_some(names)}" for word, names in parts if names) or "no difference"
        )


def _some(names: tuple[str, ...], *, most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Sorted names → digests of one artifact.

    Attributes:
        name: What the artifact is called (a folder's or file's base name, or a data set's name).
        algorithm: Algorithm of the entries' digests.
        entries: The parts, sorted by name in Unicode code point order, names unique.
        ignore: Relative paths that were left out by request.
        single: Whether the artifact is one file rather than a folder.
    """

    name: str
    algorithm: str
    entries: tuple[Entry, ...]
    ignore: tuple[str, ...] = ()
    single: bool = False
    _by_name: dict[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        if names != sorted(set(names)):
            raise UsageError(f"manifest of {self.name!r}: expected sorted, unique names")
        object.__setattr__(self, "_by_name", {entry.name: entry for entry in self.entries})

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Digest:
        return self._by_name[name].digest

    @property
    def root(self) -> Digest:
        """The one digest of the whole: SHA-256 over the entries' raw digests in order.

        Source: OpenSSF Model Signing specification, root digest of the subject. It covers the
        bytes and their order; names are covered where a whole manifest is signed or compared.
        """
        running = hashlib.sha256()
        for entry in self.entries:
            running.update(entry.digest.value)
        return Digest("sha256", running.digest())

    @property
    def size(self) -> int:
        """Bytes of all entries whose size is known."""
        return sum(entry.size or 0 for entry in self.entries)

    def diff(self, other: Manifest) -> Diff:
        """What changed from this manifest to another."""
        mine, theirs = self._by_name, other._by_name
        return Diff(
            added=tuple(sorted(theirs.keys() - mine.keys())),
            removed=tuple(sorted(mine.keys() - theirs.keys())),
            changed=tuple(
                name for name in mine if name in theirs and mine[name].digest != theirs[name].digest
            ),
        )

    def require(self, actual: Manifest, *, where: str = "") -> None:
        """Demand that another manifest has the same names and digests.

        Raises:
            DigestMismatch: They differ; it names what was added, removed and changed.
        """
        difference = self.diff(actual)
        if difference:
            raise DigestMismatch(
                f"{where or actual.name}: not what was recorded: {difference}; "
                f"expected root {self.root}, got {actual.root}; "
                "restore the recorded bytes, or record these if the change is intended",
                added=difference.added,
                removed=difference.removed,
                changed=difference.changed,
            )

    def verify(self, path: str | os.PathLike[str]) -> Manifest:
        """Hash a path again and demand the recorded bytes.

        Returns:
            The manifest of what is there now, equal in names and digests.

        Raises:
            DigestMismatch: Something was added, removed or changed.
        """
        actual = hash_path(path, algorithm=self.algorithm, ignore=self.ignore)
        if self.single and actual.single:
            actual = actual.renamed(self.name)
        self.require(actual, where=os.fspath(path))
        return actual

    def renamed(self, name: str) -> Manifest:
        """Same parts under another name (a single file's entry takes it too)."""
        entries = self.entries
        if self.single:
            entries = (Entry(name, entries[0].digest, entries[0].size),)
        return replace(self, name=name, entries=entries)

    def restricted(self, other: Manifest) -> Manifest:
        """Only the parts whose names another manifest has."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.name in other))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "algorithm": self.algorithm,
            "root": str(self.root),
            "single": self.single,
            "ignore": list(self.ignore),
            "files": [
                {"name": entry.name, "digest": str(entry.digest), "size": entry.size}
                for entry in self.entries
            ],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Manifest:
        """Read plain values back.

        Raises:
            FormatRefused: They are not a manifest, or its root is not that of its files.
        """
        try:
            if value["schema"] != SCHEMA:
                raise FormatRefused(f"expected schema {SCHEMA}, got {value['schema']!r}")
            manifest = cls(
                name=str(value["name"]),
                algorithm=str(value["algorithm"]),
                entries=tuple(_entry(item) for item in value["files"]),
                ignore=ignore_paths(value["ignore"]),
                single=value["single"] is True,
            )
            recorded = Digest.parse(value["root"])
        except (KeyError, TypeError, AttributeError, UsageError) as error:
            raise FormatRefused(f"not a manifest of schema {SCHEMA}: {error}") from error
        if recorded != manifest.root:
            raise FormatRefused(
                f"manifest of {manifest.name!r}: expected root {recorded}, its files give "
                f"{manifest.root}; it was edited"
            )
        return manifest

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the manifest as JSON, whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        return write_atomically(path, f"{text}\n".encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read a manifest that :meth:`save` wrote.

        Raises:
            FormatRefused: The file is not one.
            UsageError: It cannot be opened.
        """
        with os.fdopen(open_regular(path), "rb") as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1)
        try:
            value = json.loads(data) if len(data) <= MAX_MANIFEST_BYTES else None
        except (ValueError, RecursionError) as error:
            raise FormatRefused(f"{os.fspath(path)} is not a manifest: {error}") from error
        if not isinstance(value, dict):
            raise FormatRefused(f"{os.fspath(path)} is not a manifest of schema {SCHEMA}")
        return cls.from_dict(value)

    def to_sha256sums(self) -> str:
        """Text that ``sha256sum -c`` checks, with names escaped as it escapes them.

        Raises:
            UsageError: The digests are of another algorithm.
        """
        if self.algorithm != "sha256":
            raise UsageError(f"sha256sum text needs sha256 digests, got {self.algorithm}")
        return "".join(_sum_line(entry) for entry in self.entries)

    @classmethod
    def from_sha256sums(cls, text: str, *, name: str = "") -> Manifest:
        """Read the text that ``sha256sum`` prints.

        Raises:
            FormatRefused: A line is not of that form, or a name stands twice.
        """
        entries: dict[str, Entry] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            if not line:
                continue
            match = _SUM_LINE.fullmatch(line)
            if match is None:
                raise FormatRefused(
                    f"line {number}: expected '<sha256>  <name>', got {line[:80]!r}"
                )
            entry = _sum_entry(*match.groups())
            if entries.setdefault(entry.name, entry) is not entry:
                raise FormatRefused(f"line {number}: {entry.name!r} stands twice")
        return cls(
            name=name,
            algorithm="sha256",
            entries=tuple(entries[key] for key in sorted(entries)),
            ignore=DEFAULT_IGNORE,
        )

    def to_croissant(self) -> dict[str, Any]:
        """Croissant metadata with one FileObject per entry.

        Source: MLCommons Croissant 1.0, FileObject.
        """
        return {
            "@context": {
                "@vocab": "https://schema.org/",
                "sc": "https://schema.org/",
                "cr": "http://mlcommons.org/croissant/",
                "sha256": "cr:sha256",
            },
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": self.name,
            "identifier": str(self.root),
            "distribution": [_file_object(entry) for entry in self.entries],
        }


def _entry(item: Mapping[str, Any]) -> Entry:
    size = item["size"]
    return Entry(
        str(item["name"]), Digest.parse(item["digest"]), None if size is None else int(size)
    )


def _sum_line(entry: Entry) -> str:
    escaped = "".join(_ESCAPES.get(character, character) for character in entry.name)
    return f"{'' if escaped == entry.name else chr(92)}{entry.digest.hex}  {escaped}\n"


def _sum_entry(mark: str, value: str, name: str) -> Entry:
    if mark:
        name = re.sub(r"\\[\\nr]", lambda match: _UNESCAPE[match[0]], name)
    return Entry(name, Digest("sha256", bytes.fromhex(value)))


def _file_object(entry: Entry) -> dict[str, Any]:
    identifier = base64.urlsafe_b64encode(entry.name.encode()).decode().rstrip("=")
    described = {
        "@type": "cr:FileObject",
        "@id": f"file-{identifier}",
        "name": entry.name,
        "contentUrl": entry.name,
        "encodingFormat": "application/octet-stream",
        entry.digest.algorithm: entry.digest.hex,
    }
    return described if entry.size is None else {**described, "contentSize": f"{entry.size} B"}


def hash_path(
    path: str | os.PathLike[str],
    *,
    algorithm: str = "sha256",
    ignore: Iterable[str] = DEFAULT_IGNORE,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Hash a file, or every file of a folder.

    Args:
        path: A regular file or a folder; a symlink given here is followed, none inside is.
        algorithm: ``sha256``, ``sha384``, ``sha512``, ``blake2b`` or ``blake3`` (extra).
        ignore: Relative paths to leave out; by default version control and the signature file.
        executor: Where batches of files are hashed; by default threads.
        progress: Told ``(bytes done, bytes in all)``.

    Raises:
        UsageError: The path cannot be read.
        UnsafeContent: Something that is no regular file, or a name that is not UTF-8.
        ChangedDuringLoad: A file changed while it was read.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("hello")
        >>> manifest = hash_path(folder)
        >>> [entry.name for entry in manifest]
        ['a.txt']
        >>> manifest.verify(folder).root == manifest.root
        True
    """
    real = Path(os.path.realpath(path))
    if real.is_dir():
        ignored = ignore_paths(ignore)
        files = list_tree(real, ignore=ignored).files
        single = False
    else:
        descriptor = open_regular(real)
        size = os.fstat(descriptor).st_size
        os.close(descriptor)
        ignored, single = (), True
        files = {Path(path).name: Found(str(real), size)}
    digests = hash_files(
        list(files.values()), algorithm=algorithm, executor=executor, progress=progress
    )
    entries = tuple(
        Entry(name, digest, found.size)
        for (name, found), digest in zip(files.items(), digests, strict=True)
    )
    name = Path(path).name or real.name
    return Manifest(name=name, algorithm=algorithm, entries=entries, ignore=ignored, single=single)
