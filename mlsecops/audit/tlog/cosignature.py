"""Cosignatures of witnesses on a checkpoint.

vkey → WitnessKey; checkpoint and WitnessKey → valid cosignature with its time, or none

Source: C2SP tlog-cosignature (Ed25519, signature type 0x04) and signed-note ("Verifier keys").
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mlsecops.audit.checkpoint import (
    Checkpoint,
    LogSigner,
    signature_line,
    signatures_of,
    typed_key_id,
    vkey,
)
from mlsecops.errors import SignatureInvalid, ThresholdNotMet, UsageError

__all__ = ["WitnessKey", "cosign", "cosigners", "require_quorum", "with_lines", "witness_vkey"]

_COSIGNATURE: Final = b"\x04"
_ED25519: Final = b"\x01"
_KEY_BYTES: Final = 32  # bytes of an Ed25519 public key; RFC 8032
_TIME: Final = struct.Struct(">Q")  # tlog-cosignature: u64 timestamp, then the signature
_SIGNATURE_BYTES: Final = _TIME.size + 64  # bytes; time and Ed25519 signature


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness's name and Ed25519 key.

    Attributes:
        name: Name in its signature lines.
        public: The key, 32 bytes.
    """

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Read a verifier key; the type of a log's key (`0x01`) is accepted too.

        Raises:
            UsageError: It is no verifier key of a witness.
        """
        name, _, rest = text.strip().partition("+")
        identifier, _, encoded = rest.partition("+")
        try:
            typed = base64.b64decode(encoded, validate=True)
            stated = bytes.fromhex(identifier)
        except (binascii.Error, ValueError) as error:
            raise UsageError(f"witnesses: not a verifier key: {text[:80]!r}") from error
        key = cls(name, typed[1:])
        right = {key.key_id, typed_key_id(name, typed)}
        kinds = {_COSIGNATURE, _ED25519}
        if not name or typed[:1] not in kinds or len(typed) != 1 + _KEY_BYTES:
            raise UsageError(
                f"witnesses: expected the verifier key of an Ed25519 witness, got {text[:80]!r}"
            )
        if stated not in right:
            raise UsageError(f"witnesses: the key id of {text[:80]!r} is not that of its key")
        return key

    @property
    def key_id(self) -> bytes:
        """First four bytes of its cosignatures."""
        return typed_key_id(self.name, _COSIGNATURE + self.public)

    def time_of(self, text: str, signature: bytes) -> int:
        """Time of a cosignature, in seconds since 1970.

        Args:
            text: Text of the checkpoint, as it was signed.
            signature: Time and signature.

        Raises:
            SignatureInvalid: It does not match.
        """
        if len(signature) != _SIGNATURE_BYTES:
            raise SignatureInvalid(f"witness {self.name}: its cosignature has another length")
        [time] = _TIME.unpack_from(signature)
        key = Ed25519PublicKey.from_public_bytes(self.public)
        try:
            key.verify(signature[_TIME.size :], _message(text, time))
        except InvalidSignature as error:
            raise SignatureInvalid(
                f"witness {self.name}: its cosignature does not match; the checkpoint was altered"
            ) from error
        return int(time)


def cosigners(note: str, witnesses: Iterable[WitnessKey]) -> dict[WitnessKey, str]:
    """Witnesses with a valid cosignature on a note, each with its line.

    Raises:
        SignatureInvalid: A line names one of them and does not match.
        MalformedBundle: It is no signed note.
    """
    text, lines = signatures_of(note)
    known = {(key.name, key.key_id): key for key in witnesses}
    found: dict[WitnessKey, str] = {}
    for name, identifier, signature in lines:
        key = known.get((name, identifier))
        if key is not None:
            key.time_of(text, signature)
            found[key] = signature_line(name, identifier, signature)
    return found


def require_quorum(checkpoint: Checkpoint, witnesses: Sequence[WitnessKey], quorum: int) -> None:
    """Demand cosignatures of so many distinct witnesses.

    Raises:
        ThresholdNotMet: There are fewer.
        SignatureInvalid: One does not match.
    """
    if not quorum:
        return
    found = {key.public for key in cosigners(checkpoint.note, witnesses)}
    if len(found) < quorum:
        raise ThresholdNotMet(
            f"checkpoint of log {checkpoint.origin} at size {checkpoint.size}: expected "
            f"cosignatures of {quorum} witnesses, got {len(found)}; the log may be a fork: ask its "
            "operator to submit it to the witnesses"
        )


def with_lines(checkpoint: Checkpoint, lines: Iterable[str]) -> Checkpoint:
    """The checkpoint with further signature lines."""
    note = checkpoint.note + "".join(line for line in lines if line not in checkpoint.note)
    return Checkpoint(
        origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root, note=note
    )


def cosign(note: str, *, name: str, signer: LogSigner, time: int) -> str:
    """A witness's cosignature line on a note.

    Args:
        note: The checkpoint, verified by the caller.
        name: The witness's name.
        signer: Its Ed25519 key.
        time: Now, in seconds since 1970.
    """
    key = WitnessKey.parse(witness_vkey(name, signer))
    text, _ = signatures_of(note)
    signed = _TIME.pack(time) + signer.sign(_message(text, time))
    key.time_of(text, signed)
    return signature_line(name, key.key_id, signed)


def witness_vkey(name: str, signer: LogSigner) -> str:
    """Verifier key of a witness.

    Raises:
        UsageError: The key is not Ed25519.
    """
    plain = vkey(name, signer.public_key)
    if plain is None:
        raise UsageError("witness: expected an Ed25519 key; make one with keygen --type ed25519")
    material = base64.b64decode(plain.split("+", 2)[2])[1:]
    typed = _COSIGNATURE + material
    return f"{name}+{typed_key_id(name, typed).hex()}+{base64.b64encode(typed).decode()}"


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
