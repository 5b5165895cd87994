from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mlsecops.audit import AuditLog, Checkpoint
from mlsecops.audit.checkpoint import key_id, seal
from mlsecops.errors import SignatureInvalid
from mlsecops.signing import PublicKey, Signer

# The verifier key that documents Go's sumdb/note package: name, key id, type and key.
NAME, KEY_ID, KEY = "PeterNeumann", "c74f20a3", "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_an_ed25519_key_has_the_id_that_other_note_tools_give_it() -> None:
    raw = Ed25519PublicKey.from_public_bytes(base64.b64decode(KEY)[1:])
    pem = raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert key_id(NAME, PublicKey.load(pem)).hex() == KEY_ID


def test_an_ed25519_checkpoint_is_a_c2sp_note() -> None:
    signer = Signer.generate("ed25519")
    root = hashlib.sha256(b"").digest()
    note = seal(origin="example.com/log", size=0, root=root, signer=signer).note
    lines = note.split("\n")
    assert lines[:4] == ["example.com/log", "0", base64.b64encode(root).decode(), ""]
    dash, name, encoded = lines[4].split(" ")
    assert (dash, name, lines[5:]) == ("\N{EM DASH}", "example.com/log", [""])
    signature = base64.b64decode(encoded)[4:]
    signer.public_key.verify(signature, "\n".join([*lines[:3], ""]).encode())


def test_a_checkpoint_reads_back_as_it_was_written() -> None:
    signer = Signer.generate("p256")
    sealed = seal(origin="log", size=3, root=bytes(32), signer=signer)
    assert Checkpoint.parse(str(sealed)) == sealed


class WrongAnswer:
    """A signer that answers with another key's signature, as a misconfigured service does."""

    def __init__(self) -> None:
        self.public_key = Signer.generate("p256").public_key
        self.sign = Signer.generate("p256").sign


def test_a_signer_s_wrong_answer_is_found_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(SignatureInvalid, match="does not match"):
        seal(origin="log", size=0, root=bytes(32), signer=WrongAnswer())
    signer = Signer.generate("p256")
    log = AuditLog(tmp_path / "log.sqlite", signer=signer)
    log.append({"n": 1})
    wrong = AuditLog(tmp_path / "log.sqlite", signer=WrongAnswer(), keys=[signer.public_key])
    with pytest.raises(SignatureInvalid, match="does not match"):
        wrong.append({"n": 2})
    assert log.events() == ({"n": 1},)
