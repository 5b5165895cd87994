"""Public key and the verification of its signatures.

PEM → PublicKey → verify

Source: OpenSSF Model Signing fixes the digest of each curve (P-256 with SHA-256, P-384 with
SHA-384, P-521 with SHA-512) and signatures in DER. Ed25519 and RSA-PSS (SHA-256, maximum salt) are
an extension that other verifiers of the format do not read.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from mlsecops._choices import checked, of_type, one_of
from mlsecops._repr import concise_repr
from mlsecops.errors import SignatureInvalid, UsageError
from mlsecops.signing.keys.pem import content_of, load_certificates, read_pem, shown_source

KeyType: TypeAlias = Literal["p256", "p384", "p521", "ed25519", "rsa"]
Public: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

MIN_RSA_BITS: Final = 2048  # bits; NIST SP 800-131A Rev. 2, section 3
CURVES: Final[dict[str, tuple[KeyType, hashes.HashAlgorithm]]] = {
    "secp256r1": ("p256", hashes.SHA256()),
    "secp384r1": ("p384", hashes.SHA384()),
    "secp521r1": ("p521", hashes.SHA512()),
}
HASHES: Final[dict[KeyType, str | None]] = {
    "p256": "sha256", "p384": "sha384", "p521": "sha512", "rsa": "sha256", "ed25519": None,
}  # fmt: skip
"""Name of the digest that a signature is over; Ed25519 signs the whole message (RFC 8032)."""

MGF: Final = padding.MGF1(hashes.SHA256())
_PSS_ANY_SALT: Final = padding.PSS(mgf=MGF, salt_length=padding.PSS.AUTO)


@concise_repr("fingerprint")
@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of a supported type.

    Attributes:
        pem: SubjectPublicKeyInfo as PEM text, trailing newline included.
    """

    pem: str

    def __post_init__(self) -> None:
        pem = of_type("pem", self.pem, str, "PEM text")
        object.__setattr__(self, "pem", spki(_load_public(pem.encode(errors="replace"))))

    @classmethod
    def load(cls, source: PublicKey | str | bytes | os.PathLike[str]) -> PublicKey:
        """Read a public key, or take the one inside a certificate.

        Args:
            source: A PublicKey, PEM text or bytes, or the path of a PEM file.

        Raises:
            UsageError: It cannot be read, or its type is not supported.
        """
        if isinstance(source, cls):
            return source
        of_type("source", source, (str, bytes, os.PathLike), "a PublicKey, PEM or a path")
        pem = read_pem(cast("str | bytes | os.PathLike[str]", source))
        if b"BEGIN CERTIFICATE" in pem:
            return cls.of_certificate(load_certificates(pem)[0])
        if b"PRIVATE KEY-----" in pem:
            raise UsageError(
                f"{shown_source(source)} holds a private key: expected the public one, such as "
                "KEY.pub.pem next to KEY.pem"
            )
        return cls(spki(_load_public(pem, shown_source(source))))

    @classmethod
    def of_certificate(cls, certificate: x509.Certificate) -> PublicKey:
        """The key of a certificate."""
        return cls(spki(supported(certificate.public_key())))

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the PEM text, the key hint in bundles."""
        return hashlib.sha256(self.pem.encode()).hexdigest()

    @property
    def key_type(self) -> KeyType:
        """Type of the key."""
        return _key_type(_load_public(self.pem.encode()))

    @checked
    def verify(
        self, signature: bytes, data: bytes, *, ecdsa: Literal["curve", "sha256"] = "curve"
    ) -> None:
        """Check a signature over data.

        Args:
            signature: DER for ECDSA, raw for Ed25519, PSS with any salt length for RSA.
            data: Signed bytes.
            ecdsa: Digest of an ECDSA signature: `"curve"` for that of the curve, or `"sha256"` on
                every curve, as in the first releases of the format.

        Raises:
            SignatureInvalid: This key did not sign these bytes.
        """
        one_of("ecdsa", ecdsa, ("curve", "sha256"))
        of_type("signature", signature, (bytes, bytearray), "bytes")
        of_type("data", data, (bytes, bytearray), "bytes")
        key = _load_public(self.pem.encode())
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                own = CURVES[key.curve.name][1]
                key.verify(signature, data, ec.ECDSA(own if ecdsa == "curve" else hashes.SHA256()))
            elif isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, data)
            else:
                key.verify(signature, data, _PSS_ANY_SALT, hashes.SHA256())
        except InvalidSignature as error:
            raise SignatureInvalid(
                f"the signature was not made by key {self.fingerprint[:16]} over these bytes; "
                "the content or the signature was changed, or the key is another"
            ) from error


def _load_public(pem: bytes, shown: str = "the PEM") -> Public:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"{shown} holds no PEM public key: expected one, got {content_of(pem)}; keygen writes "
            "KEY.pub.pem next to KEY.pem"
        ) from error
    return supported(key)


def supported(key: Any) -> Public:
    """A key of a type that signs models.

    Raises:
        UsageError: It is of another type, or too short.
    """
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise UsageError(f"RSA key of {key.key_size} bits: expected at least {MIN_RSA_BITS}")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in CURVES:
        raise UsageError(f"curve {key.curve.name}: expected one of {', '.join(CURVES)}")
    if not isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)):
        raise UsageError(f"key type {type(key).__name__}: expected ECDSA, Ed25519 or RSA")
    return key


def _key_type(key: Public) -> KeyType:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return CURVES[key.curve.name][0]
    return "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "rsa"


def spki(key: Public) -> str:
    """PEM text of a public key."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
