from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.signing import (
    KeySigner,
    Scope,
    Signer,
    TrustedKey,
    TrustPolicy,
    sign_detached,
    verify,
    verify_detached,
)
from mlsecops.signing.keys import KeyType
from tests.attackers.signing import flip_byte

SHA = hashes.SHA256()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.h5"
    path.write_bytes(b"weights")
    return path


def as_pipelines_do(key: rsa.RSAPrivateKey, path: Path, salt: Any) -> bytes:
    """How scripts in the wild sign: PSS over the hexadecimal digest."""
    message = hashlib.sha256(path.read_bytes()).hexdigest().encode()
    return key.sign(message, padding.PSS(padding.MGF1(SHA), salt), SHA)


def test_a_detached_signature_is_what_pipelines_expect(file: Path, key: rsa.RSAPrivateKey) -> None:
    place = sign_detached(file, KeySigner(key))
    assert place == file.with_name("model.h5.sig")
    message = hashlib.sha256(b"weights").hexdigest().encode()
    maximum = padding.PSS(padding.MGF1(SHA), padding.PSS.MAX_LENGTH)
    key.public_key().verify(place.read_bytes(), message, maximum, SHA)


@pytest.mark.parametrize(
    "salt",
    [padding.PSS.MAX_LENGTH, padding.PSS.DIGEST_LENGTH, 0, 20],
    ids=["longest", "digest", "none", "20"],
)
@pytest.mark.parametrize("form", [bytes, base64.b64encode, base64.encodebytes])
def test_signatures_of_pipelines_verify_with_any_salt_raw_or_in_base64(
    file: Path, key: rsa.RSAPrivateKey, salt: Any, form: Any
) -> None:
    public = KeySigner(key).public_key
    data = form(as_pipelines_do(key, file, salt))
    file.with_name("model.h5.sig").write_bytes(data)
    assert verify_detached(file, public).hex == hashlib.sha256(b"weights").hexdigest()
    assert verify_detached(file, public.pem, data) == verify_detached(file, public)
    verified = verify(file, policy=TrustPolicy(keys=[public]))
    assert (verified.detached, verified.signers) == (True, (public.fingerprint,))


def test_a_changed_file_signature_or_key_is_refused(file: Path, key: rsa.RSAPrivateKey) -> None:
    signer = KeySigner(key)
    place = sign_detached(file, signer)
    policy = TrustPolicy(keys=[signer.public_key])
    for changed in (file, place):
        original = changed.read_bytes()
        flip_byte(changed, offset=3)
        with pytest.raises(errors.SignatureInvalid, match=r"model\.h5"):
            verify_detached(file, signer.public_key)
        with pytest.raises(errors.SignatureInvalid, match=r"model\.h5"):
            verify(file, policy=policy)
        changed.write_bytes(original)
    other = Signer.generate("rsa").public_key
    with pytest.raises(errors.SignatureInvalid):
        verify_detached(file, other)
    assert verify(file, policy=policy).detached


@pytest.mark.parametrize("key_type", ["p256", "ed25519"])
def test_only_rsa_keys_make_detached_signatures(file: Path, key_type: KeyType) -> None:
    signer = Signer.generate(key_type)
    with pytest.raises(errors.UsageError, match="needs an RSA key"):
        sign_detached(file, signer)
    with pytest.raises(errors.UsageError, match="needs an RSA key"):
        verify_detached(file, signer.public_key, b"\xff" * 256)


def test_a_folder_gets_no_detached_signature(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(errors.UsageError, match="is a folder"):
        sign_detached(tmp_path, KeySigner(key))


def test_without_an_rsa_key_the_refusal_says_what_lies_there(
    file: Path, key: rsa.RSAPrivateKey, policy: TrustPolicy
) -> None:
    sign_detached(file, KeySigner(key))
    with pytest.raises(errors.MalformedBundle, match="detached RSA signature"):
        verify(file, policy=policy)


def test_a_missing_or_shapeless_signature_is_refused(file: Path, key: rsa.RSAPrivateKey) -> None:
    public = KeySigner(key).public_key
    with pytest.raises(errors.SignatureMissing):
        verify_detached(file, public)
    for noise in (b"", b"short", b"=" * 300, b"\xff" * 5000, b"A" * 100_000):
        with pytest.raises(errors.MalformedBundle, match="raw or base64"):
            verify_detached(file, public, noise)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"threshold": 2}, errors.ThresholdNotMet),
        ({"floor": 1}, errors.RollbackRefused),
        ({"revoked": [f"sha256:{hashlib.sha256(b'weights').hexdigest()}"]}, errors.Revoked),
        ({"scope": Scope(models=("model.h5",))}, errors.UntrustedSigner),
        ({"scope": Scope(not_after=datetime(2020, 1, 1, tzinfo=UTC))}, errors.Expired),
        ({"revoke_key": True}, errors.Revoked),
        ({"algorithms": ["sha512"]}, errors.PolicyError),
    ],
)
def test_what_a_detached_signature_cannot_say_is_refused(
    file: Path,
    key: rsa.RSAPrivateKey,
    signer: KeySigner,
    options: dict[str, Any],
    error: type[Exception],
) -> None:
    public = KeySigner(key).public_key
    scope = options.pop("scope", Scope())
    if options.pop("revoke_key", False):
        options["revoked"] = [public.fingerprint]
    sign_detached(file, KeySigner(key))
    policy = TrustPolicy(keys=[TrustedKey(public, scope), signer.public_key], **options)
    said = "does not say which model" if error is errors.UntrustedSigner else None
    with pytest.raises(error, match=said):
        verify(file, policy=policy)


def test_the_commands_sign_and_verify_detached(
    file: Path, key: rsa.RSAPrivateKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signer = KeySigner(key)
    private, public = tmp_path / "k.pem", tmp_path / "k.pub.pem"
    private.write_bytes(signer.to_pem())
    public.write_text(signer.public_key.pem)
    assert main(["sign", str(file), "--key", str(private), "--detached"]) == 0
    assert main(["verify", str(file), "--key", str(public)]) == 0
    assert "detached RSA-PSS signature" in capsys.readouterr().out
    flip_byte(file)
    assert main(["verify", str(file), "--key", str(public)]) == 1
    assert main(["sign", str(file), "--key", str(private), "--detached", "--ignore", "x"]) == 2
