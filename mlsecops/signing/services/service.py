"""Key service of a URI: one key that signs digests, and its public key."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, Protocol, runtime_checkable

from mlsecops.errors import UsageError

_OPENERS: Final = {
    "awskms": "aws",
    "azurekms": "azure",
    "gcpkms": "google",
    "pkcs11": "pkcs11",
    "vault": "vault",
}
"""Schemes → modules, each of which is imported when it is used."""


@runtime_checkable
class KeyService(Protocol):
    """One key in a device or key service."""

    @property
    def pem(self) -> str:
        """Public key as PEM text."""

    def sign(self, data: bytes, digest: bytes | None) -> bytes:
        """Signature over data, of which the service gets the digest where there is one.

        Args:
            data: The signed bytes.
            digest: Their digest, or None for keys that sign the whole (Ed25519).

        Returns:
            DER for ECDSA, raw for Ed25519, PSS with SHA-256 for RSA.

        Raises:
            UsageError: The service refuses, or cannot be reached.
        """


def is_service(text: str) -> bool:
    """Whether a text is the URI of a key service.

    Examples:
        >>> is_service("awskms:///alias/release"), is_service("release.pem")
        (True, False)
    """
    scheme, colon, _ = text.partition(":")
    return bool(colon) and scheme.lower() in _OPENERS


def open_service(uri: str, *, password: Any = None, client: Any = None) -> KeyService:
    """The key that a URI names.

    Args:
        uri: URI of one of the services.
        password: PIN of a token, or a function that asks for it.
        client: The service's client, or None for one with the credentials of the environment.

    Raises:
        UsageError: The URI is of another kind, names no usable key, or the service refuses.
        MissingExtra: The service's extra is not installed.
    """
    scheme, colon, rest = uri.partition(":")
    module = _OPENERS.get(scheme.lower()) if colon else None
    if module is None:
        raise UsageError(
            f"key URI: expected {', '.join(f'{name}:' for name in _OPENERS)} at its begin, got "
            f"{uri[:20]!r}"
        )
    used = import_module(f"mlsecops.signing.services.{module}")
    if module == "pkcs11":
        opened: KeyService = used.open_pkcs11(rest, password=password)
    else:
        opened = getattr(used, f"open_{module}")(rest.removeprefix("//"), client=client)
    return opened
