"""What the bytes of files are: one pass over each, refused if it changes meanwhile.

Paths come in, :class:`Digest` values go out. Nothing is followed: a symlink, a socket or a file
that changes under the reader is an error that names the path.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeAlias

from mlsecops.errors import ChangedDuringLoad, UnsafeContent, UsageError
from mlsecops.provenance.digest import Digest, new_hash

BUFFER: Final = 1 << 18
BATCH_FILES: Final = 32
BATCH_BYTES: Final = 64 << 20
SINGLE_THREAD_BYTES: Final = 4 << 20

Progress: TypeAlias = Callable[[int, int], object]
"""Called with (bytes done, bytes in all) after each batch."""


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that a walk found: its path on disk and its size in bytes."""

    path: str
    size: int


def open_regular(path: str | os.PathLike[str]) -> int:
    """Open a regular file without following a symlink at its end.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        UnsafeContent: It is a symlink, device, socket, pipe or folder.
        UsageError: It cannot be opened.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes must fail below, not wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114 - bytes and text paths alike
            raise refused_kind(path, "a symlink") from error
        raise UsageError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise refused_kind(path, kind_of(mode))
    return descriptor


def kind_of(mode: int) -> str:
    """Say in words what a file mode is."""
    names = (
        (stat.S_ISLNK, "a symlink"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a pipe"),
    )
    return next((name for test, name in names if test(mode)), "a device")


def refused_kind(path: str | os.PathLike[str], kind: str) -> UnsafeContent:
    """Error for a path that is not a regular file."""
    where = printable(os.fspath(path))
    return UnsafeContent(
        f"{where} is {kind}: expected a regular file; put the file itself there, or ignore it",
        rule="not-a-regular-file",
        where=where,
    )


def printable(path: str) -> str:
    """Show a path whatever bytes its name has."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def hash_file(path: str | os.PathLike[str], *, algorithm: str = "sha256") -> tuple[Digest, int]:
    """Digest of one regular file and the number of bytes read.

    Raises:
        UnsafeContent: It is not a regular file.
        ChangedDuringLoad: Its size or times changed while it was read.
        UsageError: It cannot be opened, or the algorithm is unknown.
    """
    running = new_hash(algorithm)
    descriptor = open_regular(path)
    try:
        before = os.fstat(descriptor)
        count = _feed(descriptor, running.update, most=before.st_size)
        after = os.fstat(descriptor)
    except OSError as error:
        raise UsageError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if _moment(before) != _moment(after) or count != before.st_size:
        raise ChangedDuringLoad(
            f"{os.fspath(path)} changed while it was being hashed: "
            f"expected {before.st_size} unchanging bytes, read {count}; stop the writer and retry"
        )
    return Digest(algorithm, running.digest()), count


def _feed(descriptor: int, update: Callable[[memoryview], object], *, most: int) -> int:
    """Read to the end, or just past what was announced: a file that grows must not hold us."""
    buffer = bytearray(BUFFER)
    view = memoryview(buffer)
    total = 0
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as stream:
        while total <= most and (count := stream.readinto(buffer)):
            update(view[:count])
            total += count
    return total


def _moment(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def hash_files(
    files: Sequence[Found],
    *,
    algorithm: str = "sha256",
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[Digest]:
    """Digests of many files, in their order.

    Args:
        files: What to hash.
        algorithm: Digest algorithm.
        executor: Where batches run; by default a pool of threads, or this thread for little work.
        progress: Told of bytes done after each batch.
    """
    batches = list(_batches(files))
    jobs = [([found.path for found in batch], algorithm) for batch in batches]
    total = sum(found.size for found in files)
    if executor is None and (len(batches) == 1 or total < SINGLE_THREAD_BYTES):
        return _gather((hash_batch(*job) for job in jobs), batches, total, progress)
    if executor is not None:
        futures = [executor.submit(hash_batch, *job) for job in jobs]
        return _gather((future.result() for future in futures), batches, total, progress)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return _gather(pool.map(lambda job: hash_batch(*job), jobs), batches, total, progress)


def hash_batch(paths: Sequence[str], algorithm: str) -> list[Digest]:
    """Digests of a batch; at module level, so that it pickles to any executor."""
    return [hash_file(path, algorithm=algorithm)[0] for path in paths]


def _gather(
    results: Iterable[list[Digest]],
    batches: Sequence[Sequence[Found]],
    total: int,
    progress: Progress | None,
) -> list[Digest]:
    digests: list[Digest] = []
    done = 0
    for result, batch in zip(results, batches, strict=True):
        digests.extend(result)
        done += sum(found.size for found in batch)
        if progress is not None:
            progress(done, total)
    return digests


def _batches(files: Sequence[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    size = 0
    for found in files:
        if batch and (len(batch) >= BATCH_FILES or size + found.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(found)
        size += found.size
    if batch:
        yield batch
