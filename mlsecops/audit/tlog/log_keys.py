"""Verifier key of a log: C2SP text → Ed25519 key that checkpoints are verified with.

Source: C2SP signed-note, "Verifier keys".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mlsecops.audit.checkpoint import vkey
from mlsecops.errors import UsageError
from mlsecops.signing import PublicKey

__all__ = ["LogVerifier"]

_TYPED_BYTES: Final = 33  # bytes; signature type and Ed25519 key, RFC 8032


@dataclass(frozen=True, slots=True)
class LogVerifier:
    """A log's name and public key.

    Attributes:
        name: Name of the log.
        key: The key.
    """

    name: str
    key: PublicKey

    @classmethod
    def parse(cls, text: str) -> LogVerifier:
        """Read a verifier key.

        Raises:
            UsageError: It is no Ed25519 verifier key, or its key id is not that of its key.
        """
        name, _, rest = text.strip().partition("+")
        try:
            typed = base64.b64decode(rest.partition("+")[2], validate=True)
        except (binascii.Error, ValueError):
            typed = b""
        if len(typed) == _TYPED_BYTES and typed[:1] == b"\x01":
            public = Ed25519PublicKey.from_public_bytes(typed[1:])
            pem = public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            parsed = cls(name, PublicKey.load(pem))
            if vkey(name, parsed.key) == text.strip():
                return parsed
        raise UsageError(f"expected an Ed25519 verifier key NAME+ID+KEY, got {text[:80]!r}")

    @property
    def pem(self) -> str:
        """SubjectPublicKeyInfo as PEM text."""
        return self.key.pem

    def verify(self, signature: bytes, data: bytes, /) -> object:
        """Check a signature; see `signing.PublicKey.verify`."""
        return self.key.verify(signature, data)
