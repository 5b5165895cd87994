"""Caches and download folders that huggingface_hub makes from a local hub."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlsecops import Signer, TrustPolicy, errors, hash_path, sign, verify
from mlsecops.provenance.files.hub_cache import linked_blob
from tests.hub import Hub, hub

huggingface_hub = pytest.importorskip("huggingface_hub")

FILES = {
    "config.json": b"{}",
    "sub/tokenizer.json": b'{"model": {}}',
    "weights.bin": b"w" * 5000,
    ".gitattributes": b"*.bin filter=lfs\n",
}
STATE = ".cache/huggingface"


@pytest.fixture(scope="module")
def served() -> Iterator[Hub]:
    with hub() as state:
        state.repositories["org/name"] = dict(FILES)
        yield state


@pytest.fixture
def snapshot(served: Hub, tmp_path: Path) -> Path:
    return Path(fetch(served, cache_dir=str(tmp_path / "hub")))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        place = tmp_path / "plain" / "name" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return tmp_path / "plain" / "name"


def fetch(served: Hub, **where: Any) -> str:
    return str(huggingface_hub.snapshot_download("org/name", endpoint=served.url, **where))


def relink(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


def test_a_snapshot_has_the_manifest_and_name_of_the_plain_files(
    snapshot: Path, plain: Path
) -> None:
    assert (snapshot / "weights.bin").is_symlink()
    assert hash_path(snapshot) == hash_path(plain)
    assert hash_path(snapshot / "weights.bin") == hash_path(plain / "weights.bin")


def test_a_publishers_signature_verifies_in_cache_and_download_folder(
    served: Hub, plain: Path, tmp_path: Path
) -> None:
    signer = Signer.generate()
    policy = TrustPolicy(keys=[signer.public_key])
    sign(plain, signer)
    served.repositories["org/name"]["model.sig"] = (plain / "model.sig").read_bytes()
    try:
        cached = Path(fetch(served, cache_dir=str(tmp_path / "hub")))
        folder = Path(fetch(served, local_dir=str(tmp_path / "local" / "name")))
    finally:
        del served.repositories["org/name"]["model.sig"]
    assert (cached / "model.sig").is_symlink()
    assert verify(cached, policy=policy).digest == verify(plain, policy=policy).digest
    ignored = verify(folder, policy=policy).ignored
    assert f"{STATE}/.gitignore" in ignored
    assert all(name.startswith(STATE) or name == ".gitattributes" for name in ignored)
    (folder / STATE / "evil.py").write_text("print('listed')")
    assert f"{STATE}/evil.py" in verify(folder, policy=policy).ignored
    (folder / ".cache" / "evil.py").write_text("print('refused')")
    with pytest.raises(errors.DigestMismatch, match=r"added '\.cache/evil\.py'"):
        verify(folder, policy=policy)


def test_the_bundle_of_a_cache_may_be_a_link_of_any_name(snapshot: Path) -> None:
    signer = Signer.generate()
    bundle = sign(snapshot, signer, out=snapshot.parents[1] / "blobs" / "0f1e2d").path
    assert bundle is not None
    (snapshot / "release.sig").symlink_to("../../blobs/0f1e2d")
    policy = TrustPolicy(keys=[signer.public_key])
    assert verify(snapshot, snapshot / "release.sig", policy=policy).name == "name"


def test_a_signed_download_folder_records_that_it_leaves_the_tools_state_out(
    served: Hub, tmp_path: Path
) -> None:
    folder = tmp_path / "name"
    fetch(served, local_dir=str(folder))
    signer = Signer.generate()
    sign(folder, signer)
    verified = verify(folder, policy=TrustPolicy(keys=[signer.public_key]))
    assert STATE in verified.manifest.ignore
    assert any(name.startswith(STATE) for name in verified.ignored)


def test_state_that_was_signed_is_verified(plain: Path) -> None:
    (plain / STATE).mkdir(parents=True)
    (plain / STATE / "note").write_text("signed")
    signer = Signer.generate()
    policy = TrustPolicy(keys=[signer.public_key])
    sign(plain, signer, ignore=())
    verify(plain, policy=policy)
    (plain / STATE / "note").write_text("edited")
    with pytest.raises(errors.DigestMismatch, match="note"):
        verify(plain, policy=policy)


@pytest.mark.parametrize("name", ["config.json", "weights.bin"], ids=["git blob", "large file"])
def test_an_edited_blob_is_refused_by_name(snapshot: Path, name: str) -> None:
    signer = Signer.generate()
    sign(snapshot, signer)
    blob = (snapshot / name).resolve()
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b"w", b"v").replace(b"{", b"["))
    for check in (
        hash_path,
        lambda path: verify(path, policy=TrustPolicy(keys=[signer.public_key])),
    ):
        with pytest.raises(errors.DigestMismatch, match="ETag") as caught:
            check(snapshot)
        assert caught.value.changed == (name,)


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../../../outside", "../../refs/main", "../../blobs/../refs/main",
     "../../blobs", "../../blobs/sub", "../../blobs/sub/x", "config2.json",
     "../../../models--other--x/blobs/a"],
)  # fmt: skip
def test_a_link_that_leaves_the_blobs_is_refused_by_name(snapshot: Path, target: str) -> None:
    for place in (snapshot / "../../../outside", snapshot / "../../../models--other--x/blobs/a",
                  snapshot / "../../blobs/sub/x", snapshot / "config2.json"):  # fmt: skip
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("other")
    relink(snapshot / "config.json", target)
    with pytest.raises(errors.UnsafeContent, match=r"config\.json is a symlink to"):
        hash_path(snapshot)


def test_a_link_that_goes_away_or_leads_to_a_pipe_is_refused_by_name(snapshot: Path) -> None:
    pipe = snapshot.parents[1] / "blobs" / "pipe"
    os.mkfifo(pipe)
    relink(snapshot / "config.json", "../../blobs/pipe")
    with pytest.raises(errors.UnsafeContent, match=r"blobs/pipe: expected .* a regular file"):
        hash_path(snapshot)
    (snapshot / "config.json").unlink()
    with pytest.raises(errors.UsageError, match=r"cannot read .*config\.json"):
        linked_blob(str(snapshot.resolve() / "config.json"))


def test_a_blob_that_is_a_link_itself_leads_only_into_the_shared_store(
    snapshot: Path, plain: Path
) -> None:
    digest = "ab" + "0" * 62
    blob = snapshot / (snapshot / "weights.bin").readlink()
    store = snapshot.parents[2] / "blobs" / "ab" / digest
    store.parent.mkdir(parents=True)
    blob.rename(store)
    blob.symlink_to(f"../../blobs/ab/{digest}")
    assert hash_path(snapshot) == hash_path(plain)
    store.rename(snapshot.parents[2] / "elsewhere")
    relink(blob, "../../elsewhere")
    with pytest.raises(errors.UnsafeContent, match=r"elsewhere"):
        hash_path(snapshot)


def test_a_lost_blob_and_links_of_other_folders_are_refused(snapshot: Path, plain: Path) -> None:
    (snapshot / "weights.bin").resolve().unlink()
    with pytest.raises(errors.UsageError, match="download it again"):
        hash_path(snapshot)
    (plain / "link").symlink_to("config.json")
    with pytest.raises(errors.UnsafeContent, match="link is a symlink"):
        hash_path(plain)


def test_a_secret_among_the_blobs_is_found_by_its_name(snapshot: Path) -> None:
    key = snapshot.parents[1] / "blobs" / "feed"
    key.write_bytes(Signer.generate().to_pem())
    (snapshot / "notes.txt").symlink_to("../../blobs/feed")
    with pytest.raises(errors.UnsafeContent, match=r"notes\.txt \(a private key\)"):
        sign(snapshot, Signer.generate())


def test_the_whole_repository_folder_can_be_hashed(snapshot: Path) -> None:
    names = [entry.name for entry in hash_path(snapshot.parents[1])]
    assert f"snapshots/{snapshot.name}/weights.bin" in names
