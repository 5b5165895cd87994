from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mlsecops import errors
from mlsecops.signing import KeySigner, PublicKey, Scope, TrustedKey, TrustPolicy, sign, verify
from tests.attackers.signing import edit_payload, flip_byte, legacy_bundle

CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def trust(key: ec.EllipticCurvePrivateKey) -> TrustPolicy:
    return TrustPolicy(keys=[KeySigner(key).public_key])


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_an_old_bundle_verifies_only_when_it_is_asked_for(
    model: Path, curve: ec.EllipticCurve
) -> None:
    key = ec.generate_private_key(curve)
    (model / "model.sig").write_bytes(legacy_bundle(model, key))
    verified = verify(model, policy=trust(key), legacy=True)
    assert [entry.name for entry in verified.manifest] == [
        "config.json", "layers-1.bin", "layers/0.bin",
    ]  # fmt: skip
    with pytest.raises(errors.MalformedBundle, match="predicateType"):
        verify(model, policy=trust(key))


def test_the_other_implementation_reads_the_same_old_bundle(model: Path, key: Any) -> None:
    theirs = pytest.importorskip("model_signing")
    signature, public = model.parent / "old.sig", model.parent / "key.pub.pem"
    signature.write_bytes(legacy_bundle(model, key))
    public.write_text(KeySigner(key).public_key.pem)
    theirs.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(model, signature)


def test_a_changed_file_is_refused_under_an_old_bundle(model: Path, key: Any) -> None:
    (model / "model.sig").write_bytes(legacy_bundle(model, key))
    flip_byte(model / "layers" / "0.bin")
    with pytest.raises(errors.DigestMismatch, match=r"layers/0\.bin"):
        verify(model, policy=trust(key), legacy=True)


def test_an_unsigned_file_is_refused_under_an_old_bundle(model: Path, key: Any) -> None:
    (model / "model.sig").write_bytes(legacy_bundle(model, key))
    (model / "extra.py").write_text("x")
    with pytest.raises(errors.DigestMismatch, match=r"extra\.py"):
        verify(model, policy=trust(key), legacy=True)


def test_an_edited_old_statement_is_refused(model: Path, key: Any) -> None:
    (model / "model.sig").write_bytes(legacy_bundle(model, key))
    edit_payload(model / "model.sig", lambda payload: payload["subject"].pop())
    with pytest.raises(errors.SignatureError):
        verify(model, policy=trust(key), legacy=True)


def test_the_key_that_comes_with_an_old_bundle_is_not_believed(model: Path, key: Any) -> None:
    (model / "model.sig").write_bytes(legacy_bundle(model, key))
    stranger = KeySigner(ec.generate_private_key(ec.SECP256R1())).public_key
    with pytest.raises(errors.UntrustedSigner):
        verify(model, policy=TrustPolicy(keys=[stranger]), legacy=True)


def test_an_old_bundle_names_no_model_so_a_scoped_key_does_not_count(model: Path, key: Any) -> None:
    (model / "model.sig").write_bytes(legacy_bundle(model, key))
    scoped = TrustedKey(PublicKey.load(KeySigner(key).public_key), Scope(models=("model",)))
    with pytest.raises(errors.UntrustedSigner, match="may sign model"):
        verify(model, policy=TrustPolicy(keys=[scoped]), legacy=True)


@pytest.mark.parametrize(
    "forgery",
    [
        lambda p: p["subject"][0].update(name="../up"),
        lambda p: p["subject"][0].update(name="/etc/passwd"),
        lambda p: p["subject"].append(p["subject"][0]),
        lambda p: p["subject"][0]["annotations"].update(actual_hash_algorithm="file-blake2b"),
        lambda p: p["subject"][0].update(digest={"sha512": "0" * 128}),
        lambda p: p.update(subject=[]),
    ],
)
def test_a_malformed_old_statement_is_refused(
    model: Path, key: Any, forgery: Callable[[dict[str, Any]], object]
) -> None:
    (model / "model.sig").write_bytes(legacy_bundle(model, key, edit=forgery))
    with pytest.raises(errors.MalformedBundle):
        verify(model, policy=trust(key), legacy=True)


def test_today_s_bundles_verify_with_the_option_too(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:

    sign(model, signer)
    assert verify(model, policy=policy, legacy=True).name == "model"
