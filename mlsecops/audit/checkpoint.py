"""Log checkpoint: the size and root of a log, signed by its operator.

origin, size, root → note text → signed note → trusted keys → authentic Checkpoint

Source: C2SP tlog-checkpoint (note text) and signed-note (signature lines, key ids).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mlsecops._repr import concise_repr
from mlsecops.errors import MalformedBundle, SignatureInvalid, UntrustedSigner, UsageError

__all__ = [
    "Checkpoint",
    "LogKey",
    "LogSigner",
    "authenticate",
    "fingerprint_of",
    "key_id",
    "seal",
    "signature_line",
    "signatures_of",
    "signing_keys",
    "typed_key_id",
    "vkey",
]

_ED25519_SPKI: Final = bytes.fromhex("302a300506032b6570032100")
_ED25519: Final = b"\x01"
_P256_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_PRIVATE: Final = b"\xffmlsecops-sdk/spki-signature/v1"
_DASH: Final = "\N{EM DASH}"
_MAX_NOTE: Final = 65_536  # characters; chosen: hundreds of signature lines
_NAME: Final = re.compile(r"[^\s+]{1,200}")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_ROOT_BYTES: Final = 32  # bytes of a SHA-256 digest; RFC 6962, section 2.1
_TEXT_LINES: Final = 3  # origin, size, root; C2SP tlog-checkpoint, "Note text"


class LogKey(Protocol):
    """A public key that checkpoints are verified with (`signing.PublicKey` is one)."""

    @property
    def pem(self) -> str:
        """SubjectPublicKeyInfo as PEM text."""

    def verify(self, signature: bytes, data: bytes, /) -> object:
        """Check a signature; raises `SignatureInvalid` when it does not match."""


class LogSigner(Protocol):
    """A private key that checkpoints are signed with (`signing.Signer` is one)."""

    @property
    def public_key(self) -> LogKey:
        """The key that verifies its signatures."""

    def sign(self, data: bytes, /) -> bytes:
        """Sign bytes."""


@concise_repr("origin", "size", "root")
@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log's size and root under its operator's signature; `str()` is the signed note.

    A checkpoint from `parse` is not authenticated; one from `AuditLog.verify` or
    `AuditLog.checkpoint` is.

    Attributes:
        origin: Name of the log, unique to it.
        size: Number of entries.
        root: Merkle root over them, 32 bytes.
        note: The signed note, exactly as it was signed.
    """

    origin: str
    size: int
    root: bytes
    note: str

    @classmethod
    def parse(cls, note: str) -> Checkpoint:
        """Read a signed note without checking its signatures.

        Args:
            note: Text form of a checkpoint, `str(checkpoint)`.

        Raises:
            MalformedBundle: It is not a signed checkpoint.
        """
        text, _ = _split_note(note)
        origin, size, root = _split_text(text)
        return cls(origin=origin, size=size, root=root, note=note)

    def __str__(self) -> str:
        return self.note


def key_id(name: str, key: LogKey) -> bytes:
    """First four bytes that name a key in a signature line.

    An Ed25519 key has the C2SP type `0x01`, a P-256 key `0x02`, whose key id is the hash of its
    SubjectPublicKeyInfo. C2SP assigns no type to the other kinds of keys, so they use its range for
    private types: `0xff`, `mlsecops-sdk/spki-signature/v1`, then the SubjectPublicKeyInfo in DER.
    Their signature is that of the key's scheme over the note text (ECDSA in DER with the curve's
    hash, or RSA).

    Args:
        name: Key name (here always the log's origin).
        key: The public key.

    Source:
        C2SP signed-note, "Signatures" and "Signature types".
    """
    der = _der(key.pem)
    if der.startswith(_P256_SPKI):
        return hashlib.sha256(der).digest()[:4]
    if der.startswith(_ED25519_SPKI):
        return typed_key_id(name, _ED25519 + der[len(_ED25519_SPKI) :])
    return typed_key_id(name, _PRIVATE + der)


def typed_key_id(name: str, typed: bytes) -> bytes:
    """Key id of a name and the signature type's byte with the key material.

    Source:
        C2SP signed-note, "Signatures".
    """
    return hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4]


def vkey(name: str, key: LogKey) -> str | None:
    """Verifier key of an Ed25519 key, for other C2SP clients; None for a key of another kind.

    Source:
        C2SP signed-note, "Verifier keys".
    """
    der = _der(key.pem)
    if not der.startswith(_ED25519_SPKI):
        return None
    typed = _ED25519 + der[len(_ED25519_SPKI) :]
    return f"{name}+{typed_key_id(name, typed).hex()}+{base64.b64encode(typed).decode()}"


def fingerprint_of(key: LogKey) -> str:
    """SHA-256 of a key's PEM text, in hex (as `signing.PublicKey.fingerprint`)."""
    return hashlib.sha256(key.pem.encode()).hexdigest()


def _known_ids(name: str, key: LogKey) -> tuple[bytes, ...]:
    """Key ids of a key; a P-256 key had a private type before it had C2SP's."""
    return key_id(name, key), typed_key_id(name, _PRIVATE + _der(key.pem))


