"""Streaming file hasher: one pass over each file, refused if the file changes meanwhile.

pieces of files → opened, read, kept where a target wants them → Digest of each, in order

Nothing is followed: a symlink, a socket or a file that changes during the pass is an error that
names the path. Many files are read in batches, on threads or on an executor of the caller.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from typing import Final, Protocol, TypeAlias, TypeVar

from mlsecops._platform import read_into
from mlsecops.errors import ChangedDuringLoad, UsageError
from mlsecops.provenance.digest import Digest, new_hash
from mlsecops.provenance.files.mapping import hash_mapped
from mlsecops.provenance.files.opening import Below, open_regular, printable
from mlsecops.provenance.files.pieces import Found, Piece, Span, stamp_of

T = TypeVar("T")

BUFFER: Final = 1 << 18  # bytes; chosen: fits a core's cache, so that bytes are hashed out of it
AHEAD_BYTES: Final = 32 << 20  # bytes; chosen: from here a second thread that reads ahead pays
AHEAD_BUFFER: Final = 1 << 21  # bytes; chosen: two of them let a slow read overlap with hashing
MAPPED_BYTES: Final = (
    8 << 20
)  # bytes; chosen: from here a mapping costs less than the copy it saves
BATCH_FILES: Final = 32  # files; chosen: a task of small files outweighs its scheduling
BATCH_BYTES: Final = 64 << 20  # bytes; chosen: a task of large files still balances among workers
SINGLE_THREAD_BYTES: Final = 4 << 20  # bytes; chosen: below, threads cost more than they save
MAX_THREADS: Final = 16  # threads; chosen: more saturate the storage, not the hash

Progress: TypeAlias = Callable[[int, int], object]
"""Called with (bytes done, bytes in all) after each batch."""


class Cache(Protocol):
    """Digests of files that have not changed since they were stored."""

    def now(self) -> int:
        """Time in nanoseconds, of the clock that stamps files."""

    def lookup(self, spans: Iterable[Span], *, algorithm: str) -> Mapping[Span, Digest]:
        """The digests that are known."""

    def store(self, digests: Mapping[Span, Digest], *, began: int) -> int:
        """Store digests of bytes that were read after `began`; return how many were stored."""


def hash_file(path: str | os.PathLike[str], *, algorithm: str = "sha256") -> tuple[Digest, int]:
    """Digest of one regular file and the number of bytes read.

    Raises:
        UnsafeContent: It is not a regular file.
        ChangedDuringLoad: Its size or times changed while it was read.
        UsageError: It cannot be opened, or the algorithm is unknown.
    """
    descriptor = open_regular(path)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    found = Found(os.fspath(path), status.st_size, stamp=stamp_of(status))
    (digest,) = hash_batch([Piece(found)], algorithm)
    return digest, status.st_size


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
        pieces: What to hash; those with a descriptor or a target stay in this process.
        algorithm: Digest algorithm.
        executor: Where batches run; by default a pool of threads, or this thread for little work.
        cache: Asked first; what was read is stored in it.
        progress: Called after each batch.

    Raises:
        UnsafeContent: One is not a regular file, or a folder above it is a symlink by now.
        ChangedDuringLoad: One changed since it was found, or while it was read.
        UsageError: One cannot be opened, read or kept, or the algorithm is unknown.
    """
    new_hash(algorithm)  # a wrong name is the caller's fault even where there is nothing to hash
    if cache is None:
        return _read(pieces, algorithm, executor, progress)
    spans = [_span(piece) for piece in pieces]
    known = cache.lookup([span for span in spans if span is not None], algorithm=algorithm)
    began = cache.now()
    digests = [None if span is None else known.get(span) for span in spans]
    missing = [at for at, digest in enumerate(digests) if digest is None]
    read = _read([pieces[at] for at in missing], algorithm, executor, progress)
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
    buffer = memoryview(bytearray(min(BUFFER, max((each.size for each in pieces), default=0) + 1)))
    folders: dict[str, Below] = {}
    digests = []
    with ExitStack() as stack:
        for piece in pieces:
            root = piece.found.root
            if piece.descriptor is not None:
                digests.append(_hash_open(piece.descriptor, piece, algorithm, buffer))
                continue
            if root is not None and root not in folders:
                folders[root] = stack.enter_context(Below(root))
            descriptor = _open(piece.found, folders)
            try:
                digests.append(_hash_open(descriptor, piece, algorithm, buffer))
            finally:
                os.close(descriptor)
    return digests


