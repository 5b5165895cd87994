from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlsecops import errors
from mlsecops.provenance import Digest, Statement, hash_path
from mlsecops.signing import (
    KeySigner,
    Signer,
    TrustPolicy,
    Verified,
    Verifier,
    sign,
    verify,
)
from mlsecops.signing.keys import KeyType
from tests.attackers.signing import edit_bundle, edit_payload, flip_byte, forge_payload

FIXTURES_ARE_COPIED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "ed25519", "rsa"])
def test_a_signed_model_verifies_with_every_key_type(model: Path, key_type: KeyType) -> None:
    signer = Signer.generate(key_type)
    sign(model, signer)
    verified = verify(model, policy=TrustPolicy(keys=[signer.public_key]))
    assert verified.digest == hash_path(model).root
    assert verified.signers == (signer.public_key.fingerprint,)
    assert verified.ignored == ()


def test_a_single_file_model_verifies_wherever_it_is_copied(
    tmp_path: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"w")
    sign(path, signer)
    shutil.copy(path, tmp_path / "copy.bin")
    shutil.copy(tmp_path / "m.bin.sig", tmp_path / "copy.bin.sig")
    assert verify(tmp_path / "copy.bin", policy=policy).name == "m.bin"
    flip_byte(tmp_path / "copy.bin")
    with pytest.raises(errors.DigestMismatch, match=r"m\.bin"):
        verify(tmp_path / "copy.bin", policy=policy)


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (lambda root: flip_byte(root / "layers" / "0.bin"), "layers/0.bin"),
        (lambda root: (root / "extra.py").write_text("x"), "extra.py"),
        (lambda root: (root / "config.json").unlink(), "config.json"),
        (lambda root: (root / "config.json").rename(root / "Config.json"), "Config.json"),
    ],
)
def test_any_change_to_the_files_is_refused_by_name(
    model: Path,
    signer: KeySigner,
    policy: TrustPolicy,
    attack: Callable[[Path], object],
    name: str,
) -> None:
    sign(model, signer)
    attack(model)
    with pytest.raises(errors.DigestMismatch, match=name):
        verify(model, policy=policy)


def test_an_unsigned_model_is_refused(model: Path, policy: TrustPolicy) -> None:
    with pytest.raises(errors.SignatureMissing, match=r"model\.sig"):
        verify(model, policy=policy)


def test_a_stranger_s_signature_is_refused(model: Path, policy: TrustPolicy) -> None:
    sign(model, Signer.generate("p256"))
    with pytest.raises(errors.UntrustedSigner, match="trusted keys"):
        verify(model, policy=policy)


def test_a_stranger_who_borrows_the_hint_of_a_trusted_key_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    sign(model, Signer.generate("p256"))

    def borrow(value: dict[str, Any]) -> None:
        material = value["verificationMaterial"]
        material["publicKey"]["hint"] = signer.public_key.fingerprint

    edit_bundle(model / "model.sig", borrow)
    with pytest.raises(errors.SignatureInvalid):
        verify(model, policy=policy)


def test_a_policy_that_trusts_nobody_refuses_everybody(model: Path, signer: KeySigner) -> None:
    sign(model, signer)
    with pytest.raises(errors.UntrustedSigner):
        verify(model, policy=TrustPolicy())


