"""Shards in a signature: resources named `path:start:end`, each of a fixed number of bytes.

Source: OpenSSF Model Signing specification 1.0, serialization method `shards`; deployed signers
write the algorithm as `sha256-sharded-<N>`, the specification as `sha256`.
"""

from __future__ import annotations

import re
from typing import Final

from mlsecops.errors import MalformedBundle
from mlsecops.provenance.manifest import Manifest

MAX_SHARD_SIZE: Final = 1 << 62  # bytes; chosen: sums of two stay signed 64-bit numbers
_NUMBER: Final = "(0|[1-9][0-9]{0,18})"
_NAME: Final = re.compile(f"(.+):{_NUMBER}:{_NUMBER}", re.DOTALL)


def shard_size(value: object, where: str) -> int:
    """Size of a shard in bytes; deployed signers write 8.0 for 8.

    Raises:
        MalformedBundle: It is no whole number of bytes.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        size = int(value) if 0 < value < MAX_SHARD_SIZE else 0
        if size > 0 and size == value:
            return size
    raise MalformedBundle(f"{where}: shard_size {value!r}: expected a whole number of bytes")


def written_method(manifest: Manifest) -> dict[str, object]:
    """Serialization method of a signature: whole files, or shards of one size."""
    if manifest.shard_size is None:
        return {"method": "files"}
    return {"method": "shards", "shard_size": manifest.shard_size}


def written_algorithm(manifest: Manifest) -> str:
    """The digest algorithm of a resource, as deployed verifiers read it."""
    if manifest.shard_size is None:
        return manifest.algorithm
    return f"{manifest.algorithm}-sharded-{manifest.shard_size}"


def plain_algorithm(algorithm: object, size: int) -> object:
    """The digest algorithm of a shard without the shard size."""
    if isinstance(algorithm, str):
        return algorithm.removesuffix(f"-sharded-{size}")
    return algorithm


def file_of_shard(name: str, size: int, where: str) -> str:
    """The file of a shard; its path may hold colons and digits.

    Raises:
        MalformedBundle: It is not the name of a shard of that size.
    """
    match = _NAME.fullmatch(name)
    if match is not None:
        start, end = int(match[2]), int(match[3])
        if start % size == 0 and start < end <= start + size:
            return match[1]
    raise MalformedBundle(
        f"{where}: resource {name!r}: expected 'path:start:end' of a shard of {size} bytes"
    )


def file_of(name: str, manifest: Manifest) -> str:
    """The file of a manifest's entry, which is the file or a shard of it."""
    return name if manifest.shard_size is None else name.rsplit(":", 2)[0]