def require_origin(origin: str) -> str:
    """Check that a log's name is allowed in a note.

    Raises:
        UsageError: It is empty, too long, or holds a space or a plus sign.
    """
    if _NAME.fullmatch(origin) is None or not origin.isprintable():
        raise UsageError(
            f"log origin: expected up to 200 characters without spaces or '+', got {origin[:80]!r}"
        )
    return origin


def seal(
    *, origin: str, size: int, root: bytes, signer: LogSigner, more: Sequence[LogSigner] = ()
) -> Checkpoint:
    """Sign a size and root.

    Args:
        origin: Name of the log; also the key's name in the note.
        size: Number of entries.
        root: Merkle root, 32 bytes.
        signer: The operator's key.
        more: Further keys that sign the same text.

    Raises:
        SignatureInvalid: What the signer returned is no signature of its public key: nobody could
            verify the log any more.
    """
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    bare = Checkpoint(origin=origin, size=size, root=root, note=f"{text}\n")
    lines: list[str] = []
    for each in (signer, *more):
        signed = each.sign(text.encode())
        _check(each.public_key, signed, text, bare)
        lines.append(signature_line(origin, key_id(origin, each.public_key), signed))
    return Checkpoint(origin=origin, size=size, root=root, note=bare.note + "".join(lines))


def signature_line(name: str, identifier: bytes, signature: bytes) -> str:
    """One signature of a note, with its line break.

    Source:
        C2SP signed-note, "Signatures".
    """
    return f"{_DASH} {name} {base64.b64encode(identifier + signature).decode()}\n"


def signatures_of(note: str) -> tuple[str, tuple[tuple[str, bytes, bytes], ...]]:
    """Text of a note, and name, key id and signature of each line, unchecked.

    Raises:
        MalformedBundle: It is no signed note.
    """
    text, lines = _split_note(note)
    return text, tuple(map(_split_line, lines))


def authenticate(note: str, keys: Sequence[LogKey]) -> Checkpoint:
    """Read a signed note and check it against the trusted keys.

    Args:
        note: The signed note.
        keys: Public keys of the log's operator; one of them must have signed.

    Returns:
        The authentic checkpoint.

    Raises:
        MalformedBundle: It is not a signed checkpoint.
        UntrustedSigner: None of the keys signed it.
        SignatureInvalid: A line names one of the keys and its signature does not match.
    """
    checkpoint = Checkpoint.parse(note)
    if not signing_keys(checkpoint, keys):
        raise UntrustedSigner(
            f"checkpoint of log {checkpoint.origin}: expected a signature by one of {len(keys)} "
            "trusted keys, found none; pass the operator's public key"
        )
    return checkpoint


def signing_keys(checkpoint: Checkpoint, keys: Sequence[LogKey]) -> tuple[LogKey, ...]:
    """Those of the keys that signed a checkpoint.

    Raises:
        SignatureInvalid: A line names one of the keys and its signature does not match.
    """
    text, lines = signatures_of(checkpoint.note)
    origin = checkpoint.origin
    known = {identifier: key for key in keys for identifier in _known_ids(origin, key)}
    # C2SP: lines of unknown keys are ignored, a bad signature of a known key refuses the note
    signed = [
        (known[each], value) for name, each, value in lines if name == origin and each in known
    ]
    for key, signature in signed:
        _check(key, signature, text, checkpoint)
    return tuple(dict.fromkeys(key for key, _ in signed))


def _check(key: LogKey, signature: bytes, text: str, checkpoint: Checkpoint) -> None:
    try:
        key.verify(signature, text.encode())
    except SignatureInvalid as error:
        raise SignatureInvalid(
            f"checkpoint of log {checkpoint.origin} at size {checkpoint.size}: the signature does "
            "not match; the checkpoint was forged or altered"
        ) from error


def _split_note(note: str) -> tuple[str, list[str]]:
    if len(note) > _MAX_NOTE or any(mark < " " and mark != "\n" for mark in note):
        raise MalformedBundle(
            f"checkpoint: longer than {_MAX_NOTE} characters, or it holds control characters"
        )
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise MalformedBundle("checkpoint: expected text, a blank line and signature lines")
    return f"{text}\n", lines[:-1].split("\n")


def _split_text(text: str) -> tuple[str, int, bytes]:
    lines = text[:-1].split("\n")
    if len(lines) < _TEXT_LINES or _SIZE.fullmatch(lines[1]) is None or not lines[0]:
        raise MalformedBundle("checkpoint: expected the lines origin, size and root")
    root = _decode(lines[2])
    if len(root) != _ROOT_BYTES:
        raise MalformedBundle(f"checkpoint root: expected {_ROOT_BYTES} bytes, got {len(root)}")
    return lines[0], int(lines[1]), root


def _split_line(line: str) -> tuple[str, bytes, bytes]:
    dash, _, rest = line.partition(" ")
    name, space, encoded = rest.partition(" ")
    if dash != _DASH or not name or not space:
        raise MalformedBundle(f"checkpoint: not a signature line: {line[:80]!r}")
    raw = _decode(encoded)
    return name, raw[:4], raw[4:]


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedBundle(f"checkpoint: not base64: {text[:80]!r}") from error


def _der(pem: str) -> bytes:
    body = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    return _decode(body.strip())
