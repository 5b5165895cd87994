"""DSSE envelope: payload bytes and the signatures over them.

payload → pre-authentication encoding → signatures of each Signer → Envelope

Source: Dead Simple Signing Envelope v1.0.2, protocol (PAE) and envelope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.signing.keys import Signer, signature_by

IN_TOTO: Final = "application/vnd.in-toto+json"


@concise_repr("keyid", "value")
@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of an envelope; `keyid` is a hint and never trusted."""

    value: bytes
    keyid: str = ""


@concise_repr("payload_type", "payload", "signatures")
@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Exact payload bytes with the signatures over them.

    Attributes:
        payload: The signed bytes.
        payload_type: Their media type, signed too.
        signatures: At least one.
    """

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    @classmethod
    def seal(
        cls, payload: bytes, signers: Sequence[Signer], *, payload_type: str = IN_TOTO
    ) -> Envelope:
        """Sign a payload with each signer.

        Raises:
            UsageError: There is no signer.
            SignatureInvalid: A signer's answer does not match its public key.
        """
        if not signers:
            raise UsageError("an envelope needs at least one signer")
        data = pae(payload_type, payload)
        # One signer: an empty keyid, as the deployed verifiers of the format write it.
        several = len(signers) > 1
        signatures = tuple(
            Signature(signature_by(signer, data), signer.public_key.fingerprint if several else "")
            for signer in signers
        )
        return cls(payload=payload, payload_type=payload_type, signatures=signatures)

    @property
    def signed_bytes(self) -> bytes:
        """Bytes that each signature covers."""
        return pae(self.payload_type, self.payload)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: type and payload, each with its length.

    Examples:
        >>> pae("text", b"hi")
        b'DSSEv1 4 text 2 hi'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