def _open(found: Found, folders: dict[str, Below]) -> int:
    if found.root is None:
        return open_regular(found.path)
    return folders[found.root].file(found.path[len(found.root.rstrip("/")) + 1 :])


def _hash_open(descriptor: int, piece: Piece, algorithm: str, buffer: memoryview) -> Digest:
    found, target = piece.found, piece.target
    running = new_hash(algorithm, threads=piece.size > AHEAD_BYTES)
    try:
        before = stamp_of(os.fstat(descriptor))
        mapped = piece.size > MAPPED_BYTES and piece.descriptor is None and piece.target is None
        done = hash_mapped(descriptor, piece.start, piece.end, running) if mapped else 0
        count = _feed(descriptor, piece, running.update, buffer, done)
        after = stamp_of(os.fstat(descriptor))
    except OSError as error:
        doing = "read" if target is None else "copy"
        raise UsageError(f"cannot {doing} {printable(found.path)}: {error.strerror}") from error
    # Kept bytes are those that were hashed, whatever became of the file.
    unchanged = target is not None or before == after == (found.stamp or before)
    if not unchanged or count != piece.size:
        raise ChangedDuringLoad(
            f"{printable(found.path)} changed while it was being read: expected {piece.size} "
            f"unchanging bytes, got {count}; stop the writer and retry"
        )
    return Digest(algorithm, running.digest())


def _feed(
    descriptor: int,
    piece: Piece,
    update: Callable[[memoryview], object],
    buffer: memoryview,
    done: int,
) -> int:
    """Read and hash a piece part by part, from `done` bytes on; return the number of all bytes.

    One byte past an announced end is asked for: a file that grew is noticed, and one that keeps
    growing cannot hold the reader. Of a large piece another thread reads the next part meanwhile,
    unless it is read to where it stays: then it is hashed best from the reading core's cache.
    """
    most = piece.size + (piece.stop in {None, piece.found.size})
    write = piece.target and piece.target.write
    room = piece.target and piece.target.room
    ahead = most - done > AHEAD_BYTES and room is None
    views = [memoryview(bytearray(AHEAD_BUFFER)) for _ in range(2)] if ahead else [buffer]

    def fetch(turn: int, done: int) -> memoryview:
        view = room(done, most - done) if room else views[turn % len(views)][: most - done]
        part = view[: read_into(descriptor, view, piece.start + done)]
        if write:
            write(part, done)
        return part

    with ThreadPoolExecutor(1) if ahead else nullcontext() as reader:
        turn, total, part = 0, done, fetch(0, done)
        while part:
            turn, total = turn + 1, total + len(part)
            following = reader.submit(fetch, turn, total) if reader else None
            update(part)
            part = following.result() if following else fetch(turn, total)
    return total


def _results(
    executor: Executor, batches: Sequence[Sequence[Piece]], algorithm: str
) -> Iterator[list[Digest]]:
    futures = [submit(executor, hash_batch, batch, algorithm) for batch in batches]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:  # after a refusal the rest is not needed
            future.cancel()


def submit(
    executor: Executor,
    work: Callable[[Sequence[T], str], list[Digest]],
    batch: Sequence[T],
    algorithm: str,
) -> Future[list[Digest]]:
    """Give a batch to an executor; Dask must know that equal calls differ, since files change."""
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
    """Cut work into batches that are worth a task: `BATCH_FILES` items, or `BATCH_BYTES`."""
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
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
