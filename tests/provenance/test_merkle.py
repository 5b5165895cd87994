from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.errors import DigestMismatch, UsageError
from mlsecops.provenance import merkle

# The reference entries and roots that Certificate Transparency implementations test with.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]

sizes = st.integers(min_value=1, max_value=70)


def leaves_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(number.to_bytes(2)) for number in range(size)]


def test_roots_are_those_of_certificate_transparency() -> None:
    assert [merkle.root(LEAVES[: size + 1]).hex() for size in range(8)] == ROOTS


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert merkle.root([]) == hashlib.sha256(b"").digest()


def test_the_inclusion_proof_is_that_of_certificate_transparency() -> None:
    assert [step.hex() for step in merkle.inclusion_proof(LEAVES, 0)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


def test_the_consistency_proof_is_that_of_certificate_transparency() -> None:
    assert [step.hex() for step in merkle.consistency_proof(LEAVES, 6)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(size=sizes, data=st.data())
def test_every_leaf_is_shown_to_be_included(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    root = merkle.root(leaves)
    proof = merkle.inclusion_proof(leaves, index)
    assert (
        merkle.verify_inclusion(leaves[index], index=index, size=size, proof=proof, root=root)
        == root
    )


@given(size=st.integers(2, 70), data=st.data())
def test_no_other_leaf_passes_with_its_proof(size: int, data: st.DataObject) -> None:
    index, other = data.draw(
        st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True)
    )
    leaves = leaves_of(size)
    proof = merkle.inclusion_proof(leaves, index)
    root = merkle.root(leaves)
    with pytest.raises(DigestMismatch):
        merkle.verify_inclusion(leaves[other], index=index, size=size, proof=proof, root=root)
    with pytest.raises(DigestMismatch):
        merkle.verify_inclusion(
            leaves[index], index=index, size=size, proof=(*proof, root), root=root
        )


@given(size=sizes, data=st.data())
def test_every_prefix_is_shown_to_be_extended(size: int, data: st.DataObject) -> None:
    old_size = data.draw(st.integers(0, size))
    leaves = leaves_of(size)
    root = merkle.root(leaves)
    assert (
        merkle.verify_consistency(
            old_size=old_size,
            old_root=merkle.root(leaves[:old_size]),
            size=size,
            root=root,
            proof=merkle.consistency_proof(leaves, old_size),
        )
        == root
    )


@given(size=sizes, data=st.data())
def test_a_rewritten_prefix_has_no_consistency_proof(size: int, data: st.DataObject) -> None:
    old_size = data.draw(st.integers(1, size))
    rewritten = data.draw(st.integers(0, old_size - 1))
    leaves = leaves_of(size)
    forged = [*leaves]
    forged[rewritten] = merkle.leaf_hash(b"another entry")
    with pytest.raises(DigestMismatch):
        merkle.verify_consistency(
            old_size=old_size,
            old_root=merkle.root(leaves[:old_size]),
            size=size,
            root=merkle.root(forged),
            proof=merkle.consistency_proof(forged, old_size),
        )


@given(size=st.integers(2, 70), data=st.data())
def test_a_changed_or_longer_consistency_proof_is_refused(size: int, data: st.DataObject) -> None:
    old_size = data.draw(st.integers(1, size - 1))
    leaves = leaves_of(size)
    proof = list(merkle.consistency_proof(leaves, old_size))
    place = data.draw(st.integers(0, len(proof) - 1))
    changed = [*proof[:place], merkle.leaf_hash(b"no node"), *proof[place + 1 :]]
    for bad in (changed, [*proof, proof[-1]], proof[:-1], []):
        with pytest.raises(DigestMismatch):
            merkle.verify_consistency(
                old_size=old_size,
                old_root=merkle.root(leaves[:old_size]),
                size=size,
                root=merkle.root(leaves),
                proof=bad,
            )


def test_a_root_does_not_pass_for_that_of_a_smaller_tree() -> None:
    """The proof goes on above the tree of the named size, up to a root that is a true one."""
    two = leaves_of(2)
    with pytest.raises(DigestMismatch, match="longer than the tree is high"):
        merkle.verify_inclusion(
            two[1], index=0, size=1, proof=[two[0]], root=merkle.root(two)
        )  # fmt: skip
    eight = leaves_of(8)
    with pytest.raises(DigestMismatch, match="longer than the tree is high"):
        merkle.verify_consistency(
            old_size=3,
            old_root=merkle.root(eight[:7]),
            size=4,
            root=merkle.root(eight),
            proof=merkle.consistency_proof(eight, 7),
        )


def test_a_root_does_not_pass_for_that_of_a_larger_tree() -> None:
    """The proof ends below the root of the named size."""
    eight = leaves_of(8)
    with pytest.raises(DigestMismatch, match="not in that log"):
        merkle.verify_inclusion(eight[0], index=0, size=2, proof=[], root=eight[0])
    with pytest.raises(DigestMismatch, match="rewritten"):
        merkle.verify_consistency(
            old_size=3,
            old_root=merkle.root(eight[:3]),
            size=8,
            root=merkle.root(eight[:4]),
            proof=merkle.consistency_proof(eight[:4], 3),
        )


def test_a_shrunken_tree_extends_nothing() -> None:
    with pytest.raises(DigestMismatch):
        merkle.verify_consistency(
            old_size=4,
            old_root=merkle.root(LEAVES[:4]),
            size=2,
            root=merkle.root(LEAVES[:2]),
            proof=(),
        )


@pytest.mark.parametrize(
    ("old_size", "old_root", "size", "proof"),
    [
        (4, merkle.root(LEAVES[:4]), 4, [LEAVES[0]]),
        (4, merkle.root(LEAVES[:3]), 4, []),
        (0, merkle.Peaks.EMPTY.root, 4, [LEAVES[0]]),
        (0, merkle.root(LEAVES[:1]), 4, []),
        (0, merkle.Peaks.EMPTY.root, -1, []),
        (-1, merkle.Peaks.EMPTY.root, 4, [LEAVES[0]]),
        (3, merkle.root(LEAVES[:3]), 4, []),
    ],
)
def test_an_empty_or_equal_tree_is_extended_by_an_empty_proof_alone(
    old_size: int, old_root: bytes, size: int, proof: list[bytes]
) -> None:
    root = merkle.root(LEAVES[:4])
    with pytest.raises(DigestMismatch):
        merkle.verify_consistency(
            old_size=old_size, old_root=old_root, size=size, root=root, proof=proof
        )


def test_an_inner_node_does_not_pass_as_a_leaf() -> None:
    inner = merkle.root(LEAVES[:2])
    with pytest.raises(DigestMismatch):
        merkle.verify_inclusion(
            merkle.leaf_hash(LEAVES[0] + LEAVES[1]), index=0, size=1, proof=(), root=inner
        )


@pytest.mark.parametrize("index", [-1, 8])
def test_an_index_outside_the_tree_is_refused(index: int) -> None:
    with pytest.raises(UsageError, match="index"):
        merkle.inclusion_proof(LEAVES, index)
    with pytest.raises(DigestMismatch, match="outside"):
        merkle.verify_inclusion(LEAVES[0], index=index, size=8, proof=(), root=merkle.root(LEAVES))


def test_an_older_tree_that_is_larger_is_refused() -> None:
    with pytest.raises(UsageError, match="older size"):
        merkle.consistency_proof(LEAVES, 9)


def test_a_compact_range_with_a_missing_peak_is_refused() -> None:
    with pytest.raises(UsageError, match="subtree"):
        merkle.Peaks(3, (LEAVES[0],))
