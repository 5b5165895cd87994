"""Verifier of C2SP tlog-tiles logs, written from the specifications alone.

It shares no code with the product. Source: c2sp.org/tlog-tiles, tlog-checkpoint and signed-note;
RFC 6962, section 2.1.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Read = Callable[[str], bytes | None]


def verified_entries(read: Read, vkey: str) -> list[bytes]:
    """All entries of a log, after everything that its checkpoint covers was compared."""
    size, root = verified_checkpoint(present(read, "checkpoint").decode(), vkey)
    entries = [
        entry
        for index in range(-(-size // 256))
        for entry in bundle(
            present(read, path("entries", index, min(256, size - 256 * index))),
            min(256, size - 256 * index),
        )
    ]
    hashes = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    assert tree_hash(hashes) == root, "root"
    level = 0
    while hashes:
        for index in range(-(-len(hashes) // 256)):
            expected = hashes[256 * index : 256 * (index + 1)]
            stored = present(read, path(str(level), index, len(expected)))
            assert stored == b"".join(expected), f"tile {level} {index}"
        full = range(len(hashes) // 256)
        hashes = [tree_hash(hashes[256 * each : 256 * (each + 1)]) for each in full]
        level += 1
    return entries


def verified_checkpoint(note: str, vkey: str) -> tuple[int, bytes]:
    name, identifier, encoded = vkey.split("+", 2)
    typed = base64.b64decode(encoded, validate=True)
    assert typed[:1] == b"\x01"
    key_id = hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4]
    assert key_id.hex() == identifier
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    origin, size, root, *_ = text.splitlines()
    assert origin == name
    assert size == str(int(size))
    assert signatures.endswith("\n")
    found = 0
    for line in signatures[:-1].split("\n"):
        dash, signer, signature = line.split(" ")
        assert dash == "\N{EM DASH}"
        raw = base64.b64decode(signature, validate=True)
        if signer == name and raw[:4] == key_id:
            Ed25519PublicKey.from_public_bytes(typed[1:]).verify(raw[4:], text.encode())
            found += 1
    assert found, "no signature of the log"
    digest = base64.b64decode(root, validate=True)
    assert len(digest) == 32
    return int(size), digest


def bundle(data: bytes, width: int) -> list[bytes]:
    entries = []
    while data:
        length = int.from_bytes(data[:2], "big")
        assert len(data) >= 2 + length, "bundle"
        entries.append(data[2 : 2 + length])
        data = data[2 + length :]
    assert len(entries) == width, "bundle"
    return entries


def path(level: str, index: int, width: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[each : each + 3] for each in range(0, len(digits), 3)]
    number = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return f"tile/{level}/{number}" + (f".p/{width}" if width < 256 else "")


def tree_hash(hashes: list[bytes]) -> bytes:
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    middle = 1
    while 2 * middle < len(hashes):
        middle *= 2
    left, right = tree_hash(hashes[:middle]), tree_hash(hashes[middle:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def present(read: Read, name: str) -> bytes:
    data = read(name)
    assert data is not None, f"{name} is missing"
    return data
