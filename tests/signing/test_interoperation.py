"""Bundles go both ways between this library and ``model_signing`` 1.1.1.

Its Python API runs in this process, since its command takes seconds to start; a few calls show that
the commands agree too.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.loading import SecureLoader
from mlsecops.signing import KeySigner, Signer, TrustPolicy, bundle_path, sign, verify
from mlsecops.signing.keys import KeyType
from tests.attackers.signing import flip_byte
from tests.signing.authorities import Authority

theirs = pytest.importorskip("model_signing")


def write(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def empty_files(root: Path) -> Path:
    (root / "sub").mkdir()
    (root / "sub" / "empty").write_bytes(b"")
    (root / "also-empty").write_bytes(b"")
    return root


def one_file(root: Path) -> Path:
    path = root / "model.bin"
    path.write_bytes(b"weights")
    return path


def empty_folders(root: Path) -> Path:
    (root / "nothing" / "inside").mkdir(parents=True)
    return write(root, "a")


SHAPES: dict[str, Callable[[Path], Path]] = {
    "nested": lambda root: write(root, "a/b/c.bin", "a/d.bin", "e.bin"),
    "path order": lambda root: write(root, "a/b", "a-b", "a.b", "a/b-c", "A"),
    "unicode": lambda root: write(root, "é", "日本語/重み.bin", "\U0001d6fc", "\uffee", "e\u0301"),
    "spaces": lambda root: write(root, "a b/c d.bin", " lead", "trail ", "quote'\""),
    "colons": lambda root: write(root, "a:0:9", "b:c/d:1", ":"),
    "control characters": lambda root: write(root, "new\nline", "back\\slash", "tab\t", "%41"),
    "empty files": empty_files,
    "empty folders": empty_folders,
    "dotfiles": lambda root: write(root, ".hidden", "...", ".git/config", ".gitignore", ".a/.b"),
    "deep": lambda root: write(root, "/".join(str(i) for i in range(60)) + "/w.bin"),
    "one file": one_file,
    "one file in a folder": lambda root: write(root, "w.bin"),
}


@pytest.fixture
def model(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    return SHAPES[request.param](root)


def key_files(folder: Path, signer: KeySigner) -> tuple[Path, Path]:
    private, public = folder / "key.pem", folder / "key.pub.pem"
    private.write_bytes(signer.to_pem())
    public.write_text(signer.public_key.pem)
    return private, public


def their_hashing(model: Path) -> Any:
    return theirs.hashing.Config().set_ignored_paths(paths=[bundle_path(model)])


def accepted_by_them(model: Path, verifier: Any) -> None:
    verifier.verify(model, bundle_path(model))


def their_key_verifier(public: Path) -> Any:
    return theirs.verifying.Config().use_elliptic_key_verifier(public_key=public)


@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
@pytest.mark.parametrize("model", SHAPES, indirect=True)
def test_key_bundles_verify_in_both_directions(tmp_path: Path, model: Path, curve: KeyType) -> None:
    signer = Signer.generate(curve)
    private, public = key_files(tmp_path, signer)

    sign(model, signer)
    accepted_by_them(model, their_key_verifier(public))

    bundle_path(model).unlink()
    config = theirs.signing.Config().use_elliptic_key_signer(private_key=private)
    config.set_hashing_config(their_hashing(model)).sign(model, bundle_path(model))
    verified = verify(model, policy=TrustPolicy(keys=[public]))
    assert verified.signers == (signer.public_key.fingerprint,)


@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
@pytest.mark.parametrize("model", SHAPES, indirect=True)
def test_certificate_bundles_verify_in_both_directions(
    tmp_path: Path, model: Path, curve: str
) -> None:
    root = Authority.root()
    between = root.intermediate()
    signer = between.signer(between.certificate, curve=curve)
    private, _ = key_files(tmp_path, signer)
    leaf, chain, trusted = (tmp_path / name for name in ("leaf.crt", "between.crt", "root.crt"))
    leaf.write_bytes(signer.certificates[0].public_bytes(serialization.Encoding.PEM))
    chain.write_bytes(between.pem())
    trusted.write_bytes(root.pem())

    sign(model, signer)
    verifier = theirs.verifying.Config().use_certificate_verifier(certificate_chain=[trusted])
    accepted_by_them(model, verifier)

    bundle_path(model).unlink()
    config = theirs.signing.Config().use_certificate_signer(
        private_key=private, signing_certificate=leaf, certificate_chain=[chain]
    )
    config.set_hashing_config(their_hashing(model)).sign(model, bundle_path(model))
    assert verify(model, policy=TrustPolicy(roots=[trusted])).signers == ("CN=release",)


@pytest.mark.parametrize("model", ["nested", "one file"], indirect=True)
@pytest.mark.parametrize("algorithm", ["blake2b", "blake3"])
def test_other_digest_algorithms_verify_in_both_directions(
    tmp_path: Path, model: Path, algorithm: Any
) -> None:
    signer = Signer.generate("p256")
    private, public = key_files(tmp_path, signer)
    sign(model, signer, algorithm=algorithm)
    chosen: Any = algorithm.removesuffix("b")
    hashing = their_hashing(model).use_file_serialization(hashing_algorithm=chosen)
    accepted_by_them(model, their_key_verifier(public).set_hashing_config(hashing))

    bundle_path(model).unlink()
    config = theirs.signing.Config().use_elliptic_key_signer(private_key=private)
    config.set_hashing_config(hashing).sign(model, bundle_path(model))
    assert verify(model, policy=TrustPolicy(keys=[public])).manifest.algorithm == algorithm


def test_five_thousand_files_verify_in_both_directions(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write(model, *(f"{i % 50}/{i}.bin" for i in range(5000)))
    signer = Signer.generate("p256")
    private, public = key_files(tmp_path, signer)
    sign(model, signer)
    accepted_by_them(model, their_key_verifier(public))
    bundle_path(model).unlink()
    config = theirs.signing.Config().use_elliptic_key_signer(private_key=private)
    config.set_hashing_config(their_hashing(model)).sign(model, bundle_path(model))
    assert len(verify(model, policy=TrustPolicy(keys=[public])).manifest) == 5000


def signed_in_shards(tmp_path: Path, model: Path, size: int) -> TrustPolicy:
    private, public = key_files(tmp_path, Signer.generate("p256"))
    config = theirs.signing.Config().use_elliptic_key_signer(private_key=private)
    hashing = their_hashing(model).use_shard_serialization(shard_size=size)
    config.set_hashing_config(hashing).sign(model, bundle_path(model))
    return TrustPolicy(keys=[public])


@pytest.mark.parametrize("model", SHAPES, indirect=True)
@pytest.mark.parametrize("size", [3, 1_000_000])
def test_their_sharded_bundles_verify_here(tmp_path: Path, model: Path, size: int) -> None:
    if not any(path.stat().st_size for path in [model, *model.rglob("*")] if path.is_file()):
        write(model, "not-empty")
    policy = signed_in_shards(tmp_path, model, size)
    verified = verify(model, policy=policy)
    assert verified.manifest.shard_size == size
    first = next(iter(verified.manifest)).name.rsplit(":", 2)[0]
    flip_byte(model / first if model.is_dir() else model)
    with pytest.raises(errors.DigestMismatch) as caught:
        verify(model, policy=policy)
    assert caught.value.changed[0].startswith(f"{first}:0:")


@pytest.mark.parametrize("model", sorted(SHAPES.keys() - {"colons", "empty files"}), indirect=True)
@pytest.mark.parametrize("size", [3, 1_000_000])
def test_our_sharded_bundles_verify_there_and_here(tmp_path: Path, model: Path, size: int) -> None:
    signer = Signer.generate("p256")
    _, public = key_files(tmp_path, signer)
    sign(model, signer, shard_size=size)
    hashing = their_hashing(model).use_shard_serialization(shard_size=size)
    accepted_by_them(model, their_key_verifier(public).set_hashing_config(hashing))
    accepted_by_them(model, their_key_verifier(public))
    assert verify(model, policy=TrustPolicy(keys=[public])).manifest.shard_size == size


def test_a_name_with_colons_is_signed_in_shards_and_verifies_here(tmp_path: Path) -> None:
    model = write(tmp_path / "model", "a:0:9", "b:c/d:1")
    signer = Signer.generate("p256")
    sign(model, signer, shard_size=2)
    policy = TrustPolicy(keys=[signer.public_key])
    assert verify(model, policy=policy).manifest.shard_size == 2
    flip_byte(model / "a:0:9")
    with pytest.raises(errors.DigestMismatch, match="a:0:9:"):
        verify(model, policy=policy)


def test_signing_shards_warns_of_empty_files(tmp_path: Path) -> None:
    model = write(tmp_path / "model", "w.bin")
    (model / "__init__.py").write_bytes(b"")
    signer = Signer.generate("p256")
    with pytest.warns(errors.MLSecOpsWarning, match="__init__"):
        sign(model, signer, shard_size=4)
    verified = verify(model, policy=TrustPolicy(keys=[signer.public_key]))
    assert verified.ignored == ("__init__.py",)


def test_empty_files_of_a_sharded_bundle_are_reported_as_unprotected(tmp_path: Path) -> None:
    model = write(tmp_path / "model", "w.bin")
    (model / "__init__.py").write_bytes(b"")
    policy = signed_in_shards(tmp_path, model, 4)
    assert verify(model, policy=policy).ignored == ("__init__.py",)


def test_a_shard_appended_to_a_signed_file_is_no_unsigned_file(tmp_path: Path) -> None:
    model = write(tmp_path / "model", "weights0", "other")
    policy = signed_in_shards(tmp_path, model, 4)
    with (model / "weights0").open("ab") as stream:
        stream.write(b"more")
    (model / "notes").write_text("unsigned")
    for choice in ("refuse", "report"):
        with pytest.raises(errors.DigestMismatch, match="weights0:8:12"):
            verify(model, policy=policy, ignore_unsigned=choice)  # type: ignore[arg-type]


def test_a_sharded_bundle_of_a_format_without_ranges_is_verified_but_not_loaded(
    tmp_path: Path,
) -> None:
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "weights.npz"
    numpy.savez(path, w=numpy.ones(3))
    policy = signed_in_shards(tmp_path, path, 64)
    assert verify(path, policy=policy).name == "weights.npz"
    with pytest.raises(errors.FormatRefused, match="sign whole files"):
        SecureLoader(policy).load(path)


def test_a_file_signed_under_its_own_name_is_loaded(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "weights.npz"
    numpy.savez(path, w=numpy.ones(3))
    signer = Signer.generate("p256")
    sign(path, signer, spec_names=True)
    loaded = SecureLoader(TrustPolicy(keys=[signer.public_key])).load(path)
    assert loaded.verified.name == "weights.npz"


def test_both_names_of_a_single_file_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "folder", "model.bin") / "model.bin"
    signer = Signer.generate("p256")
    policy = TrustPolicy(keys=[signer.public_key])
    for spec_names, name in ((False, '"."'), (True, '"model.bin"')):
        bundle = sign(path, signer, spec_names=spec_names)
        assert f'"resources":[{{"name":{name}' in bundle.envelope.payload.decode()
        assert verify(path, policy=policy).name == "model.bin"
        copy = path.rename(path.with_name("copy.bin"))
        assert verify(copy, path.with_name("model.bin.sig"), policy=policy).name == "model.bin"
        flip_byte(copy)
        with pytest.raises(errors.DigestMismatch, match=r"model\.bin"):
            verify(copy, path.with_name("model.bin.sig"), policy=policy)
        copy.rename(path)


def test_the_commands_verify_each_other_s_bundles(tmp_path: Path) -> None:
    model = SHAPES["nested"](tmp_path)
    keys = tmp_path.with_name("keys")
    keys.mkdir()
    private, public = key_files(keys, Signer.generate("p384"))
    signature = model / "model.sig"

    def their_command(*words: object) -> None:
        command = [sys.executable, "-m", "model_signing", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    assert main(["sign", str(model), "--key", str(private)]) == 0
    their_command("verify", "key", model, "--signature", signature, "--public_key", public)
    their_command("sign", "key", model, "--signature", signature, "--private_key", private)
    assert main(["verify", str(model), "--key", str(public)]) == 0
