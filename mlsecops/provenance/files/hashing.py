"""What the bytes of files are: one pass over each, refused if it changes meanwhile.

Paths come in, `Digest` values go out. Nothing is followed: a symlink, a socket or a file
that changes under the reader is an error that names the path. Many files are read in batches, on
threads or on any executor that the caller has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar

from mlsecops.errors import ChangedDuringLoad, UsageError
from mlsecops.provenance.digest import Digest, new_hash
from mlsecops.provenance.files.opening import Below, kind_of, open_regular, printable, refused_kind

__all__ = [
    "Cache",
    "Found",
    "Piece",
    "Progress",
    "Span",
    "Stamp",
    "batched",
    "hash_batch",
    "hash_descriptor",
    "hash_file",
    "hash_files",
    "hash_pieces",
    "kind_of",
    "open_regular",
    "printable",
    "refused_kind",
    "stamp_of",
    "submit",
]

T = TypeVar("T")

BUFFER: Final = 1 << 18
AHEAD_BYTES: Final = 32 << 20
"""From this size on reading and hashing overlap: it is worth a second thread."""
AHEAD_BUFFER: Final = 1 << 21
BATCH_FILES: Final = 32
BATCH_BYTES: Final = 64 << 20
SINGLE_THREAD_BYTES: Final = 4 << 20
MAX_THREADS: Final = 16

Progress: TypeAlias = Callable[[int, int], object]
"""Called with (bytes done, bytes in all) after each batch."""

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size, mtime_ns and ctime_ns: what changes when a file does."""

Span: TypeAlias = tuple[Stamp, int, int]
"""A file as it was, the first of its bytes and the one after the last."""


class Cache(Protocol):
    """Who knows digests of files that have not changed since it learnt them."""

    def now(self) -> int:
        """Time in nanoseconds, of the clock that stamps files."""

    def lookup(self, spans: Iterable[Span], *, algorithm: str) -> Mapping[Span, Digest]:
        """Those digests that are known."""

    def store(self, digests: Mapping[Span, Digest], *, began: int) -> int:
        """Learn digests of bytes that were read after `began`; return how many were kept."""


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that a walk found.

    Attributes:
        path: Where it is on disk.
        size: Its size in bytes.
        root: Folder below which no part of the path may be a symlink; None where only the file
            itself must not be one.
        stamp: What the walk saw of it, or None; a file that differs from it by now is refused.
    """

    path: str
    size: int
    root: str | None = None
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of a file from `start` up to `stop` (None: to its end)."""

    found: Found
    start: int = 0
    stop: int | None = None

    @property
    def size(self) -> int:
        """Bytes in it."""
        return self.end - self.start

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.found.size if self.stop is None else self.stop


