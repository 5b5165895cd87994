"""Manifest of an artifact: sorted names with their digests, and one root digest over all.

path → Manifest; Manifest + path → equal Manifest, or DigestMismatch with the names
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mlsecops._choices import checked, of_type, several
from mlsecops._files import write_atomically
from mlsecops._json import parse_object
from mlsecops._notebook import NotebookView, notebook_view
from mlsecops._repr import concise_repr
from mlsecops.errors import DigestMismatch, FormatRefused, UsageError
from mlsecops.provenance.content.rows import describe_rows, is_part
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.entry import Diff, Entry, entry_values, read_entry, read_texts
from mlsecops.provenance.exports import read_sha256sums, sha256sums
from mlsecops.provenance.files.hashing import Cache, Progress
from mlsecops.provenance.files.opening import open_regular
from mlsecops.provenance.files.paths import read_path
from mlsecops.provenance.files.shards import shard_name, shard_size_of, shard_span
from mlsecops.provenance.files.tree import DEFAULT_IGNORE, ignore_paths

SCHEMA: Final = "mlsecops.manifest/1"
MAX_MANIFEST_BYTES: Final = 256 << 20  # bytes; chosen: holds the names of a million files


def _view(manifest: Manifest) -> NotebookView:
    facts = [("root", manifest.root), ("parts", len(manifest)), ("bytes", manifest.size)]
    rows = ((entry.name, entry.digest.short, entry.size) for entry in manifest)
    return NotebookView(f"Manifest of {manifest.name}", facts, ("name", "digest", "bytes"), rows)


@notebook_view(_view)
@concise_repr("name", "root", "entries", "ignore")
@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Sorted names → digests of one artifact.

    Attributes:
        name: Base name of the folder or file, or name of the data set.
        algorithm: Algorithm of the entries' digests.
        entries: Parts, sorted by name in Unicode code point order, names unique.
        ignore: Relative paths that were left out on request.
        single: Whether the artifact is one file rather than a folder.
        shard_size: Bytes of a shard if entries are shards of files (`path:start:end`), else None.
        uncovered: Names of empty files, which have no shard and so no digest; empty if entries are
            whole files.

    Raises:
        UsageError: The names are not sorted and unique.
    """

    name: str
    algorithm: str
    entries: tuple[Entry, ...]
    ignore: tuple[str, ...] = ()
    single: bool = False
    shard_size: int | None = None
    uncovered: tuple[str, ...] = ()
    _by_name: dict[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [entry.name for entry in several("entries", self.entries, "entries", Entry)]
        if names != sorted(set(names)):
            raise UsageError(f"entries of {self.name!r}: expected sorted, unique names; sort them")
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
        """SHA-256 over the entries' raw digests in order.

        It covers bytes and their order, not names, which a signed or compared manifest covers.

        Source: OpenSSF Model Signing specification, root digest of the subject.
        """
        running = hashlib.sha256()
        for entry in self.entries:
            running.update(entry.digest.value)
        return Digest("sha256", running.digest())

    @property
    def size(self) -> int:
        """Bytes of all entries of known size."""
        return sum(entry.size or 0 for entry in self.entries)

    @checked
    def diff(self, other: Manifest) -> Diff:
        """Difference from this manifest to another."""
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
            DigestMismatch: They differ, in the entries (columns and rows) that the message names.
        """
        difference = self.diff(actual)
        if difference:
            raise DigestMismatch(
                f"{where or actual.name}: not what was recorded: {self._described(difference)}; "
                f"expected root {self.root}, got {actual.root}; "
                "restore the recorded bytes, or record these if the change is intended",
                added=difference.added,
                removed=difference.removed,
                changed=difference.changed,
            )

    @checked
    def verify(self, data: Any, *, cache: str | os.PathLike[str] | Cache | None = None) -> Manifest:
        """Hash a path, or data as for `hash_dataset`, and return its manifest, equal to this one.

        Raises:
            DigestMismatch: Something was added, removed or changed.
        """
        if isinstance(data, (str, os.PathLike)):
            actual = hash_path(
                data,
                algorithm=self.algorithm,
                ignore=self.ignore,
                cache=cache,
                shard_size=self.shard_size,
            )
            where = os.fspath(data)
        else:
            actual, where = self._of_data(data), self.name
        if self.single and actual.single:
            actual = actual.renamed(self.name)
        self.require(actual, where=where)
        return actual

    def _described(self, difference: Diff) -> str:
        of_data = all(is_part(entry.name) for entry in self.entries)
        return describe_rows(difference) if of_data else str(difference)

    def _of_data(self, data: Any) -> Manifest:
        from mlsecops.provenance.content.parts import content_entries  # noqa: PLC0415 - files need none

        known = [entry.name for entry in self.entries]
        entries = content_entries(data, name=self.name, algorithm=self.algorithm, known=known)
        return Manifest(name=self.name, algorithm=self.algorithm, entries=entries)

    def renamed(self, name: str) -> Manifest:
        """The same parts under another name; the entries of a single file are renamed too."""
        if not self.single:
            return replace(self, name=name)
        sharded = self.shard_size is not None
        entries = (
            replace(entry, name=shard_name(name, *shard_span(entry.name)) if sharded else name)
            for entry in self.entries
        )
        return replace(
            self,
            name=name,
            entries=tuple(sorted(entries, key=lambda entry: entry.name)),
            uncovered=(name,) if self.uncovered else (),
        )

    def restricted(self, other: Manifest) -> Manifest:
        """The parts whose names are in another manifest."""
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
            **self._shards(),
            "files": [entry_values(entry) for entry in self.entries],
        }

    def _shards(self) -> dict[str, Any]:
        if self.shard_size is None:
            return {}
        return {"shard_size": self.shard_size, "uncovered": list(self.uncovered)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Manifest:
        """Read plain values back.

        Raises:
            FormatRefused: They are no manifest, or the root does not match the files.
        """
        try:
            if value["schema"] != SCHEMA:
                raise FormatRefused(f"expected schema {SCHEMA}, got {value['schema']!r}")
            manifest = cls(
                name=of_type("name", value["name"], str, "text"),
                algorithm=of_type("algorithm", value["algorithm"], str, "text"),
                entries=tuple(read_entry(item) for item in value["files"]),
                ignore=ignore_paths(read_texts("ignore", value["ignore"])),
                single=value["single"] is True,
                shard_size=shard_size_of(value.get("shard_size")),
                uncovered=read_texts("uncovered", value.get("uncovered", ())),
            )
            recorded = Digest.parse(value["root"])
        except (KeyError, TypeError, AttributeError, UsageError) as error:
            raise FormatRefused(f"not a manifest of schema {SCHEMA}: {error}") from error
        if manifest.single and manifest.shard_size is None and len(manifest) != 1:
            raise FormatRefused(f"{manifest.name!r}: expected one file, got {len(manifest)}")
        if recorded != manifest.root:
            raise FormatRefused(
                f"manifest of {manifest.name!r}: expected root {recorded}, its files give "
                f"{manifest.root}; it was edited, record it again"
            )
        return manifest

    @checked
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the manifest as JSON, atomically."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        return write_atomically(path, f"{text}\n".encode())

    @classmethod
    @checked
    def load(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read a manifest that `save` wrote.

        Raises:
            FormatRefused: The file is no manifest.
            UsageError: It cannot be opened.
        """
        with os.fdopen(open_regular(path), "rb") as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1)
        what = f"manifest {os.fspath(path)}"
        value = parse_object(data, what=what, error=FormatRefused, most=MAX_MANIFEST_BYTES)
        return cls.from_dict(value)

    def to_sha256sums(self) -> str:
        """Text that `sha256sum -c` checks, with names escaped as it escapes them.

        Raises:
            UsageError: The digests are of another algorithm.
        """
        return sha256sums(self.entries)

    @classmethod
    @checked
    def from_sha256sums(cls, text: str, *, name: str = "") -> Manifest:
        """Read the text that `sha256sum` prints.

        Raises:
            FormatRefused: A line has another form, or a name is repeated.
        """
        return cls(
            name=name, algorithm="sha256", entries=read_sha256sums(text), ignore=DEFAULT_IGNORE
        )

    @checked
    def to_croissant(
        self, *, table: Manifest | None = None, about: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Croissant metadata: a FileObject for each file, or the parts of data as records.

        Folders of pictures have a FileSet and an ImageObject for each of their formats.

        Args:
            table: Manifest of the content of the one file (`hash_dataset`): its columns become
                fields that are read from the file.
            about: Further properties of the data set, such as `license`, `description`, `version`.

        Raises:
            UsageError: The digests are not SHA-256, or `table` goes with other than one file.

        Source: MLCommons Croissant 1.0.
        """
        from mlsecops.provenance.croissant import croissant  # noqa: PLC0415 - rarely needed

        columns = None if table is None else table.entries
        return croissant(self.name, self.root, self.entries, columns=columns, about=about or {})


@checked
def hash_path(
    path: str | os.PathLike[str],
    *,
    algorithm: str = "sha256",
    ignore: Iterable[str] = DEFAULT_IGNORE,
    executor: Executor | None = None,
    cache: str | os.PathLike[str] | Cache | None = None,
    progress: Progress | None = None,
    shard_size: int | None = None,
) -> Manifest:
    """Hash a file, or every file of a folder.

    Args:
        path: A regular file or a folder (a symlink is followed, but none inside it), or the URL of
            an object or a prefix that fsspec can open (`s3://bucket/model`).
        algorithm: `sha256`, `sha384`, `sha512`, `blake2b` or `blake3` (extra).
        ignore: Relative paths to leave out; by default version control and the signature file.
        executor: Runs the hashing of batches of files; threads by default.
        cache: A `StatCache` or its path: files unchanged since they were last hashed are not read.
            Leave it out if the artifact is new to this machine.
        progress: Called with `(bytes done, bytes in all)`.
        shard_size: Bytes of a shard: files are cut into entries named `path:start:end`, so that
            one large file is hashed on many cores. `Manifest.uncovered` names empty files.

    Raises:
        UsageError: The path cannot be read.
        UnsafeContent: An entry is no regular file, or its name is not UTF-8.
        ChangedDuringLoad: A file changed during the read.
        MissingExtra: The algorithm or the URL needs a package that is not installed.

    Examples:
        >>> import pathlib
        >>> _ = pathlib.Path("a.txt").write_text("hello")
        >>> manifest = hash_path("a.txt")
        >>> manifest.verify("a.txt").root == manifest.root
        True
    """
    return read_manifest(
        path,
        algorithm=algorithm,
        ignore=ignore,
        executor=executor,
        cache=cache,
        progress=progress,
        shard_size=shard_size,
    )[0]


def read_manifest(
    path: str | os.PathLike[str],
    *,
    algorithm: str,
    ignore: Iterable[str],
    executor: Executor | None = None,
    cache: str | os.PathLike[str] | Cache | None = None,
    progress: Progress | None = None,
    shard_size: int | None = None,
) -> tuple[Manifest, tuple[str, ...]]:
    """Manifest as of `hash_path`, and the names of ignored files, in one walk."""
    content = read_path(
        path,
        algorithm=algorithm,
        ignore=ignore,
        executor=executor,
        cache=cache,
        progress=progress,
        shard_size=shard_size,
    )
    manifest = Manifest(
        name=content.name,
        algorithm=algorithm,
        entries=content.entries,
        ignore=content.ignore,
        single=content.single,
        shard_size=shard_size,
        uncovered=content.uncovered,
    )
    return manifest, content.hidden
