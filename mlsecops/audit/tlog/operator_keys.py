"""Keys that sign a log's checkpoint for its operator.

Ed25519 signer → itself; another private key → an Ed25519 key derived from it, and itself

C2SP clients and witnesses verify Ed25519. A derived key needs no storage: each machine that has
the operator's private key derives the same one for the same log. The operator's own signature on
the same text vouches for it. A key that never leaves a device or service derives none.

Source: RFC 5869 (HKDF); C2SP tlog-tiles, "Checkpoints" (at least one Ed25519 signature).
"""

from __future__ import annotations

from typing import Final, cast

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mlsecops.audit.checkpoint import LogSigner, vkey
from mlsecops.signing.keys.signer import KeySigner

__all__ = ["log_signers", "log_vkey"]

_PURPOSE: Final = b"mlsecops-sdk/log-key/v1\n"
_SEED_BYTES: Final = 32  # bytes of an Ed25519 seed; RFC 8032, section 5.1.5


def log_signers(signer: LogSigner, origin: str) -> tuple[LogSigner, ...]:
    """The signers of a log's checkpoint, the Ed25519 key first.

    Args:
        signer: The operator's key.
        origin: Name of the log.
    """
    secret = None if vkey(origin, signer.public_key) is not None else _secret(signer)
    if secret is None:
        return (signer,)
    hkdf = HKDF(hashes.SHA256(), _SEED_BYTES, salt=None, info=_PURPOSE + origin.encode())
    return KeySigner(Ed25519PrivateKey.from_private_bytes(hkdf.derive(secret))), signer


def log_vkey(signer: LogSigner, origin: str) -> str | None:
    """Verifier key for other C2SP clients, or None for a key that derives none."""
    return vkey(origin, log_signers(signer, origin)[0].public_key)


def _secret(signer: LogSigner) -> bytes | None:
    """The private number of a key in memory."""
    if not isinstance(signer, KeySigner):
        return None
    key = serialization.load_pem_private_key(signer.to_pem(), password=None)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        number = key.private_numbers().private_value
    else:
        number = cast("rsa.RSAPrivateKey", key).private_numbers().d
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
