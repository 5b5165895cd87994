"""Attacks on a signed folder, one function each."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
