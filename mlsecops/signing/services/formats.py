"""Formats of signatures and public keys that key services answer with.

r‖s, fixed width → DER · DER or numbers → PEM

Source: RFC 3279, 2.2.3 (Ecdsa-Sig-Value); IEEE P1363 (r‖s); RFC 5280 (SubjectPublicKeyInfo).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from mlsecops.errors import UsageError

CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}


def der_signature(raw: bytes) -> bytes:
    """An ECDSA signature in DER from its two numbers in one row."""
    half = len(raw) // 2
    return encode_dss_signature(
        int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    )


def pem_of_der(data: bytes, where: str) -> str:
    """PEM of a SubjectPublicKeyInfo in DER.

    Raises:
        UsageError: It is none.
    """
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{where}: expected a public key, got none: {error}") from error
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def pem_of_point(curve: str, x: bytes, y: bytes, where: str) -> str:
    """PEM of a point on a curve (`"P-256"`).

    Raises:
        UsageError: The curve is another, or the point is not on it.
    """
    if curve not in CURVES:
        raise UsageError(f"{where}: curve {curve!r}: expected one of {', '.join(CURVES)}")
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), CURVES[curve]
    )
    try:
        key = numbers.public_key()
    except ValueError as error:
        raise UsageError(f"{where}: expected a public key, got none: {error}") from error
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def pem_of_modulus(modulus: bytes, exponent: bytes, where: str) -> str:
    """PEM of an RSA key.

    Raises:
        UsageError: The numbers are of no key.
    """
    try:
        key = rsa.RSAPublicNumbers(
            int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")
        ).public_key()
    except ValueError as error:
        raise UsageError(f"{where}: expected a public key, got none: {error}") from error
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
