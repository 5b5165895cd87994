"""Remote content: digests of objects in stores and file systems that fsspec supports.

URL → listing → streams in batches, never kept on disk → named digests and sizes

The same bytes give the same manifest as a local artifact.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import ChangedDuringLoad, MLSecOpsError, UnsafeContent, UsageError
from mlsecops.provenance.digest import Digest, new_hash
from mlsecops.provenance.entry import Entry
from mlsecops.provenance.files.hashing import Progress, batched, submit

CHUNK: Final = 1 << 22  # bytes; chosen: one request of a store for each
THREADS: Final = 8  # downloads at a time; chosen: they wait for the network more than for a core

_CHANGING: Final = ("size", "ETag", "etag", "LastModified", "mtime", "created", "generation")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An object as a listing showed it: its full URL and its size in bytes."""

    url: str
    size: int


def url_name(url: str) -> str:
    """Last part of a URL's path."""
    return url.rstrip("/").rpartition("/")[2]


def remote_entries(
    url: str,
    *,
    algorithm: str,
    ignore: Collection[str],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[Entry, ...], bool]:
    """Entries of an object, or of all objects below a prefix; and whether it is a single one.

    Raises:
        UsageError: Nothing is there, or it cannot be read.
        UnsafeContent: An object's key is no relative path.
        ChangedDuringLoad: An object changed while it was read.
        MissingExtra: fsspec, or what it needs for the scheme, is not installed.
    """
    files, single = _listing(url, ignore)
    named = sorted(files.items())
    batches = list(batched([file for _, file in named]))
    total = sum(file.size for file in files.values())
    pool = executor or ThreadPoolExecutor(THREADS)
    digests: list[Digest] = []
    done = 0
    try:
        futures = [submit(pool, hash_remote, batch, algorithm) for batch in batches]
        for future, batch in zip(futures, batches, strict=True):
            digests += future.result()
            done += sum(file.size for file in batch)
            if progress is not None:
                progress(done, total)
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    entries = (
        Entry(name, digest, file.size) for (name, file), digest in zip(named, digests, strict=True)
    )
    return tuple(entries), single


def hash_remote(files: Sequence[RemoteFile], algorithm: str) -> list[Digest]:
    """Digests of a batch of objects; at module level, so that it pickles to any executor."""
    return [_hash_one(file, algorithm) for file in files]


def _hash_one(file: RemoteFile, algorithm: str) -> Digest:
    running, count = new_hash(algorithm), 0
    system, path = _system(file.url)
    try:
        before = _seen(system, path)
        with system.open(path, "rb", cache_type="readahead", block_size=CHUNK) as stream:
            while count <= file.size and (chunk := stream.read(CHUNK)):
                running.update(chunk)
                count += len(chunk)
        system.invalidate_cache(path)
        after = _seen(system, path)
    except Exception as error:  # stores raise errors of their own kinds
        raise _unreadable(file.url, error) from error
    if after != before or count != file.size:
        raise ChangedDuringLoad(
            f"{file.url} changed while it was being hashed: expected {file.size} unchanging bytes, "
            f"read {count}; stop the writer and retry"
        )
    return Digest(algorithm, running.digest())


def _seen(system: Any, path: str) -> tuple[str, ...]:
    """Values of a store's listing that change with the content of an object."""
    info = system.info(path)
    return tuple(str(info.get(key)) for key in _CHANGING)


def _listing(url: str, ignore: Collection[str]) -> tuple[dict[str, RemoteFile], bool]:
    system, path = _system(url)
    try:
        system.invalidate_cache()
        if system.isfile(path):
            return {url_name(url): RemoteFile(url, int(system.info(path)["size"]))}, True
        found: Mapping[str, Any] = system.find(path, detail=True)
    except Exception as error:  # stores raise errors of their own kinds
        raise _unreadable(url, error) from error
    top = path.rstrip("/")
    files = {}
    for key, info in found.items():
        name = _relative(key, top, url)
        if not _hidden(name, ignore):
            files[name] = RemoteFile(f"{url.rstrip('/')}/{name}", int(info["size"]))
    if not found:
        raise UsageError(f"cannot read {url}: expected an object, found none")
    return files, False


def _system(url: str) -> tuple[Any, str]:
    core = require("fsspec.core")
    try:
        system, path = core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UsageError(f"cannot read {url}: {error}") from error
    return system, str(path)


def _unreadable(url: str, error: Exception) -> MLSecOpsError:
    if isinstance(error, MLSecOpsError):
        return error
    return UsageError(f"cannot read {url}: {type(error).__name__}: {error}")


def _relative(key: str, top: str, url: str) -> str:
    name = key[len(top) :].removeprefix("/")
    inside = key.startswith(f"{top}/") or not top
    if not inside or any(part in {"", ".", ".."} for part in name.split("/")) or "\0" in name:
        raise UnsafeContent(
            f"{url}: object {key!r} has no relative path below it: rename it, or hash it alone",
            rule="name-not-relative",
            where=key,
        )
    return name


def _hidden(name: str, ignore: Collection[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in ignore)
