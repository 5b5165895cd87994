"""Hugging Face cache: links of a snapshot, resolved to blobs of the same repository.

link below `models--ORG--NAME/snapshots/REVISION` → file in that repository's `blobs`, or refused
files and their digests → demand that each blob is what its ETag says

A blob may itself be a link into the cache's shared store (`blobs/XX/HASH` next to repositories).
Every other link is refused. Blobs bear the hub's ETag: the SHA-256 of a large file, the git blob
identifier of a small one.

Source: huggingface_hub 2, guide "Manage the huggingface_hub cache-system"; git, `hash-object`.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mlsecops.errors import DigestMismatch, UnsafeContent, UsageError
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.files.opening import open_regular, printable
from mlsecops.provenance.files.pieces import Found, stamp_of

TOOL_STATE: Final = ".cache/huggingface"
"""Folder that the hub's tool keeps in a download folder; it is no part of the artifact."""
_REPOSITORY: Final = re.compile(r"[a-z]+--.+")
_SNAPSHOTS, _BLOBS = "snapshots", "blobs"
_SHARED: Final = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA1: Final = re.compile(r"[0-9a-f]{40}")
_GIT_BYTES: Final = 64 << 20  # bytes; chosen: the hub keeps files over 10 MB outside of git


def repository_of(path: str) -> str | None:
    """Folder of the repository whose snapshot a real path belongs to, or None.

    Examples:
        >>> repository_of("/hub/models--org--name/snapshots/0f1e/config.json")
        '/hub/models--org--name'
    """
    parts = path.split("/")
    for at in range(len(parts) - 2, 0, -1):
        if parts[at] == _SNAPSHOTS and _REPOSITORY.fullmatch(parts[at - 1]):
            return "/".join(parts[:at])
    return None


def repository_name(path: str) -> str | None:
    """Name of the repository that a snapshot's folder belongs to, without its owner, or None.

    Examples:
        >>> repository_name("/hub/models--org--name/snapshots/0f1e")
        'name'
    """
    folder, _, _ = path.rpartition("/")
    top, _, last = folder.rpartition("/")
    kind = top.rpartition("/")[2]
    return kind.rpartition("--")[2] if last == _SNAPSHOTS and _REPOSITORY.fullmatch(kind) else None


def linked_blob(path: str) -> Found | None:
    """The blob that a snapshot's link leads to; None for a path outside of any snapshot.

    Args:
        path: Real path of the link: no folder above it is a link.

    Raises:
        UnsafeContent: The link leaves the repository, or leads to no regular file in its blobs.
        UsageError: The blob cannot be read.
    """
    repository = repository_of(path)
    if repository is None:
        return None
    blob = _target(path)
    if os.path.dirname(blob) != f"{repository}/{_BLOBS}":  # noqa: PTH120 - a pure operation on text
        raise _left(path, blob, f"{repository}/{_BLOBS}")
    status = _status(blob, path)
    root = repository
    if stat.S_ISLNK(status.st_mode):
        cache = os.path.dirname(repository)  # noqa: PTH120 - a pure operation on text
        shared = _target(blob)
        if not _SHARED.fullmatch(shared.removeprefix(f"{cache}/{_BLOBS}/")):
            raise _left(path, shared, f"{repository}/{_BLOBS}")
        blob, root, status = shared, cache, _status(shared, path)
    if not stat.S_ISREG(status.st_mode):
        raise _left(path, blob, "a regular file")
    return Found(blob, status.st_size, root, stamp_of(status))


def readable_path(path: str | os.PathLike[str]) -> str:
    """Path of a file's bytes: that of its blob for a link of a snapshot, else the path itself.

    Raises:
        UnsafeContent: It is a link that leaves the repository.
    """
    given = Path(path)
    if not given.is_symlink():
        return os.fspath(path)
    found = linked_blob(os.path.join(os.path.realpath(given.parent), given.name))  # noqa: PTH118
    return os.fspath(path) if found is None else found.path


def etag_of(path: str) -> str | None:
    """The SHA-256 or git identifier that a snapshot's link names, or None."""
    etag = Path(path).readlink().name
    return etag if _SHA256.fullmatch(etag) or _SHA1.fullmatch(etag) else None


def require_etags(
    etags: Mapping[str, str], files: Mapping[str, Found], digests: Mapping[str, Digest]
) -> None:
    """Demand that blobs are what their ETags say: small ones, and large ones with a SHA-256.

    Args:
        etags: Name → ETag of the linked blobs.
        files: Name → file.
        digests: Name → digest of whole files.

    Raises:
        DigestMismatch: One was edited or not downloaded whole; all of them are named.
    """
    wrong = tuple(
        name
        for name, etag in etags.items()
        if not (_is_sha256 if len(etag) == 64 else _is_git)(  # noqa: PLR2004 - hex digits of SHA-256
            etag, files[name], digests.get(name)
        )
    )
    if wrong:
        raise DigestMismatch(
            f"{', '.join(wrong[:5])}: expected blobs that match the hub's ETags, got other bytes; "
            "download them again, or copy your edited files out of the cache",
            changed=wrong,
        )


def _is_sha256(etag: str, _: Found, digest: Digest | None) -> bool:
    return digest is None or digest.algorithm != "sha256" or digest.hex == etag


def _is_git(etag: str, found: Found, _: Digest | None) -> bool:
    """Whether a small file has a git blob identifier, or the plain SHA-1 that some mirrors name."""
    if found.size > _GIT_BYTES:
        return True
    with os.fdopen(open_regular(found.path), "rb") as stream:
        data = stream.read(_GIT_BYTES)
    starts = (b"blob %d\0" % len(data), b"")
    return any(
        hashlib.sha1(start + data, usedforsecurity=False).hexdigest() == etag for start in starts
    )


def _target(path: str) -> str:
    """What a link leads to, without following any further one."""
    try:
        return os.path.normpath(Path(path).parent / Path(path).readlink())
    except OSError as error:
        raise UsageError(f"cannot read {printable(path)}: {error.strerror}") from error


def _status(blob: str, path: str) -> os.stat_result:
    try:
        return os.lstat(blob)
    except OSError as error:
        raise UsageError(
            f"cannot read {printable(path)}: its blob {printable(blob)}: {error.strerror}; "
            "download it again"
        ) from error


def _left(path: str, target: str, wanted: str) -> UnsafeContent:
    where = printable(path)
    return UnsafeContent(
        f"{where} is a symlink to {printable(target)}: expected a link into {printable(wanted)}; "
        "download the repository again",
        rule="not-a-regular-file",
        where=where,
    )
