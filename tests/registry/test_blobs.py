from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.audit.objects import FolderStore
from mlsecops.errors import DigestMismatch, RegistryError
from mlsecops.provenance import Digest
from mlsecops.registry.blobs import Blobs, copy_hashed
from mlsecops.registry.listing import Listing
from tests.attackers.registry import change_blob


def test_a_changed_blob_is_neither_read_nor_copied(tmp_path: Path) -> None:
    blobs = Blobs(FolderStore(tmp_path))
    digest = blobs.put(b"good")
    change_blob(tmp_path, b"good", b"evil")
    with pytest.raises(DigestMismatch):
        blobs.read(digest)
    with pytest.raises(DigestMismatch):
        blobs.copy(digest, tmp_path / "copy")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(OSError, match="link"):
        copy_hashed(tmp_path / "link", tmp_path / "copy")


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a//b", "a/./b", "", "a/.."])
def test_a_listing_that_leaves_its_folder_is_refused(name: str) -> None:
    with pytest.raises(RegistryError, match="unsafe"):
        Listing.load(Listing(((name, Digest.of(b"x")),)).to_bytes())


@given(st.binary(max_size=60))
def test_no_bytes_make_the_listing_reader_fail_in_another_way(data: bytes) -> None:
    try:
        Listing.load(data)
    except RegistryError:
        return
    assert data.strip() == b"{}"
