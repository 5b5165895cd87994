"""Signers: private keys in memory, in a key service or on a device.

private key in memory, KMS or HSM → Signer → signature, checked with the signer's own public key
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from mlsecops._choices import checked, one_of, path_of
from mlsecops._repr import concise_repr
from mlsecops.errors import SignatureInvalid, UsageError
from mlsecops.signing.keys.pem import Password, load_certificates, read_private_key
from mlsecops.signing.keys.public_key import (
    CURVES,
    HASHES,
    MGF,
    KeyType,
    PublicKey,
    spki,
    supported,
)
from mlsecops.signing.services.service import KeyService, open_service

Private: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
_PSS: Final = padding.PSS(mgf=MGF, salt_length=padding.PSS.MAX_LENGTH)
_GENERATORS: Final[dict[str, Callable[[], Private]]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=3072),
}


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
            path: PEM or OpenSSH file, encrypted or not.
            password: Password of an encrypted key, or a function that asks for it (`getpass`),
                called only when the key is encrypted.
            certificates: PEM text or file with the chain, leaf first, to sign by certificate.

        Raises:
            UsageError: It cannot be read or decrypted, its type is not supported, or the leaf
                certificate is for another key.
        """
        key = read_private_key(path_of("path", path), password)  # a PEM text is in no message
        chain = () if certificates is None else load_certificates(certificates)
        return KeySigner(cast("Private", key), certificates=chain)

    @staticmethod
    @checked
    def from_uri(
        uri: str,
        *,
        certificates: str | bytes | os.PathLike[str] | None = None,
        password: Password | None = None,
        client: Any = None,
    ) -> ServiceSigner:
        """A signer whose key stays in a device or key service, which signs digests.

        Args:
            uri: `pkcs11:token=…;object=…?module-path=…` (RFC 7512), `awskms:///KEY`,
                `gcpkms://projects/…/cryptoKeyVersions/N`, `azurekms://VAULT/KEY/VERSION` or
                `vault://MOUNT/KEY`.
            certificates: As for `from_pem`.
            password: PIN of a PKCS #11 token that the URI does not give, or a function that asks.
            client: The service's own client instead of one with the credentials of the
                environment; a function `(method, url, headers, body) -> (status, body)` for Vault.

        Raises:
            UsageError: The URI names no usable key, or the service refuses or cannot be reached.
            MissingExtra: The service's extra is not installed.
        """
        service = open_service(uri, password=password, client=client)
        chain = () if certificates is None else load_certificates(certificates)
        return ServiceSigner(service, certificates=chain)


class KeySigner(Signer):
    """Signer with its private key in the memory of this process."""

    @checked
    def __init__(self, key: Private, *, certificates: tuple[x509.Certificate, ...] = ()) -> None:
        self._key = key
        self._public = PublicKey(spki(supported(key.public_key())))
        self._certificates = certificates
        _require_leaf(self._public, certificates)

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
            return self._key.sign(data, ec.ECDSA(CURVES[self._key.curve.name][1]))
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


@concise_repr("service", "public_key.fingerprint", "certificates")
class ServiceSigner(Signer):
    """Signer with its key in a device or key service; it gets a digest, never the whole payload.

    Args:
        service: The opened key.
        certificates: Certificate chain, leaf first.
    """

    @checked
    def __init__(
        self, service: KeyService, *, certificates: tuple[x509.Certificate, ...] = ()
    ) -> None:
        self.service = service
        self._public = PublicKey(service.pem)
        self._certificates = certificates
        _require_leaf(self._public, certificates)

    @property
    def public_key(self) -> PublicKey:
        """Public key for verification, as the service gives it."""
        return self._public

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Certificate chain, leaf first."""
        return self._certificates

    def sign(self, data: bytes) -> bytes:
        """Signature over the data.

        Raises:
            UsageError: The service refuses, or cannot be reached.
        """
        hashing = HASHES[self._public.key_type]
        digest = hashlib.new(hashing, data).digest() if hashing else None
        return self.service.sign(data, digest)


def _require_leaf(key: PublicKey, certificates: tuple[x509.Certificate, ...]) -> None:
    if certificates and PublicKey.of_certificate(certificates[0]) != key:
        raise UsageError(
            "the first certificate is for another key: expected the leaf of "
            f"key {key.fingerprint[:16]} first"
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
