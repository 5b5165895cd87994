"""Files with signed shards: byte ranges, read into memory and compared before anyone sees them.

files, signed Manifest with shards, spans → whole shards around them → read and hashed on all
cores → digests compared → memory of this process

A shard is read once: what was hashed is what is used, whatever becomes of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Self

from mlsecops.errors import DigestMismatch, FormatRefused, UsageError
from mlsecops.loading.limits import Limits
from mlsecops.loading.memory import Memory
from mlsecops.provenance import Digest, Entry, Manifest
from mlsecops.provenance.files.hashing import Progress, hash_pieces
from mlsecops.provenance.files.opening import open_regular
from mlsecops.provenance.files.pieces import Found, HashTarget, Piece
from mlsecops.provenance.files.shards import shard_name

Span = tuple[int, int]
_CHUNK: Final = 1 << 20  # bytes; chosen: a part that is read and hashed before it leaves the cache


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive verified shards of a file.

    Attributes:
        start: First byte in the file.
        memory: Where the bytes are.
        size: Number of bytes.
    """

    start: int
    memory: Memory
    size: int

    def part(self, start: int, end: int) -> memoryview:
        """Bytes of the file from `start` up to `end`, which lie in this run."""
        whole, _ = self.memory.take(0)
        return memoryview(whole)[start - self.start : end - self.start]

    def covers(self, start: int, end: int) -> bool:
        """Whether a span lies in this run."""
        return self.start <= start and end <= self.start + self.size

    def target(self, start: int, end: int) -> HashTarget:
        """Where a shard of this run is read to, page by page as it is filled."""
        held = self.part(start, end)

        def room(at: int, _: int) -> memoryview:
            part = held[at : at + _CHUNK]
            self.memory.fault_in(start - self.start + at, len(part))
            return part

        return HashTarget(room=room)


