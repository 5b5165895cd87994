"""Manifest of held files in shards, for a signature that covers shards instead of files.

Snapshot, size of a shard → held bytes hashed once more, on all cores → Manifest
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

from mlsecops._platform import CLOEXEC
from mlsecops.errors import DigestMismatch
from mlsecops.loading.artifact import ArtifactLayout
from mlsecops.loading.snapshot import Snapshot
from mlsecops.provenance import Entry, Manifest
from mlsecops.provenance.files.hashing import hash_pieces
from mlsecops.provenance.files.pieces import Found
from mlsecops.provenance.files.shards import pieces_of


def sharded_manifest(
    files: ArtifactLayout, held: Snapshot, *, algorithm: str, shard_size: int
) -> Manifest:
    """Manifest of all files of a layout, which are all held.

    Args:
        files: The layout.
        held: Its bytes.
        algorithm: Digest algorithm.
        shard_size: Bytes of a shard.

    Raises:
        DigestMismatch: A file is empty: no shard covers it.
    """
    if empty := sorted(name for name, source in held.sources.items() if not source.size):
        raise DigestMismatch(
            f"{', '.join(empty[:5])}: expected files that the signature covers, got empty ones, "
            "which have no shard; remove them, or sign whole files",
            added=tuple(empty),
        )
    found = {name: Found(name, source.size) for name, source in held.sources.items()}
    named = pieces_of(found, shard_size)
    with contextlib.ExitStack() as stack:
        descriptors = {}
        for name, source in held.sources.items():
            descriptors[name] = os.open(source.path, os.O_RDONLY | CLOEXEC)
            stack.callback(os.close, descriptors[name])
        pieces = [replace(piece, descriptor=descriptors[piece.found.path]) for _, piece in named]
        digests = hash_pieces(pieces, algorithm=algorithm)
    entries = tuple(
        Entry(name, digest, piece.size)
        for (name, piece), digest in zip(named, digests, strict=True)
    )
    return Manifest(
        name=files.main,
        algorithm=algorithm,
        entries=entries,
        single=files.single,
        shard_size=shard_size,
    )
