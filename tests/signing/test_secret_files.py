"""Private keys and credentials among the files that are to be signed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.signing import KeySigner, Signer, TrustPolicy, sign, sign_detached, verify
from mlsecops.signing.checks.secret_files import secret_kind
from tests.ceilings import answered

KEYS: dict[str, Any] = {
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
}
LOCKED = ser.BestAvailableEncryption(b"hunter22")


def private(
    kind: str, form: str, encoding: ser.Encoding = ser.Encoding.PEM, *, locked: bool = False
) -> bytes:
    encryption = LOCKED if locked else ser.NoEncryption()
    made: bytes = KEYS[kind].private_bytes(encoding, getattr(ser.PrivateFormat, form), encryption)
    return made


PEM = private("rsa", "PKCS8")
SECRETS: dict[str, bytes] = {
    "notes.txt": b"the key is\n" + private("ec", "TraditionalOpenSSL") + b"\nkeep it",
    "locked": private("ed25519", "PKCS8", locked=True),
    "old.cert": private("rsa", "TraditionalOpenSSL", locked=True),
    "ssh": private("ed25519", "OpenSSH"),
    "windows.txt": PEM.decode().encode("utf-16"),
    "crlf.txt": PEM.replace(b"\n", b"\r\n"),
    "account.json": json.dumps({"type": "service_account", "private_key": PEM.decode()}).encode(),
    "settings.yaml": b"key: |\n" + b"".join(b"    " + line + b"\n" for line in PEM.split(b"\n")),
    "a.bin": private("ec", "PKCS8", ser.Encoding.DER),
    "b.bin": private("rsa", "TraditionalOpenSSL", ser.Encoding.DER),
    "c.bin": private("ec", "TraditionalOpenSSL", ser.Encoding.DER),
    "d.bin": private("ed25519", "PKCS8", ser.Encoding.DER, locked=True),
    "e.b64": base64.encodebytes(private("rsa", "PKCS8", ser.Encoding.DER)),
    "store.bin": pkcs12.serialize_key_and_certificates(b"k", KEYS["ec"], None, None, LOCKED),
    "empty.pfx": b"",
    "release.p12": b"?",
    "putty.txt": b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
    "jwk.json": json.dumps({"kty": "EC", "crv": "P-256", "d": "a" * 43}).encode(),
    ".env": b"DEBUG=1",
    "deploy/.env.production": b"DEBUG=0",
    ".netrc": b"",
    "machines": b"machine hub login me password hunter22\n",
    ".pypirc": b"[pypi]",
    "home/.aws/credentials": b"[default]",
    "aws.txt": b"aws_secret_access_key = " + b"aB3/" * 10,
    ".huggingface/token": b"hf_x",
    "cache": b"hf_" + b"a1B2" * 8 + b"\n",
    "hub_token.txt": b"# read only\nhf_" + b"a1B2" * 8,
    ".npmrc": b"//registry.npmjs.org/:_authToken=abcdef0123",
    "pip.conf": b"[global]\nindex-url = https://me:hunter22@pypi.example/simple\n",
    "client.json": b'{"client_secret": "0123456789abcdef01"}',
}
HONEST: dict[str, bytes] = {
    "release.pub.pem": KeySigner(KEYS["ec"]).public_key.pem.encode(),
    "README.md": b"Put your key after -----BEGIN PRIVATE KEY----- please; hf_your_token",
    "public.der": KEYS["rsa"]
    .public_key()
    .public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo),
    "pkcs1.der": KEYS["rsa"].public_key().public_bytes(ser.Encoding.DER, ser.PublicFormat.PKCS1),
    "tokenizer_config.json": b'{"eos_token": "</s>", "pad_token": "[PAD]", "token": "abc"}',
    "vocab.txt": b"[PAD]\n[UNK]\ntoken\nsecret\npassword\nsk-\n",
    "digest.json": json.dumps({"d": "ab" * 32}).encode(),
    ".env.example": b"HF_TOKEN=",
    "environment.yml": b"name: train\n",
    "weights.bin": np.random.default_rng(0).bytes(4096),
    "zeros.bin": bytes(4096),
    "sequence.bin": b"\x30\x82\x01\x00\x02\x01\x00" + bytes(300),
    "empty": b"",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_refused_by_name(
    model: Path, signer: KeySigner, policy: TrustPolicy, name: str
) -> None:
    place = model / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(SECRETS[name])
    with pytest.raises(errors.UnsafeContent, match="--include-secrets") as caught:
        sign(model, signer)
    assert caught.value.where == name
    assert name in str(caught.value)
    assert not (model / "model.sig").exists()
    sign(model, signer, ignore=[name])
    sign(model, Signer.generate("p256"), add=True)
    sign(model, signer, include_secrets=True, replace=True)
    assert name in verify(model, policy=policy).manifest
    with pytest.raises(errors.UnsafeContent):
        sign(model, Signer.generate("p256"), add=True)


@pytest.mark.parametrize("name", HONEST)
def test_what_only_resembles_a_secret_is_signed(name: str) -> None:
    assert secret_kind(name, HONEST[name]) is None


def test_a_single_file_is_looked_at_too(model: Path) -> None:
    place = model / "key.txt"
    place.write_bytes(PEM)
    signings: list[Callable[..., object]] = [sign, sign_detached]
    for signing in signings:
        key = Signer.generate("rsa")
        with pytest.raises(errors.UnsafeContent, match=r"key\.txt"):
            signing(place, key)
        assert signing(place, key, include_secrets=True, replace=True)


def test_the_command_refuses_and_names_the_way_out(
    model: Path, signer: KeySigner, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "release.pem").write_bytes(signer.to_pem())
    words = ["sign", str(model), "--key", str(model / "release.pem")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "release.pem" in said
    assert "--include-secrets" in said
    assert main([*words, "--include-secrets"]) == 0


@pytest.mark.parametrize(
    "piece",
    [
        b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN PRIVATE KEY-----\na: ", b"a: ", b"\x30\x80",
        b"-----BEGIN PRIVATE KEY-----" + b"\\n" * 50, b'"kty""d": "', b"eyJ-", b"sk-",
        b"machine ", b"\n",
        b" \n", b"aws_secret_access_key ", b"-----BEGIN PRIVATE KEY-----" + b" " * 900,
    ],
)  # fmt: skip
def test_hostile_files_take_little_time(piece: bytes) -> None:
    size = 1 << 20
    answered(secret_kind, "token", (piece * size)[:size])
