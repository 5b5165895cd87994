"""Merkle trees: roots, inclusion proofs and consistency proofs.

    leaf hashes → root, proofs; root + proof → verified root

`Peaks` is the compact range: the root of a growing list in O(log n) memory, so that an append does
not read earlier entries.

Source: RFC 6962, section 2.1; proof verification follows RFC 9162, sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlsecops.errors import DigestMismatch, UsageError


def leaf_hash(data: bytes) -> bytes:
    """Hash an entry (`SHA-256(0x00 || data)`)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees (`SHA-256(0x01 || left || right)`)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Peaks:
    """Compact range: roots of the perfect subtrees of a list of `size` leaves, largest first.

    Attributes:
        size: Number of leaves.
        hashes: One 32-byte root for each bit set in `size`.

    Raises:
        UsageError: The number of roots does not match the size.

    Examples:
        >>> Peaks.EMPTY.append(leaf_hash(b"a")).root == leaf_hash(b"a")
        True
    """

    EMPTY: ClassVar[Peaks]

    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise UsageError(
                f"compact range of {self.size} leaves: expected {self.size.bit_count()} subtree "
                f"roots, got {len(self.hashes)}"
            )

    def append(self, leaf: bytes) -> Peaks:
        """Add one leaf hash."""
        hashes, carry, size = list(self.hashes), leaf, self.size
        while size & 1:
            carry = node_hash(hashes.pop(), carry)
            size >>= 1
        return Peaks(self.size + 1, (*hashes, carry))

    def extend(self, leaves: Iterable[bytes]) -> Peaks:
        """Add leaf hashes in order."""
        grown = self
        for leaf in leaves:
            grown = grown.append(leaf)
        return grown

    @property
    def root(self) -> bytes:
        """Root of the whole list; that of the empty list is `SHA-256("")`."""
        if not self.hashes:
            return hashlib.sha256(b"").digest()
        *larger, folded = self.hashes
        for left in reversed(larger):
            folded = node_hash(left, folded)
        return folded


Peaks.EMPTY = Peaks(0, ())


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Merkle tree hash of a list of leaf hashes (32 bytes each)."""
    return Peaks.EMPTY.extend(leaf_hashes).root


def _split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Audit path of one of the leaves (32 bytes each), from its sibling up to the root.

    Raises:
        UsageError: The index is outside the tree.

    Source: RFC 6962, section 2.1.1.
    """
    if not 0 <= index < len(leaf_hashes):
        raise UsageError(
            f"inclusion proof: expected an index below {len(leaf_hashes)}, got {index}"
        )
    path: list[bytes] = []
    leaves = leaf_hashes
    while len(leaves) > 1:
        middle = _split(len(leaves))
        left, right = leaves[:middle], leaves[middle:]
        path.append(root(right) if index < middle else root(left))
        leaves, index = (left, index) if index < middle else (right, index - middle)
    return tuple(reversed(path))


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Proof that the first `old_size` leaves are a prefix of all of them (32 bytes each).

    Raises:
        UsageError: The older tree is larger than the newer.

    Source: RFC 6962, section 2.1.2.
    """
    if not 0 <= old_size <= len(leaf_hashes):
        raise UsageError(
            f"consistency proof: expected an older size of at most {len(leaf_hashes)}, "
            f"got {old_size}"
        )
    path: list[bytes] = []
    leaves, size, whole = leaf_hashes, old_size, True
    while 0 < size < len(leaves):
        middle = _split(len(leaves))
        if size <= middle:
            path.append(root(leaves[middle:]))
            leaves = leaves[:middle]
        else:
            path.append(root(leaves[:middle]))
            leaves, size, whole = leaves[middle:], size - middle, False
    if old_size and not whole:
        path.append(root(leaves))
    return tuple(reversed(path))


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bytes:
    """Check that a leaf hash is at an index of the tree with this trusted root; returns the root.

    Raises:
        DigestMismatch: The proof does not lead from the leaf to the root.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise DigestMismatch(f"inclusion proof: index {index} is outside a tree of {size} leaves")
    position, last, running = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise DigestMismatch(
                f"inclusion proof of leaf {index}: it is longer than the tree is high"
            )
        if position & 1 or position == last:
            running = node_hash(step, running)
            position, last = _skip_to_sibling(position, last)
        else:
            running = node_hash(running, step)
        position, last = position >> 1, last >> 1
    if last or running != root:
        raise DigestMismatch(
            f"inclusion proof of leaf {index} in {size}: expected root {root.hex()}, "
            f"got {running.hex()}; the entry is not in that log"
        )
    return root


def verify_consistency(
    *, old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bytes:
    """Check that a tree extends an older, trusted one without changing its entries.

    Returns the newer root, proven to extend the older.

    Raises:
        DigestMismatch: The proof fails: the log was rewritten, or it shrank.

    Source: RFC 9162, section 2.1.4.2.
    """
    if old_size in {0, size}:
        return _trivially_consistent(old_size, old_root, size, root, proof)
    steps = _consistency_steps(old_size, old_root, size, proof)
    position, last = old_size - 1, size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    older = newer = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise DigestMismatch("consistency proof: it is longer than the tree is high")
        if position & 1 or position == last:
            older, newer = node_hash(step, older), node_hash(step, newer)
            position, last = _skip_to_sibling(position, last)
        else:
            newer = node_hash(newer, step)
        position, last = position >> 1, last >> 1
    if last or older != old_root or newer != root:
        raise DigestMismatch(
            f"consistency proof from {old_size} to {size} leaves fails: entries that were "
            "already logged have been rewritten"
        )
    return root


def _trivially_consistent(
    old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bytes:
    """Any tree extends the empty tree and itself, with an empty proof."""
    expected = Peaks.EMPTY.root if old_size == 0 else root
    if proof or old_root != expected or size < old_size:
        raise DigestMismatch(f"consistency proof from {old_size} to {size} leaves fails")
    return root


def _consistency_steps(
    old_size: int, old_root: bytes, size: int, proof: Sequence[bytes]
) -> tuple[bytes, ...]:
    if not 0 < old_size < size or not proof:
        raise DigestMismatch(
            f"consistency proof of {len(proof)} steps cannot show that {size} leaves extend "
            f"{old_size}"
        )
    # RFC 9162, section 2.1.4.2: a perfect older tree is its own first node.
    return (old_root, *proof) if old_size.bit_count() == 1 else tuple(proof)


def _skip_to_sibling(position: int, last: int) -> tuple[int, int]:
    """Climb while the node has no right sibling (a left child at the right edge)."""
    while position and not position & 1:
        position, last = position >> 1, last >> 1
    return position, last