@dataclass(slots=True)
class ShardedFiles:
    """Open files of an artifact that is signed in shards; a context that closes them.

    Args:
        files: Name → file.
        signed: Signed names and digests.
        single: Whether the artifact is one file.
        limits: Resource limits.
        where: Path of the artifact, for messages.
        progress: Called with bytes read, and bytes to read as far as that is known.
    """

    files: Mapping[str, Found]
    signed: Manifest
    single: bool
    limits: Limits
    where: str
    progress: Progress | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    compared: dict[str, Digest] = field(default_factory=dict)
    _open: dict[str, int] = field(default_factory=dict)
    _runs: dict[str, list[Run]] = field(default_factory=dict)
    _done: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        for name, found in self.files.items():
            self.sizes[name] = os.stat(found.path, follow_symlinks=False).st_size  # noqa: PTH116 - no path object is needed
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def require_names(self) -> None:
        """Demand that files and their sizes are the signed ones; nothing is read.

        Raises:
            DigestMismatch: A file was added or removed, or has another size.
        """
        actual = {entry.name for entry in self.manifest()}
        signed = {entry.name for entry in self.signed}
        if actual != signed:
            added, removed = sorted(actual - signed), sorted(signed - actual)
            raise DigestMismatch(
                f"{self.where}: expected the signed files in their signed sizes; added "
                f"{', '.join(added[:5]) or 'none'}, missing {', '.join(removed[:5]) or 'none'}; "
                "restore the signed files",
                added=tuple(added),
                removed=tuple(removed),
            )

    def read(self, wanted: Mapping[str, Iterable[Span]]) -> None:
        """Read and compare the shards around spans, of all files at once.

        Args:
            wanted: Name → spans of bytes.

        Raises:
            DigestMismatch: A shard is not the signed one; nothing of this call is kept.
            ChangedDuringLoad: A file became shorter meanwhile.
        """
        runs: dict[str, list[Run]] = {}
        pieces: dict[str, Piece] = {}
        for name, spans in wanted.items():
            for start, end in self._around(name, spans):
                run = Run(start, Memory(end - start, pieces=1), end - start)
                runs.setdefault(name, []).append(run)
                pieces |= self._pieces(name, run)
        self._compare(pieces)
        for name, fresh in runs.items():
            self._runs.setdefault(name, []).extend(fresh)

    def compare_rest(self, names: Iterable[str]) -> None:
        """Compare every shard of files that was not read yet, and keep no bytes.

        Raises:
            DigestMismatch: A shard is not the signed one.
        """
        pieces = {}
        for name in names:
            found = Found(self.files[name].path, self.sizes[name], stamp=self.files[name].stamp)
            for start, end in self._shards(0, self.sizes[name]):
                if (key := self._key(name, start, end)) not in self.compared:
                    pieces[key] = Piece(found, start, end, descriptor=self._descriptor(name))
        self._compare(pieces)

    def covers(self, name: str, spans: Iterable[Span]) -> bool:
        """Whether all spans of a file were read."""
        runs = self._runs.get(name, ())
        return all(any(run.covers(*span) for run in runs) for span in spans)

    def drop(self, name: str) -> None:
        """Forget the bytes of a file; what was made of them keeps them."""
        self._runs.pop(name, None)

    def part(self, name: str, start: int, end: int) -> memoryview:
        """Verified bytes of a file, which `read` was asked for."""
        for run in self._runs.get(name, ()):
            if run.covers(start, end):
                return run.part(start, end)
        raise UsageError(f"{name}: bytes {start} to {end} were not read")

    def manifest(self) -> Manifest:
        """Names by the files' sizes, with the digests of what was read, else the signed ones."""
        signed = {entry.name: entry.digest for entry in self.signed}
        unknown = Digest.of(b"")
        entries = []
        for name, size in self.sizes.items():
            for start, end in self._shards(0, size):
                key = self._key(name, start, end)
                found = self.compared.get(key) or signed.get(key, unknown)
                entries.append(Entry(key, found, end - start))
        return Manifest(
            name=self.signed.name,
            algorithm=self.signed.algorithm,
            entries=tuple(sorted(entries, key=lambda entry: entry.name)),
            shard_size=self.signed.shard_size,
        )

    def _compare(self, pieces: Mapping[str, Piece]) -> None:
        before, progress = self._done, self.progress
        digests = hash_pieces(
            list(pieces.values()),
            algorithm=self.signed.algorithm,
            progress=progress and (lambda done, total: progress(before + done, before + total)),
        )
        self._done += sum(piece.size for piece in pieces.values())
        found = dict(zip(pieces, digests, strict=True))
        changed = [key for key, digest in found.items() if self._signed_digest(key) != digest]
        if changed:
            raise DigestMismatch(
                f"{self.where}: not what was signed: changed {', '.join(changed[:5])}; restore the "
                "signed bytes",
                changed=tuple(changed),
            )
        self.compared |= found

    def _signed_digest(self, key: str) -> Digest | None:
        return self.signed[key] if key in self.signed else None  # noqa: SIM401 - no mapping

    def _pieces(self, name: str, run: Run) -> dict[str, Piece]:
        found = Found(self.files[name].path, self.sizes[name])
        made = {}
        for start, end in self._shards(run.start, run.start + run.size):
            target = run.target(start, end)
            piece = Piece(found, start, end, descriptor=self._descriptor(name), target=target)
            made[self._key(name, start, end)] = piece
        return made

    def _around(self, name: str, spans: Iterable[Span]) -> list[Span]:
        """Merged spans of whole shards that cover the given ones and are not read yet."""
        size, shard = self.sizes[name], self._size
        merged: list[Span] = []
        for start, end in sorted(spans):
            if any(run.covers(start, end) for run in self._runs.get(name, ())):
                continue
            first, last = start // shard * shard, min(-(-end // shard) * shard, size)
            if not 0 <= start <= end <= size:
                raise FormatRefused(
                    f"{name}: bytes {start} to {end}: expected them inside the file"
                )
            if merged and first <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(last, merged[-1][1])
            elif first < last:
                merged.append((first, last))
        return merged

    def _shards(self, start: int, end: int) -> Iterator[Span]:
        for first in range(start, end, self._size):
            yield first, min(first + self._size, end)

    def _key(self, name: str, start: int, end: int) -> str:
        return shard_name(self._only or name, start, end)

    @property
    def _size(self) -> int:
        return self.signed.shard_size or 1

    @property
    def _only(self) -> str | None:
        """Signed name of a single file, which may be `"."`."""
        if not self.single or not len(self.signed):
            return None
        return next(iter(self.signed)).name.rsplit(":", 2)[0]

    def _descriptor(self, name: str) -> int:
        if name not in self._open:
            self.limits.require("file_bytes", self.sizes[name], where=name)
            self._open[name] = open_regular(self.files[name].path)
            self._stack.callback(os.close, self._open[name])
        return self._open[name]
