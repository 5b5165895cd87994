"""Merkle tree over tiles: subtree hashes, inclusion proofs and consistency proofs.

tiles (not trusted) → subtree hashes → proof → checked against signed roots

Source: C2SP tlog-tiles, "Merkle Tree"; RFC 6962, sections 2.1.1 and 2.1.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlsecops._repr import concise_repr
from mlsecops.audit.objects import ObjectStore
from mlsecops.audit.tlog.tiles import (
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    tile_key,
    tile_width,
)
from mlsecops.errors import DigestMismatch, UsageError
from mlsecops.provenance.merkle import Peaks, node_hash, verify_consistency, verify_inclusion

__all__ = ["TileTree", "fold"]


@concise_repr("size", "_prefix")
class TileTree:
    """The tree of a log at one size; tiles are read once, when they are needed.

    Hashes are as the tiles say, which anybody with write access to the store can change; a proof
    made from them is verified before it is returned.

    Args:
        store: Store of the log.
        prefix: Prefix of the log's keys, with a slash at its end.
        size: Number of entries.
    """

    def __init__(self, store: ObjectStore, prefix: str, size: int) -> None:
        self.size = size
        self._store = store
        self._prefix = prefix
        self._tiles: dict[tuple[int, int], bytes] = {}

    def tile(self, level: int, index: int) -> bytes:
        """A tile's hashes; the full tile stands in for a partial one that was deleted.

        Raises:
            DigestMismatch: It is missing, or of another length.
            OSError: The store cannot be read.
        """
        known = self._tiles.get((level, index))
        if known is None:
            known = self._tiles[level, index] = self._read(level, index)
        return known

    def hash(self, level: int, index: int) -> bytes:
        """Hash of a perfect subtree of `2**level` entries."""
        tiles, inner = divmod(level, TILE_HEIGHT)
        first = index << inner
        place = first % TILE_WIDTH * HASH_BYTES
        tile = self.tile(tiles, first // TILE_WIDTH)
        return fold(split(tile[place : place + (HASH_BYTES << inner)]))

    def peaks(self, size: int) -> Peaks:
        """Compact range of the first `size` entries, as the tiles say."""
        hashes, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                hashes.append(self.hash(level, start >> level))
                start += 1 << level
        return Peaks(size, tuple(hashes))

    def inclusion(self, index: int, leaf: bytes, root: bytes) -> tuple[bytes, ...]:
        """Verified proof that a leaf hash is at an index.

        Args:
            index: Place of the entry, from 0.
            leaf: Its leaf hash.
            root: Signed root of the tree.

        Raises:
            UsageError: The index is outside the tree.
            DigestMismatch: The tiles do not lead to the root.
        """
        if not 0 <= index < self.size:
            raise UsageError(f"inclusion proof: expected an index below {self.size}, got {index}")
        path: list[bytes] = []
        low, high = 0, self.size
        while high - low > 1:
            middle = low + _split(high - low)
            path.append(self._range(middle, high) if index < middle else self._range(low, middle))
            low, high = (low, middle) if index < middle else (middle, high)
        proof = tuple(reversed(path))
        verify_inclusion(leaf, index=index, size=self.size, proof=proof, root=root)
        return proof

    def consistency(self, old_size: int, old_root: bytes, root: bytes) -> tuple[bytes, ...]:
        """Verified proof that the tree extends an older one.

        Args:
            old_size: Number of entries of the older tree.
            old_root: Its root.
            root: Signed root of this tree.

        Raises:
            DigestMismatch: It does not, or the tiles do not lead to the roots.
        """
        proof = self.consistency_steps(old_size)
        verify_consistency(
            old_size=old_size, old_root=old_root, size=self.size, root=root, proof=proof
        )
        return proof

    def consistency_steps(self, old_size: int) -> tuple[bytes, ...]:
        """Consistency proof as the tiles give it, for whoever verifies it."""
        path: list[bytes] = []
        low, high, old, whole = 0, self.size, old_size, True
        while low < old < high:
            middle = low + _split(high - low)
            if old <= middle:
                path.append(self._range(middle, high))
                high = middle
            else:
                path.append(self._range(low, middle))
                low, whole = middle, False
        if old_size and not whole:
            path.append(self._range(low, high))
        return tuple(reversed(path))

    def _range(self, low: int, high: int) -> bytes:
        """Hash of the subtree over entries `low` to `high`; `low` is a multiple of its width."""
        hashes = []
        while low < high:
            level = (high - low).bit_length() - 1
            hashes.append(self.hash(level, low >> level))
            low += 1 << level
        folded = hashes.pop()
        while hashes:
            folded = node_hash(hashes.pop(), folded)
        return folded

    def _read(self, level: int, index: int) -> bytes:
        width = tile_width(level, index, self.size)
        wanted = width * HASH_BYTES
        for each in dict.fromkeys((width, TILE_WIDTH)):
            key = self._prefix + tile_key(level, index, each)
            stored = self._store.get(key, most=TILE_WIDTH * HASH_BYTES)
            if stored is not None and len(stored.data) == each * HASH_BYTES:
                return stored.data[:wanted]
        raise DigestMismatch(
            f"{self._store.where}/{self._prefix}{tile_key(level, index, width)}: the tile is "
            "missing or of another length; restore the log from a copy"
        )


def split(data: bytes) -> list[bytes]:
    """Hashes of a tile."""
    return [data[place : place + HASH_BYTES] for place in range(0, len(data), HASH_BYTES)]


def fold(hashes: Sequence[bytes]) -> bytes:
    """Root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [
            node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


def _split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1
