"""Who signs, and with what: public keys that verify, and signers that hold or reach a private key.

Source: the digest belongs to the curve as OpenSSF Model Signing fixes it (P-256 with SHA-256,
P-384 with SHA-384, P-521 with SHA-512, signatures in DER). Ed25519 and RSA-PSS (SHA-256, maximum
salt) are our extension, which other verifiers of the format do not read.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from mlsecops.errors import SignatureInvalid, UsageError

KeyType: TypeAlias = Literal["p256", "p384", "p521", "ed25519", "rsa"]
Private: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
Public: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

MAX_KEY_BYTES: Final = 1 << 20
MIN_RSA_BITS: Final = 2048
_CURVES: Final[dict[str, tuple[KeyType, hashes.HashAlgorithm]]] = {
    "secp256r1": ("p256", hashes.SHA256()),
    "secp384r1": ("p384", hashes.SHA384()),
    "secp521r1": ("p521", hashes.SHA512()),
}
Password: TypeAlias = str | bytes | Callable[[], str | bytes]
_MGF: Final = padding.MGF1(hashes.SHA256())
_PSS: Final = padding.PSS(mgf=_MGF, salt_length=padding.PSS.MAX_LENGTH)
_PSS_ANY_SALT: Final = padding.PSS(mgf=_MGF, salt_length=padding.PSS.AUTO)
_GENERATORS: Final[dict[str, Callable[[], Private]]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=3072),
}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of a supported type.

    Attributes:
        pem: SubjectPublicKeyInfo as PEM text, trailing newline included.
    """

    pem: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "pem", _spki(_load_public(self.pem.encode())))

    @classmethod
    def load(cls, source: PublicKey | str | bytes | os.PathLike[str]) -> PublicKey:
        """Read a public key, or take the one inside a certificate.

        Args:
            source: A PublicKey, PEM text or bytes, or a path to a PEM file.

        Raises:
            UsageError: It cannot be read, or is of a type that is not supported.
        """
        if isinstance(source, cls):
            return source
        pem = read_pem(cast("str | bytes | os.PathLike[str]", source))
        if b"BEGIN CERTIFICATE" in pem:
            return cls.of_certificate(load_certificates(pem)[0])
        if b"PRIVATE KEY-----" in pem:
            raise UsageError(
                f"{_shown(source)} holds a private key: expected the public one, such as "
                "KEY.pub.pem beside KEY.pem"
            )
        return cls(_spki(_load_public(pem, _shown(source))))

    @classmethod
    def of_certificate(cls, certificate: x509.Certificate) -> PublicKey:
        """The key that a certificate vouches for."""
        return cls(_spki(_supported(certificate.public_key())))

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the PEM text: what bundles carry as the key's hint."""
        return hashlib.sha256(self.pem.encode()).hexdigest()

    @property
    def key_type(self) -> KeyType:
        """Which of the supported types it is."""
        return _key_type(_load_public(self.pem.encode()))

    def verify(
        self, signature: bytes, data: bytes, *, ecdsa: Literal["curve", "sha256"] = "curve"
    ) -> None:
        """Check a signature over data.

        Args:
            signature: DER for ECDSA, raw for Ed25519, PSS with any salt length for RSA.
            data: What was signed.
            ecdsa: Digest of an ECDSA signature: the curve's own, or SHA-256 on every curve as the
                first releases of the format had it.

        Raises:
            SignatureInvalid: This key did not make it over these bytes.
        """
        key = _load_public(self.pem.encode())
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                own = _CURVES[key.curve.name][1]
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