def test_files_dropped_into_an_ignored_path_are_reported(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    sign(model, signer)
    (model / ".github").mkdir()
    (model / ".github" / "evil.py").write_text("x")
    assert verify(model, policy=policy).ignored == (".github/evil.py",)


def test_unsigned_files_can_be_reported_instead_of_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    sign(model, signer)
    (model / "notes.txt").write_text("x")
    verified = verify(model, policy=policy, ignore_unsigned="report")
    assert verified.ignored == ("notes.txt",)
    flip_byte(model / "config.json")
    with pytest.raises(errors.DigestMismatch):
        verify(model, policy=policy, ignore_unsigned="report")


def test_a_symlinked_folder_is_refused_when_signing_and_when_verifying(
    model: Path, tmp_path: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    sign(model, signer)
    (tmp_path / "elsewhere").mkdir()
    (model / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.UnsafeContent, match="symlink"):
        verify(model, policy=policy)
    with pytest.raises(errors.UnsafeContent, match="symlink"):
        sign(model, signer)


def add_resource(payload: dict[str, Any], name: str) -> None:
    resources = payload["predicate"]["resources"]
    resources.append({**resources[0], "name": name})


@pytest.mark.parametrize(
    ("forgery", "message"),
    [
        (lambda p: add_resource(p, p["predicate"]["resources"][0]["name"]), "more than once"),
        (lambda p: add_resource(p, "/etc/passwd"), "relative path"),
        (lambda p: add_resource(p, "../up"), "relative path"),
        (lambda p: add_resource(p, "."), "as the only resource"),
        (lambda p: p["predicate"].update(resources=[]), "empty model"),
        (lambda p: p["predicate"]["resources"].reverse(), "over the resources"),
        (lambda p: p["predicate"]["resources"][0].update(digest="ab"), "expected 32 bytes"),
        (
            lambda p: p["predicate"]["resources"][0].update(algorithm="md5"),
            "algorithm: expected sha256",
        ),
        (lambda p: p["predicate"]["serialization"].update(allow_symlinks=True), "symlink"),
        (lambda p: p["predicate"]["serialization"].update(ignore_paths=["../x"]), "ignore"),
        (lambda p: p["predicate"]["serialization"].update(method="tar"), "method"),
        (lambda p: p.update(predicateType="urn:other"), "predicateType"),
        (lambda p: p["subject"].append({**p["subject"][0], "name": "b"}), "one subject"),
        (lambda p: p["predicate"].update(statements=["!"]), "base64"),
    ],
)
def test_a_trusted_signer_s_malformed_statement_is_refused(
    model: Path,
    signer: KeySigner,
    policy: TrustPolicy,
    forgery: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    sign(model, signer)
    forge_payload(model / "model.sig", signer, forgery)
    with pytest.raises(errors.MalformedBundle, match=message):
        verify(model, policy=policy)


def test_an_edited_statement_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    sign(model, signer)
    flip_byte(model / "config.json")
    new = hash_path(model)

    def cover_up(payload: dict[str, Any]) -> None:
        payload["subject"][0]["digest"]["sha256"] = new.root.hex
        for item in payload["predicate"]["resources"]:
            item["digest"] = new[item["name"]].hex

    edit_payload(model / "model.sig", cover_up)
    with pytest.raises(errors.SignatureInvalid):
        verify(model, policy=policy)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[1]", b"\xff\xfe", b'{"mediaType":"text/plain"}', b"[" * 200_000,
     b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}'],
)  # fmt: skip
def test_nonsense_is_a_malformed_bundle(model: Path, policy: TrustPolicy, data: bytes) -> None:
    (model / "model.sig").write_bytes(data)
    with pytest.raises(errors.MalformedBundle):
        verify(model, policy=policy)


def test_a_huge_bundle_is_refused_unread(model: Path, policy: TrustPolicy) -> None:
    with (model / "model.sig").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(errors.MalformedBundle, match="at most"):
        verify(model, policy=policy)


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory, signer: KeySigner) -> Path:
    root = tmp_path_factory.mktemp("sealed") / "model"
    root.mkdir()
    (root / "w.bin").write_bytes(b"weights")
    (root / "c.json").write_bytes(b"{}")
    sign(root, signer)
    return root


@FIXTURES_ARE_COPIED
@given(st.data())
def test_no_single_byte_of_bundle_or_model_can_change(
    sealed: Path, signer: KeySigner, data: st.DataObject
) -> None:
    names = ["w.bin", "c.json", "model.sig"]
    original = {name: (sealed / name).read_bytes() for name in names}
    name = data.draw(st.sampled_from(names))
    offset = data.draw(st.integers(0, len(original[name]) - 1))
    bit = data.draw(st.integers(0, 7))
    mutated = bytearray(original[name])
    mutated[offset] ^= 1 << bit
    try:
        (sealed / name).write_bytes(mutated)
        with pytest.raises(errors.VerificationError):
            verify(sealed, policy=TrustPolicy(keys=[signer.public_key]))
    finally:
        (sealed / name).write_bytes(original[name])
    verify(sealed, policy=TrustPolicy(keys=[signer.public_key]))


def test_statements_are_covered_by_the_same_signature(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    about = Statement.build(
        subjects={"model": hash_path(model).root}, predicate_type="urn:bom", predicate={"a": 1}
    )
    sign(model, signer, statements=[about])
    assert verify(model, policy=policy).statements == (about,)
    edit_payload(model / "model.sig", lambda payload: payload["predicate"].pop("statements"))
    with pytest.raises(errors.SignatureInvalid):
        verify(model, policy=policy)


def test_a_statement_about_another_model_is_not_signed(model: Path, signer: KeySigner) -> None:
    other = Statement.build(
        subjects={"model": Digest.of(b"other")}, predicate_type="urn:bom", predicate={}
    )
    with pytest.raises(errors.UsageError, match="not about this model"):
        sign(model, signer, statements=[other])


def test_an_empty_model_is_not_signed(tmp_path: Path, signer: KeySigner) -> None:
    with pytest.raises(errors.UsageError, match="nothing to sign"):
        sign(tmp_path, signer)


def test_a_threshold_needs_that_many_different_signers(model: Path, signer: KeySigner) -> None:
    second = Signer.generate("ed25519")
    policy = TrustPolicy(keys=[signer.public_key, second.public_key], threshold=2)
    sign(model, [signer, signer])
    with pytest.raises(errors.ThresholdNotMet, match="expected 2"):
        verify(model, policy=policy)
    sign(model, [signer, second])
    assert len(verify(model, policy=policy).signers) == 2


def test_revoked_keys_models_and_files_are_refused(model: Path, signer: KeySigner) -> None:
    sign(model, signer)
    manifest = hash_path(model)
    for revoked in (
        signer.public_key.fingerprint,
        str(manifest.root),
        str(manifest["config.json"]),
    ):
        policy = TrustPolicy(keys=[signer.public_key], revoked=[revoked])
        with pytest.raises(errors.Revoked):
            verify(model, policy=policy)


def test_nobody_else_makes_a_proof(model: Path) -> None:
    manifest = hash_path(model)
    with pytest.raises(errors.UsageError, match="only verification"):
        Verified(
            name="m", digest=manifest.root, manifest=manifest, signers=(), statements=(),
            ignored=(), proof=object(),
        )  # fmt: skip


def test_a_path_where_nothing_is_is_the_callers_fault(tmp_path: Path, policy: TrustPolicy) -> None:
    with pytest.raises(errors.UsageError, match="nowhere"):
        verify(tmp_path / "nowhere", policy=policy)


def test_shards_are_never_compared_with_whole_files(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    bundle = sign(model, signer, shard_size=1 << 20)
    signed = Verifier(policy).open(bundle.to_bytes(), where="model.sig")
    with pytest.raises(errors.DigestMismatch, match="nothing can be compared"):
        Verifier(policy).match(signed, hash_path(model), where="model")