def stamp_of(status: os.stat_result) -> Stamp:
    """What changes when a file does."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def hash_file(path: str | os.PathLike[str], *, algorithm: str = "sha256") -> tuple[Digest, int]:
    """Digest of one regular file and the number of bytes read.

    Raises:
        UnsafeContent: It is not a regular file.
        ChangedDuringLoad: Its size or times changed while it was read.
        UsageError: It cannot be opened, or the algorithm is unknown.
    """
    descriptor = open_regular(path)
    try:
        digest = hash_descriptor(descriptor, os.fspath(path), algorithm=algorithm)
        return digest, os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def hash_descriptor(descriptor: int, name: str, *, algorithm: str = "sha256") -> Digest:
    """Digest of an open regular file, from its start; its position stays.

    Args:
        descriptor: Open for reading.
        name: Name for messages.
        algorithm: Digest algorithm.

    Raises:
        ChangedDuringLoad: Its size or times changed while it was read.
        UsageError: It cannot be read, or the algorithm is unknown.
    """
    status = os.fstat(descriptor)
    found = Found(name, status.st_size, stamp=stamp_of(status))
    buffer = bytearray(min(BUFFER, found.size + 1))
    return _hash_open(descriptor, Piece(found), algorithm, buffer)


def hash_files(
    files: Sequence[Found],
    *,
    algorithm: str = "sha256",
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[Digest]:
    """Digests of many files, in their order; see `hash_pieces`."""
    pieces = [Piece(found) for found in files]
    return hash_pieces(pieces, algorithm=algorithm, executor=executor, progress=progress)


def hash_pieces(
    pieces: Sequence[Piece],
    *,
    algorithm: str = "sha256",
    executor: Executor | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> list[Digest]:
    """Digests of files or parts of them, in their order.

    Args:
        pieces: What to hash.
        algorithm: Digest algorithm.
        executor: Where batches run; by default a pool of threads, or this thread for little work.
        cache: Asked first, and told of what was read.
        progress: Told of bytes done after each batch.

    Raises:
        UnsafeContent: One is not a regular file, or a folder above it is a symlink by now.
        ChangedDuringLoad: One changed since it was found, or while it was read.
        UsageError: One cannot be opened, or the algorithm is unknown.
    """
    new_hash(algorithm)  # a wrong name is the caller's fault even where there is nothing to hash
    if cache is None:
        return _read(pieces, algorithm, executor, progress)
    spans = [_span(piece) for piece in pieces]
    known = cache.lookup([span for span in spans if span is not None], algorithm=algorithm)
    began = cache.now()
    missing = [at for at, span in enumerate(spans) if span is None or span not in known]
    read = _read([pieces[at] for at in missing], algorithm, executor, progress)
    digests = [None if span is None else known.get(span) for span in spans]
    for at, digest in zip(missing, read, strict=True):
        digests[at] = digest
    fresh = {span: read[at] for at, span in enumerate(spans[at] for at in missing) if span}
    if fresh:
        cache.store(fresh, began=began)
    return [digest for digest in digests if digest is not None]


def _span(piece: Piece) -> Span | None:
    stamp = piece.found.stamp
    return None if stamp is None else (stamp, piece.start, piece.end)


def _read(
    pieces: Sequence[Piece], algorithm: str, executor: Executor | None, progress: Progress | None
) -> list[Digest]:
    batches = list(batched(pieces))
    total = sum(piece.size for piece in pieces)
    if executor is None and (len(batches) <= 1 or total < SINGLE_THREAD_BYTES):
        return _gather((hash_batch(batch, algorithm) for batch in batches), batches, progress)
    if executor is not None:
        return _gather(_results(executor, batches, algorithm), batches, progress)
    with ThreadPoolExecutor(min(MAX_THREADS, len(batches), _cores())) as pool:
        return _gather(_results(pool, batches, algorithm), batches, progress)


def hash_batch(pieces: Sequence[Piece], algorithm: str) -> list[Digest]:
    """Digests of a batch; at module level, so that it pickles to any executor."""
    buffer = bytearray(min(BUFFER, max((piece.size for piece in pieces), default=0) + 1))
    folders: dict[str, Below] = {}
    digests = []
    with ExitStack() as stack:
        for piece in pieces:
            found = piece.found
            if found.root is not None and found.root not in folders:
                folders[found.root] = stack.enter_context(Below(found.root))
            descriptor = _open(found, folders)
            try:
                digests.append(_hash_open(descriptor, piece, algorithm, buffer))
            finally:
                os.close(descriptor)
    return digests


def _open(found: Found, folders: dict[str, Below]) -> int:
    if found.root is None:
        return open_regular(found.path)
    return folders[found.root].file(found.path[len(found.root.rstrip("/")) + 1 :])


def _hash_open(descriptor: int, piece: Piece, algorithm: str, buffer: bytearray) -> Digest:
    found = piece.found
    running = new_hash(algorithm, threads=piece.size > AHEAD_BYTES)
    try:
        before = stamp_of(os.fstat(descriptor))
        count = _feed(descriptor, running.update, piece, buffer)
        after = stamp_of(os.fstat(descriptor))
    except OSError as error:
        raise UsageError(f"cannot read {printable(found.path)}: {error.strerror}") from error
    if not (before == after == (found.stamp or before)) or count != piece.size:
        raise ChangedDuringLoad(
            f"{printable(found.path)} changed while it was being hashed: expected {piece.size} "
            f"unchanging bytes, read {count}; stop the writer and retry"
        )
    return Digest(algorithm, running.digest())


def _feed(
    descriptor: int, update: Callable[[memoryview], object], piece: Piece, buffer: bytearray
) -> int:
    """Read the piece, or just past an end that was announced: a growing file must not hold us."""
    most = piece.size + (piece.stop in {None, piece.found.size})
    if most > AHEAD_BYTES:
        return _feed_ahead(descriptor, update, piece.start, most)
    view = memoryview(buffer)
    total = 0
    while total < most:
        window = view if most - total >= len(view) else view[: most - total]
        count = os.preadv(descriptor, [window], piece.start + total)
        if not count:
            break
        update(view[:count])
        total += count
    return total


def _feed_ahead(
    descriptor: int, update: Callable[[memoryview], object], start: int, most: int
) -> int:
    """As `_feed`, but another thread reads the next bytes while these are hashed."""
    views = [memoryview(bytearray(AHEAD_BUFFER)) for _ in range(2)]

    def read(turn: int, done: int) -> int:
        return os.preadv(descriptor, [views[turn % 2][: most - done]], start + done)

    with ThreadPoolExecutor(1) as reader:
        turn, total = 0, 0
        count = read(turn, total)
        while count:
            following = reader.submit(read, turn + 1, total + count)
            update(views[turn % 2][:count])
            turn, total = turn + 1, total + count
            count = following.result()
    return total


def _results(
    executor: Executor, batches: Sequence[Sequence[Piece]], algorithm: str
) -> Iterator[list[Digest]]:
    futures = [submit(executor, hash_batch, batch, algorithm) for batch in batches]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:  # after a refusal nobody needs the rest
            future.cancel()


def submit(
    executor: Executor,
    work: Callable[[Sequence[T], str], list[Digest]],
    batch: Sequence[T],
    algorithm: str,
) -> Future[list[Digest]]:
    """Give a batch to an executor.

    Dask takes equal calls for one and remembers its result, but files change: it is told so.
    """
    if type(executor).__module__.partition(".")[0] == "distributed":
        return executor.submit(work, batch, algorithm, pure=False)  # type: ignore[call-arg]
    return executor.submit(work, batch, algorithm)


def _gather(
    results: Iterable[list[Digest]], batches: Sequence[Sequence[Piece]], progress: Progress | None
) -> list[Digest]:
    total = sum(piece.size for batch in batches for piece in batch)
    digests: list[Digest] = []
    done = 0
    for result, batch in zip(results, batches, strict=True):
        digests.extend(result)
        done += sum(piece.size for piece in batch)
        if progress is not None:
            progress(done, total)
    return digests


class Sized(Protocol):
    """Something to hash whose number of bytes is known."""

    @property
    def size(self) -> int:
        """Bytes."""


S = TypeVar("S", bound=Sized)


def batched(items: Sequence[S]) -> Iterator[list[S]]:
    """Cut work into batches that are worth a task: 32 items, or 64 MiB."""
    batch: list[S] = []
    size = 0
    for item in items:
        if batch and (len(batch) >= BATCH_FILES or size + item.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
