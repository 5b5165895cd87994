"""Names and bytes of tiles and entry bundles.

level, index, width → key in the store; entries ↔ entry bundle

Source: C2SP tlog-tiles, "Merkle Tree" and "Log entries".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from mlsecops.errors import DigestMismatch, UsageError

__all__ = [
    "HASH_BYTES",
    "MOST_BUNDLE_BYTES",
    "MOST_ENTRY_BYTES",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "bundle_key",
    "decode_bundle",
    "encode_bundle",
    "tile_key",
    "tile_width",
]

TILE_HEIGHT: Final = 8  # levels of the tree in a tile; tlog-tiles
TILE_WIDTH: Final = 1 << TILE_HEIGHT  # hashes in a full tile; tlog-tiles
HASH_BYTES: Final = 32  # bytes of a SHA-256 digest; RFC 6962, section 2.1
MOST_ENTRY_BYTES: Final = 65_535  # bytes; the length before an entry is a uint16
MOST_BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MOST_ENTRY_BYTES)  # bytes; follows from both
_LENGTH: Final = struct.Struct(">H")


def tile_key(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Key of a tile, relative to the log's prefix.

    Examples:
        >>> tile_key(0, 1234067)
        'tile/0/x001/x234/067'
    """
    return f"tile/{level}/{_numbered(index, width)}"


def bundle_key(index: int, width: int = TILE_WIDTH) -> str:
    """Key of an entry bundle, relative to the log's prefix.

    Examples:
        >>> bundle_key(7, 3)
        'tile/entries/007.p/3'
    """
    return f"tile/entries/{_numbered(index, width)}"


def tile_width(level: int, index: int, size: int) -> int:
    """Hashes of a tile in a tree of `size` entries; 0 or less where there is no such tile."""
    return min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries with their lengths.

    Raises:
        UsageError: One is too long.
    """
    for entry in entries:
        if len(entry) > MOST_ENTRY_BYTES:
            raise UsageError(
                f"log entry: expected at most {MOST_ENTRY_BYTES} bytes, got {len(entry)}; record "
                "a digest of the data instead"
            )
    return b"".join(part for entry in entries for part in (_LENGTH.pack(len(entry)), entry))


def decode_bundle(data: bytes, *, where: str) -> list[bytes]:
    """Entries of a bundle.

    Args:
        data: The bundle.
        where: Its key, for messages.

    Raises:
        DigestMismatch: A length leads out of it.
    """
    entries: list[bytes] = []
    place = 0
    while place < len(data):
        end = place + _LENGTH.size
        if end <= len(data):
            end += _LENGTH.unpack_from(data, place)[0]
        if end > len(data):
            raise DigestMismatch(f"{where}: the entry bundle ends within entry {len(entries)}")
        entries.append(data[place + _LENGTH.size : end])
        place = end
    return entries


def _numbered(index: int, width: int) -> str:
    digits = f"{index:0{(len(str(index)) + 2) // 3 * 3}d}"
    groups = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return number if width == TILE_WIDTH else f"{number}.p/{width}"
