"""Public keys and signers: ECDSA, Ed25519 and RSA-PSS signatures.

PEM → PublicKey → verify; private key in memory, KMS or HSM → Signer → signature

Source: OpenSSF Model Signing fixes the digest of each curve (P-256 with SHA-256, P-384 with
SHA-384, P-521 with SHA-512) and signatures in DER. Ed25519 and RSA-PSS (SHA-256, maximum salt) are
an extension that other verifiers of the format do not read.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from mlsecops._choices import checked, of_type, one_of, path_of
from mlsecops._repr import concise_repr
from mlsecops.errors import SignatureInvalid, UsageError

KeyType: TypeAlias = Literal["p256", "p384", "p521", "ed25519", "rsa"]
Private: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
Public: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

MAX_KEY_BYTES: Final = 1 << 20  # bytes; chosen: a larger file is not read as PEM
MIN_RSA_BITS: Final = 2048  # bits; NIST SP 800-131A Rev. 2, section 3
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
        object.__setattr__(self, "pem", _spki(_load_public(pem.encode())))

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
                f"{_shown(source)} holds a private key: expected the public one, such as "
                "KEY.pub.pem next to KEY.pem"
            )
        return cls(_spki(_load_public(pem, _shown(source))))

    @classmethod
    def of_certificate(cls, certificate: x509.Certificate) -> PublicKey:
        """The key of a certificate."""
        return cls(_spki(_supported(certificate.public_key())))

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


@concise_repr("public_key.fingerprint", "certificates")
class Signer(ABC):
    """Base of everything that signs with a private key; subclass it for a key in a KMS or HSM.

    A subclass implements `public_key` and `sign`, and `certificates` when its key is certified.
    """

    @property
    @abstractmethod
    def public_key(self) -> PublicKey:
        """Public key for verification."""

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """Signature over the data: DER for ECDSA, raw for Ed25519, PSS for RSA."""

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Certificate chain of the key, leaf first, without the root; empty for a bare key."""
        return ()

    @staticmethod
    def generate(key_type: KeyType = "p256") -> KeySigner:
        """Generate a private key in memory.

        Raises:
            UsageError: The type is unknown.

        Examples:
            >>> Signer.generate("ed25519").public_key.key_type
            'ed25519'
        """
        return KeySigner(_GENERATORS[one_of("key_type", key_type, _GENERATORS)]())

    @staticmethod
    @checked
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
        place = path_of("path", path)  # a PEM text given by mistake is in no message
        pem = read_pem(place)
        try:
            key = serialization.load_pem_private_key(pem, _secret(password, pem))
        except (TypeError, ValueError, UnsupportedAlgorithm) as error:
            raise UsageError(f"cannot read private key {place}: {error}") from error
        chain = () if certificates is None else load_certificates(certificates)
        return KeySigner(cast("Private", key), certificates=chain)


class KeySigner(Signer):
    """Signer with its private key in the memory of this process."""

    @checked
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
        """Public key for verification."""
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


def signature_by(signer: Signer, data: bytes) -> bytes:
    """A signer's signature, checked with its own public key.

    Raises:
        SignatureInvalid: Its answer is no signature by that key over these bytes, or its leaf
            certificate is for another key.
    """
    key, chain = signer.public_key, signer.certificates
    if chain and PublicKey.of_certificate(chain[0]) != key:
        raise SignatureInvalid(
            f"signer {type(signer).__name__}: expected a leaf certificate of its key "
            f"{key.fingerprint[:16]}, got one of another key; nothing was signed"
        )
    signature = signer.sign(data)
    try:
        key.verify(signature, data)
    except (SignatureInvalid, UsageError) as error:
        raise SignatureInvalid(
            f"signer {type(signer).__name__}: expected a signature by its public key "
            f"{key.fingerprint[:16]} (DER for ECDSA, raw for Ed25519, PSS with SHA-256 for RSA), "
            "got another answer; nothing was signed"
        ) from error
    return bytes(signature)


def read_pem(source: str | bytes | os.PathLike[str]) -> bytes:
    """PEM bytes from text, bytes or a file.

    Raises:
        UsageError: The file cannot be opened or is too large to be a key.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, str) and "-----BEGIN" in source:
        return source.encode()
    place = path_of("key or certificate", source)
    try:
        with place.open("rb") as stream:
            data = stream.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {place}: {error.strerror}") from error
    if len(data) > MAX_KEY_BYTES:
        raise UsageError(f"{place}: expected a PEM file of at most {MAX_KEY_BYTES} bytes")
    return data


def _shown(source: object) -> str:
    """A path for messages, but never the PEM itself, which may be secret."""
    text = os.fspath(source) if isinstance(source, os.PathLike) else source
    return text if isinstance(text, str) and "-----BEGIN" not in text else "the PEM"


def load_certificates(
    source: str | bytes | os.PathLike[str],
) -> tuple[x509.Certificate, ...]:
    """Certificates from PEM, in their order.

    Raises:
        UsageError: There is none, or it cannot be read.
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
