from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlsecops import SecureLoader, TrustPolicy
from mlsecops.errors import DigestMismatch
from mlsecops.loading import Limits
from mlsecops.loading.snapshot import snapshot
from mlsecops.provenance.files import leases
from mlsecops.signing import Signer, sign
from tests.attackers.changing_fuse import changing

np = pytest.importorskip("numpy")
save = pytest.importorskip("safetensors.numpy").save

OTHERS = {
    "fuse": 0x65735546,
    "virtiofs": 0x65735546,
    "nfs": 0x6969,
    "smb": 0xFF534D42,
    "smb2": 0xFE534D42,
    "9p": 0x01021997,
    "ceph": 0x00C36400,
    "lustre": 0x0BD00BD0,
    "gpfs": 0x47504653,
    "afs": 0x5346414F,
    "ocfs2": 0x7461636F,
    "gfs2": 0x01161970,
    "overlay": 0x794C7630,
    "unknown": 0,
}


def tier_of(file: Path) -> str:
    with snapshot({"m": str(file)}, tier="pinned", algorithm="sha256", limits=Limits()) as held:
        return held.tier


@pytest.mark.parametrize("kind", OTHERS.values(), ids=OTHERS)
def test_no_file_is_pinned_where_others_may_write_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"w" * 5000)
    monkeypatch.setattr(leases, "file_system", lambda _: kind)
    assert tier_of(file) == "sealed"
    monkeypatch.setattr(leases, "file_system", lambda _: 0xEF53)
    assert tier_of(file) == "pinned"


@pytest.mark.parametrize("place", ["/dev/shm", None])
def test_a_file_of_a_local_file_system_is_pinned(tmp_path: Path, place: str | None) -> None:
    folder = Path(place or tmp_path)
    file = folder / f"mlsecops-test-{os.getpid()}"
    file.write_bytes(b"w" * 5000)
    try:
        with file.open("rb") as stream:
            kind = leases.file_system(stream.fileno())
        assert tier_of(file) == ("pinned" if kind in leases.LOCAL else "sealed")
    finally:
        file.unlink()


def test_a_type_that_cannot_be_found_out_is_not_local(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leases.file_system(-1) == 0

    def missing(*_: object, **__: object) -> None:
        raise OSError("no C library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert leases.file_system(0) == 0
    assert not leases.take_lease(0)


@contextlib.contextmanager
def changing_or_imitated(
    point: Path, first: bytes, later: bytes, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A file of real FUSE; where that cannot be mounted, an ordinary file of FUSE's type."""
    with contextlib.ExitStack() as mounted:
        try:
            file = mounted.enter_context(changing(point, "model.safetensors", first, later))
        except OSError:
            file = point / "model.safetensors"
            file.write_bytes(first)
            monkeypatch.setattr(leases, "file_system", lambda _: OTHERS["fuse"])
        yield file


def test_bytes_that_fuse_changes_after_they_were_verified_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, forged = (save({"w": np.full(500, value, dtype="f4")}) for value in (1, 666))
    model, key = tmp_path / "model.safetensors", Signer.generate("p256")
    model.write_bytes(honest)
    sign(model, key, out=tmp_path / "bundle")
    point = tmp_path / "mounted"
    point.mkdir()
    loader = SecureLoader(TrustPolicy(keys=[key.public_key]), tier="pinned")
    with changing_or_imitated(point, honest, forged, monkeypatch) as file:
        loaded = loader.load(file, bundle=tmp_path / "bundle", framework="numpy")
        assert loaded.tier == "sealed"
        assert (loaded.model["w"] == 1).all()


def test_bytes_that_fuse_changes_before_they_are_verified_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, forged = (save({"w": np.full(500, value, dtype="f4")}) for value in (1, 666))
    model, key = tmp_path / "model.safetensors", Signer.generate("p256")
    model.write_bytes(honest)
    sign(model, key, out=tmp_path / "bundle")
    point = tmp_path / "mounted"
    point.mkdir()
    loader = SecureLoader(TrustPolicy(keys=[key.public_key]), tier="pinned")
    with (
        changing_or_imitated(point, forged, honest, monkeypatch) as file,
        pytest.raises(DigestMismatch),
    ):
        loader.load(file, bundle=tmp_path / "bundle", framework="numpy")
