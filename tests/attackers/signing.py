"""Attacks on a signed folder, one function each."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlsecops.signing import Bundle, Envelope, Signer


def flip_byte(path: Path, *, offset: int = 0) -> None:
    """Change one byte of a file, keeping its size and times."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x01
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_names(first: Path, second: Path) -> None:
    """Exchange two files' contents."""
    mine, theirs = first.read_bytes(), second.read_bytes()
    first.write_bytes(theirs)
    second.write_bytes(mine)


def edit_bundle(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a bundle's JSON in place, without signing again."""
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_bytes(json.dumps(value, separators=(",", ":")).encode())


def edit_payload(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the signed statement in place, without signing again."""

    def inner(value: dict[str, Any]) -> None:
        envelope = value["dsseEnvelope"]
        payload = json.loads(base64.b64decode(envelope["payload"]))
        edit(payload)
        envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()

    edit_bundle(path, inner)


def forge_payload(path: Path, signer: Signer, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the statement and sign it with a key that is trusted: a malicious insider's bundle."""
    payload = json.loads(Bundle.load(path).envelope.payload)
    edit(payload)
    envelope = Envelope.seal(json.dumps(payload).encode(), [signer])
    Bundle(envelope=envelope, hint=signer.public_key.fingerprint).save(path)


def legacy_bundle(root: Path, key: Any, *, edit: Callable[[dict[str, Any]], object] = id) -> bytes:
    """A bundle as v0.2.0 of the other implementation wrote it, with its misspelt encoding."""
    names = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    payload = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": name.as_posix(),
                "digest": {"sha256": hashlib.sha256((root / name).read_bytes()).hexdigest()},
                "annotations": {"actual_hash_algorithm": "file-sha256"},
            }
            for name in names
        ],
        "predicateType": "https://model_signing/Digests/v0.1",
        "predicate": {"unused": "Unused, just passed due to API requirements"},
    }
    edit(payload)
    raw = json.dumps(payload, indent=2).encode()
    kind = "application/vnd.in-toto+json"
    signed = f"DSSEV1 {len(kind)} {kind} {len(raw)} {raw!r}".encode()
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    value = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {
                "rawBytes": base64.b64encode(pem).decode(),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            }
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(raw).decode(),
            "payloadType": kind,
            "signatures": [
                {"sig": base64.b64encode(key.sign(signed, ec.ECDSA(hashes.SHA256()))).decode()}
            ],
        },
    }
    return json.dumps(value).encode()


def drop_into(folder: Path, name: str) -> Path:
    """Put a file where the signature does not look."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("import os")
    return path


def leaves(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Places of everything in a JSON value that is neither object nor list."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*place, index))
    else:
        yield place


def changed_at(value: Any, place: tuple[str | int, ...], draw: random.Random) -> Any:
    """A copy of a JSON value with the leaf at one place changed a little."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    leaf = inner[place[-1]]
    if isinstance(leaf, str) and leaf:
        index = draw.randrange(len(leaf))
        new = draw.choice([letter for letter in "0aZ/" if letter != leaf[index]])
        inner[place[-1]] = leaf[:index] + new + leaf[index + 1 :]
    else:
        inner[place[-1]] = {"": "x", False: True, True: False}.get(leaf, 7)
    return copy


def put_in_place(served: Path, other: Path) -> Path:
    """Put another signed model, folder or file with its signature, where one is served from."""
    if other.is_dir():
        shutil.rmtree(served, ignore_errors=True)
        shutil.copytree(other, served)
    else:
        shutil.copyfile(other, served)
        shutil.copyfile(f"{other}.sig", f"{served}.sig")
    return served
