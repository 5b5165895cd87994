"""Remote content: digests of objects in stores and file systems that fsspec supports.

URL → listing → streams in batches, never kept on disk → named digests and sizes
URL → bytes of one object, bounded; bytes → object

The same bytes give the same manifest as a local artifact.

Source: fsspec, "Built-in implementations" and `AbstractFileSystem`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._extras import package_of, require
from mlsecops.errors import (
    ChangedDuringLoad,
    MissingExtra,
    MLSecOpsError,
    UnsafeContent,
    UsageError,
)
from mlsecops.provenance.digest import Digest, new_hash
from mlsecops.provenance.entry import Entry
from mlsecops.provenance.files.hashing import Progress, batched, submit
from mlsecops.provenance.files.urls import url_name

CHUNK: Final = 1 << 22  # bytes; chosen: one request of a store for each
THREADS: Final = 8  # downloads at a time; chosen: they wait for the network more than for a core

_CHANGING: Final = (
    "size", "ETag", "etag", "LastModified", "mtime", "created", "generation", "blob_id"
)  # fmt: skip
_READERS: Final = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs",
                   "hf": "huggingface_hub"}  # fmt: skip
"""Scheme → package that reads it."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An object as a listing showed it: its full URL and its size in bytes."""

    url: str
    size: int


def remote_entries(
    url: str,
    *,
    algorithm: str,
    ignore: Collection[str],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[Entry, ...], bool, tuple[str, ...]]:
    """Entries of an object or of all below a prefix, whether it is a single one, hidden names.

    Raises:
        UsageError: Nothing is there, or it cannot be read.
        UnsafeContent: An object's key is no relative path.
        ChangedDuringLoad: An object changed while it was read.
        MissingExtra: fsspec, or what it needs for the scheme, is not installed.
    """
    files, single, hidden = list_objects(url, ignore=ignore)
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
    return tuple(entries), single, hidden


def is_object(url: str) -> bool:
    """Whether a URL is that of one object.

    Raises:
        UsageError: The store cannot be asked.
        MissingExtra: What the scheme needs is not installed.
    """
    system, path = _system(url)
    try:
        system.invalidate_cache()
        return _is_file(system, path)
    except Exception as error:  # stores raise errors of their own kinds
        raise _unreadable(url, error) from error


def read_object(url: str, *, most: int) -> bytes:
    """The first bytes of an object.

    Args:
        url: Its URL.
        most: How many bytes are read at most.

    Raises:
        UsageError: It cannot be read.
    """
    system, path = _system(url)
    try:
        with system.open(path, "rb", cache_type="none", block_size=CHUNK) as stream:
            parts: list[bytes] = []
            while most > 0 and (part := stream.read(min(most, CHUNK))):
                parts.append(part)
                most -= len(part)
        return b"".join(parts)
    except Exception as error:  # stores raise errors of their own kinds
        raise _unreadable(url, error) from error


@contextlib.contextmanager
def opened_object(url: str) -> Iterator[Any]:
    """Stream of an object's bytes, read a request at a time.

    Raises:
        UsageError: It cannot be read; also where a read in the block fails.
    """
    system, path = _system(url)
    try:
        system.invalidate_cache(path)
        with system.open(path, "rb", cache_type="readahead", block_size=CHUNK) as stream:
            yield stream
    except Exception as error:  # stores raise errors of their own kinds
        raise _unreadable(url, error) from error


def write_object(url: str, data: bytes) -> None:
    """Write an object; stores show it whole or not at all.

    Raises:
        UsageError: It cannot be written.
    """
    system, path = _system(url)
    try:
        system.pipe_file(path, data)
        system.invalidate_cache()
    except Exception as error:  # stores raise errors of their own kinds
        raise UsageError(f"cannot write {url}: {type(error).__name__}: {error}") from error


def hash_remote(files: Sequence[RemoteFile], algorithm: str) -> list[Digest]:
    """Digests of a batch of objects; at module level, so that it pickles to any executor."""
    return [_hash_one(file, algorithm) for file in files]


def _hash_one(file: RemoteFile, algorithm: str) -> Digest:
    running, count = new_hash(algorithm), 0
    system, path = _system(file.url)
    try:
        system.invalidate_cache(path)  # some systems keep a listing for each thread
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


def list_objects(
    url: str, *, ignore: Collection[str]
) -> tuple[dict[str, RemoteFile], bool, tuple[str, ...]]:
    """Name → object, whether it is a single one, and the names that the ignore list hides.

    Raises:
        UsageError: Nothing is there, or it cannot be read.
        UnsafeContent: An object's key is no relative path.
    """
    system, path = _system(url)
    try:
        system.invalidate_cache()
        if _is_file(system, path):
            return {url_name(url): RemoteFile(url, int(system.info(path)["size"]))}, True, ()
        found: Mapping[str, Any] = system.find(path, detail=True)
    except Exception as error:  # stores raise errors of their own kinds
        raise _unreadable(url, error) from error
    top = path.rstrip("/")
    files, hidden = {}, []
    for key, info in found.items():
        name = _relative(key, top, url)
        if _hidden(name, ignore):
            hidden.append(name)
        else:
            files[name] = RemoteFile(f"{url.rstrip('/')}/{name}", int(info["size"]))
    if not found:
        raise UsageError(f"cannot read {url}: expected an object, found none")
    return files, False, tuple(sorted(hidden))


def _system(url: str) -> tuple[Any, str]:
    core = require("fsspec.core")
    try:
        system, path = core.url_to_fs(url)
    except ImportError as error:
        package = _READERS.get(url.partition("://")[0])
        if package is None:
            raise UsageError(f"cannot read {url}: {error}") from error
        raise MissingExtra(
            f"cannot read {url}: {package} is not installed; install it with: "
            f"pip install {package_of(package)}",
            name=package,
        ) from error
    except Exception as error:  # file systems raise errors of their own kinds
        raise UsageError(
            f"cannot read {url}: {error}; expected a URL that fsspec can open, such as "
            "s3://bucket/model, gs://bucket/model or hf://org/model"
        ) from error
    return system, str(path)


def _is_file(system: Any, path: str) -> bool:
    """Whether there is an object; `isfile` of fsspec takes every error for none."""
    try:
        return bool(system.info(path)["type"] == "file")
    except (FileNotFoundError, NotADirectoryError):
        return False


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
