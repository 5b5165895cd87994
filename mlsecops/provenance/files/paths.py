"""Content of a path: the named digests of a file, a folder's files, or the objects of a URL.

path or URL → list of files → pieces → `hashing` → entries of a manifest
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from mlsecops._choices import path_of
from mlsecops.errors import UsageError
from mlsecops.provenance.entry import Entry
from mlsecops.provenance.files.hashing import Cache, Progress, hash_pieces
from mlsecops.provenance.files.hub_cache import repository_name, require_etags
from mlsecops.provenance.files.opening import followed, open_regular
from mlsecops.provenance.files.pieces import Found, stamp_of
from mlsecops.provenance.files.shards import pieces_of, shard_size_of
from mlsecops.provenance.files.tree import Tree, ignore_paths, list_tree
from mlsecops.provenance.files.urls import is_url, url_name


@dataclass(frozen=True, slots=True, kw_only=True)
class PathContent:
    """Fields of a path's manifest, and the sorted names that its ignore list hides."""

    name: str
    entries: tuple[Entry, ...]
    ignore: tuple[str, ...]
    single: bool
    uncovered: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


def read_path(
    path: str | os.PathLike[str],
    *,
    algorithm: str,
    ignore: Iterable[str],
    executor: Executor | None = None,
    cache: str | os.PathLike[str] | Cache | None = None,
    progress: Progress | None = None,
    shard_size: int | None = None,
) -> PathContent:
    """Hash a path; the options are those of `hash_path`."""
    if is_url(path):
        if cache is not None or shard_size is not None:
            raise UsageError(f"{path}: a cache and shards are for local files; leave them out")
        url = os.fspath(path)
        return _read_url(
            url, algorithm=algorithm, ignore=ignore, executor=executor, progress=progress
        )
    real = Path(followed(path))
    name = own_name(path)
    single = not real.is_dir()
    ignored = () if single else ignore_paths(ignore)
    tree = Tree({name: _one_file(real)}, ()) if single else list_tree(real, ignore=ignored)
    pieces = pieces_of(tree.files, shard_size_of(shard_size))
    digests = hash_pieces(
        [piece for _, piece in pieces],
        algorithm=algorithm,
        executor=executor,
        cache=_opened(cache),
        progress=progress,
    )
    require_etags(
        tree.etags, tree.files, dict(zip((part for part, _ in pieces), digests, strict=True))
    )
    entries = tuple(
        Entry(part, digest, piece.size)
        for (part, piece), digest in zip(pieces, digests, strict=True)
    )
    empty = sorted(key for key, file in tree.files.items() if not file.size)
    return PathContent(
        name=name,
        entries=entries,
        ignore=ignored,
        single=single,
        uncovered=() if shard_size is None else tuple(empty),
        hidden=tree.ignored,
    )


def own_name(path: str | os.PathLike[str]) -> str:
    """Name of a folder or file, under which it is signed by default.

    A snapshot in a Hugging Face cache has the name of its repository, not of its revision. A URL
    has its last part as name, without a revision (`hf://org/name@main`).
    """
    if is_url(path):
        return url_name(os.fspath(path))
    repository = repository_name(followed(path))
    if repository is not None:
        return repository
    name = Path(path).name
    return name if name not in {"", ".."} else Path(followed(path)).name


def _read_url(
    url: str,
    *,
    algorithm: str,
    ignore: Iterable[str],
    executor: Executor | None,
    progress: Progress | None,
) -> PathContent:
    from mlsecops.provenance.files.remote import remote_entries  # noqa: PLC0415 - URLs only

    ignored = ignore_paths(ignore)
    entries, single, hidden = remote_entries(
        url, algorithm=algorithm, ignore=ignored, executor=executor, progress=progress
    )
    return PathContent(
        name=own_name(url),
        entries=entries,
        ignore=() if single else ignored,
        single=single,
        hidden=hidden,
    )


def _opened(cache: str | os.PathLike[str] | Cache | None) -> Cache | None:
    if not isinstance(cache, (str, os.PathLike)):
        return cache
    from mlsecops.provenance.files.stat_cache import StatCache  # noqa: PLC0415 - SQLite only when used

    return StatCache(path_of("cache", cache))


def _one_file(real: Path) -> Found:
    descriptor = open_regular(real)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return Found(str(real), status.st_size, stamp=stamp_of(status))
