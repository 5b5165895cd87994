from __future__ import annotations

import getpass
import multiprocessing
import stat
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.signing import KeySigner, PublicKey, Signer, TrustPolicy, sign, verify
from mlsecops.signing.keys import KeyType
from mlsecops.signing.keys.pem import MAX_KEY_BYTES


def key_service(line: Connection) -> None:
    """A process that keeps a private key to itself, as a KMS does."""
    signer = Signer.generate("p384")
    line.send(signer.public_key.pem)
    while data := line.recv():
        line.send(signer.sign(data))


class RemoteSigner(Signer):
    """A signer that sees no private key."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._public = PublicKey(line.recv())

    @property
    def public_key(self) -> PublicKey:
        return self._public

    def sign(self, data: bytes) -> bytes:
        self._line.send(data)
        signature: bytes = self._line.recv()
        return signature


@pytest.fixture
def remote() -> Iterator[RemoteSigner]:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=key_service, args=(there,))
    process.start()
    yield RemoteSigner(here)
    here.send(b"")
    process.join(10)
    assert process.exitcode == 0


def test_a_key_in_another_process_signs(model: Path, remote: RemoteSigner) -> None:
    sign(model, remote)
    verified = verify(model, policy=TrustPolicy(keys=[remote.public_key]))
    assert verified.signers == (remote.public_key.fingerprint,)


@pytest.fixture
def encrypted(tmp_path: Path, signer: KeySigner) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(signer.to_pem(password="correct horse"))
    return path


def test_an_encrypted_key_needs_its_password(encrypted: Path, signer: KeySigner) -> None:
    assert Signer.from_pem(encrypted, "correct horse").public_key == signer.public_key
    assert Signer.from_pem(encrypted, lambda: "correct horse").public_key == signer.public_key
    for password in (None, "wrong", "", lambda: "wrong"):
        with pytest.raises(errors.UsageError, match="cannot read private key"):
            Signer.from_pem(encrypted, password)


def test_nobody_is_asked_for_the_password_of_an_open_key(tmp_path: Path, signer: KeySigner) -> None:
    (tmp_path / "open.pem").write_bytes(signer.to_pem())

    def ask() -> str:
        raise AssertionError("asked for a password that is not needed")

    assert Signer.from_pem(tmp_path / "open.pem", ask).public_key == signer.public_key


def test_a_private_key_given_instead_of_its_path_stays_out_of_the_message(
    signer: KeySigner,
) -> None:
    secret = signer.to_pem()
    for source in (secret, secret.decode()):
        with pytest.raises(errors.UsageError) as caught:
            Signer.from_pem(source)  # type: ignore[arg-type]
        assert "PRIVATE KEY" not in str(caught.value)


def test_a_key_that_is_not_public_is_told_by_its_path(tmp_path: Path, signer: KeySigner) -> None:
    private, other = tmp_path / "key.pem", tmp_path / "other.pem"
    private.write_bytes(signer.to_pem())
    other.write_text("no key")
    with pytest.raises(errors.UsageError, match=r"key\.pem holds a private key"):
        PublicKey.load(private)
    with pytest.raises(errors.UsageError, match=r"other\.pem holds no PEM public key"):
        PublicKey.load(str(other))
    with pytest.raises(errors.UsageError) as caught:
        PublicKey.load(signer.to_pem())
    assert "BEGIN" not in str(caught.value)


def test_the_command_takes_the_password_from_a_named_variable(
    model: Path, encrypted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sign", str(model), "--key", str(encrypted), "--password-env", "RELEASE_PASSWORD"]
    assert main(words) == 2
    monkeypatch.setenv("RELEASE_PASSWORD", "wrong")
    assert main(words) == 2
    monkeypatch.setenv("RELEASE_PASSWORD", "correct horse")
    assert main(words) == 0


def test_the_command_asks_on_a_terminal_and_nowhere_else(
    model: Path,
    encrypted: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["sign", str(model), "--key", str(encrypted)]
    monkeypatch.setattr(getpass, "getpass", lambda _: "correct horse")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(words) == 2
    assert "--password-env" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert main(words) == 0


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "ed25519", "rsa"])
def test_keygen_makes_a_key_that_only_its_owner_reads(tmp_path: Path, key_type: KeyType) -> None:
    path = tmp_path / "release.pem"
    assert main(["keygen", "--type", key_type, "--out", str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    signer = Signer.from_pem(path)
    assert PublicKey.load(tmp_path / "release.pub.pem") == signer.public_key
    assert signer.public_key.key_type == key_type
    before = path.read_bytes()
    assert main(["keygen", "--out", str(path)]) == 2
    assert path.read_bytes() == before


def test_keygen_asks_twice_for_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    path = tmp_path / "release.pem"
    answers = iter(["one", "two", "same", "same"])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(answers))
    words = ["keygen", "--out", str(path), "--ask-password"]
    assert main(words) == 2
    assert not path.exists()
    assert main(words) == 0
    assert Signer.from_pem(path, "same").public_key.key_type == "p256"


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "ed25519", "rsa"])
def test_openssh_keys_sign_too(tmp_path: Path, key_type: KeyType) -> None:
    pytest.importorskip("bcrypt")
    signer = Signer.generate(key_type)
    for password in (None, b"hunter2"):
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        file = tmp_path / "id"
        file.write_bytes(signer._key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption))
        asked: list[int] = []

        def ask() -> str:
            asked.append(1)  # noqa: B023 - called at once
            return "hunter2"

        assert Signer.from_pem(file, ask).public_key == signer.public_key
        assert bool(asked) == bool(password)
    for wrong in ("hunter3", None):
        with pytest.raises(errors.UsageError, match="cannot read private key"):
            Signer.from_pem(file, wrong)


def test_an_encrypted_openssh_key_names_the_extra_that_reads_it(
    tmp_path: Path, signer: KeySigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "id"
    key = signer._key.private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, BestAvailableEncryption(b"hunter2")
    )
    file.write_bytes(key)
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(errors.MissingExtra, match=r"mlsecops-sdk\[ssh\]"):
        Signer.from_pem(file, "hunter2")


def test_one_password_variable_serves_encrypted_and_open_keys_together(
    model: Path, tmp_path: Path, encrypted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open.pem").write_bytes(Signer.generate("p384").to_pem())
    monkeypatch.setenv("KEY_PASSWORD", "correct horse")
    words = ["--key", str(encrypted), "--key", str(tmp_path / "open.pem")]
    assert main(["sign", str(model), *words, "--password-env", "KEY_PASSWORD"]) == 0


@pytest.mark.parametrize(
    ("private", "message"),
    [
        (rsa.generate_private_key(65_537, 1024), "RSA key of 1024 bits"),  # noqa: S505 - the fault
        (ec.generate_private_key(ec.SECP256K1()), "curve secp256k1"),
        (x25519.X25519PrivateKey.generate(), "key type .*expected ECDSA, Ed25519 or RSA"),
    ],
    ids=["short", "curve", "kind"],
)
def test_a_key_of_a_kind_that_signs_no_model_is_refused(private: Any, message: str) -> None:
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(errors.UsageError, match=message):
        PublicKey.load(pem)


def test_no_more_of_a_file_is_read_than_a_key_has(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(bytes(MAX_KEY_BYTES + 1))
    with pytest.raises(errors.UsageError, match=f"at most {MAX_KEY_BYTES} bytes"):
        PublicKey.load(tmp_path / "key.pem")