class Signer(ABC):
    """Whoever can sign with a private key; subclass it for a key that lives in a KMS or HSM.

    A subclass gives `public_key` and `sign`, and `certificates` when its key is
    certified.
    """

    @property
    @abstractmethod
    def public_key(self) -> PublicKey:
        """The key that verifies."""

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """Signature over the data: DER for ECDSA, raw for Ed25519, PSS for RSA."""

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Certificate chain of the key, leaf first, without the root; empty for a bare key."""
        return ()

    @staticmethod
    def generate(key_type: KeyType = "p256") -> KeySigner:
        """Make a fresh private key in memory.

        Raises:
            UsageError: The type is unknown.
        """
        if key_type not in _GENERATORS:
            raise UsageError(
                f"unknown key type {key_type!r}: expected one of {', '.join(_GENERATORS)}"
            )
        return KeySigner(_GENERATORS[key_type]())

    @staticmethod
    def from_pem(
        path: str | os.PathLike[str],
        password: Password | None = None,
        *,
        certificates: str | bytes | os.PathLike[str] | None = None,
    ) -> KeySigner:
        """Read a private key.

        Args:
            path: PEM file, encrypted or not.
            password: Password of an encrypted key, or a function that asks for it (`getpass`),
                called only when the key is encrypted.
            certificates: PEM text or file with the chain, leaf first, to sign by certificate.

        Raises:
            UsageError: It cannot be read or decrypted, its type is not supported, or the leaf
                certificate is for another key.
        """
        if not isinstance(path, (str, os.PathLike)) or "-----BEGIN" in os.fspath(path):
            # The argument may be the secret itself: it must not end up in a message.
            raise UsageError("from_pem expects the path of a PEM file, not the key itself")
        pem = read_pem(Path(path))
        try:
            key = serialization.load_pem_private_key(pem, _secret(password, pem))
        except (TypeError, ValueError, UnsupportedAlgorithm) as error:
            raise UsageError(f"cannot read private key {os.fspath(path)}: {error}") from error
        chain = () if certificates is None else load_certificates(certificates)
        return KeySigner(cast("Private", key), certificates=chain)


class KeySigner(Signer):
    """A signer whose private key is in this process's memory."""

    def __init__(self, key: Private, *, certificates: tuple[x509.Certificate, ...] = ()) -> None:
        self._key = key
        self._public = PublicKey(_spki(_supported(key.public_key())))
        self._certificates = certificates
        if certificates and PublicKey.of_certificate(certificates[0]) != self._public:
            raise UsageError(
                "the first certificate is for another key: expected the leaf of "
                f"key {self._public.fingerprint[:16]} first"
            )

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies."""
        return self._public

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Certificate chain, leaf first."""
        return self._certificates

    def sign(self, data: bytes) -> bytes:
        """Signature over the data."""
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(data, ec.ECDSA(_CURVES[self._key.curve.name][1]))
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        return self._key.sign(data, _PSS, hashes.SHA256())

    def to_pem(self, *, password: str | bytes | None = None) -> bytes:
        """The private key as PKCS#8 PEM, encrypted when a password is given."""
        secret = password.encode() if isinstance(password, str) else password
        encryption: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(secret)
            if secret
            else serialization.NoEncryption()
        )
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )


def read_pem(source: str | bytes | os.PathLike[str]) -> bytes:
    """PEM bytes from text, bytes or a file.

    Raises:
        UsageError: The file cannot be opened or is too large to be a key.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, str) and "-----BEGIN" in source:
        return source.encode()
    try:
        with Path(source).open("rb") as stream:
            data = stream.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {os.fspath(source)}: {error.strerror}") from error
    if len(data) > MAX_KEY_BYTES:
        raise UsageError(f"{os.fspath(source)} is over {MAX_KEY_BYTES} bytes: not a PEM file")
    return data


def _shown(source: object) -> str:
    """A path as it is; PEM itself, which may be secret, not."""
    text = os.fspath(source) if isinstance(source, os.PathLike) else source
    return text if isinstance(text, str) and "-----BEGIN" not in text else "the PEM"


def load_certificates(
    source: str | bytes | os.PathLike[str],
) -> tuple[x509.Certificate, ...]:
    """Certificates from PEM, in their order.

    Raises:
        UsageError: There is none that can be read.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(read_pem(source)))
    except (ValueError, x509.InvalidVersion) as error:
        raise UsageError(f"cannot read certificates: {error}") from error


def _secret(password: Password | None, pem: bytes) -> bytes | None:
    if callable(password):
        # Nobody is asked for the password of a key that has none.
        password = password() if b"ENCRYPTED" in pem else None
    return password.encode() if isinstance(password, str) else password


def _load_public(pem: bytes, shown: str = "the PEM") -> Public:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{shown} holds no PEM public key: {error}") from error
    return _supported(key)


def _supported(key: Any) -> Public:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise UsageError(f"RSA key of {key.key_size} bits: expected at least {MIN_RSA_BITS}")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        raise UsageError(f"curve {key.curve.name}: expected one of {', '.join(_CURVES)}")
    if not isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)):
        raise UsageError(f"key type {type(key).__name__}: expected ECDSA, Ed25519 or RSA")
    return key


def _key_type(key: Public) -> KeyType:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES[key.curve.name][0]
    return "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "rsa"


def _spki(key: Public) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
