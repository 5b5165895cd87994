"""Azure Key Vault: `azurekms://VAULT/KEY/VERSION`, by the digest of the payload.

Source: Key Vault REST API 7.6, Get Key and Sign: a digest goes in, and ECDSA signatures come out as
r‖s (RFC 7518, 3.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.signing.services.formats import der_signature, pem_of_modulus, pem_of_point

_HOST: Final = "vault.azure.net"
_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


@dataclass(frozen=True, slots=True)
class AzureKey:
    """A key version of Key Vault or of a managed HSM."""

    name: str
    client: Any
    algorithm: str
    pem: str

    def sign(self, data: bytes, digest: bytes | None) -> bytes:
        """Signature by the digest."""
        if digest is None:
            raise UsageError(
                f"azurekms {self.name}: expected an ECDSA or RSA key, got another, for which the "
                f"payload of {len(data)} bytes would have to be sent"
            )
        algorithm = require("azure.keyvault.keys.crypto").SignatureAlgorithm(self.algorithm)
        answer = _called(self.name, self.client.sign, algorithm, digest)
        raw = bytes(answer.signature)
        return raw if self.algorithm == "PS256" else der_signature(raw)


def open_azure(rest: str, *, client: Any = None) -> AzureKey:
    """The key of `VAULT/KEY[/VERSION]`, the newest without a version; VAULT is a name or host.

    Args:
        rest: The URI behind `azurekms://`; `keys/` may stand before KEY.
        client: A `KeyClient`.

    Raises:
        UsageError: The URI is of another form, or the service refuses.
        MissingExtra: `azurekms` is not installed.
    """
    vault, *parts = rest.rstrip("/").split("/")
    if len(parts) > 1 and parts[0] == "keys":
        parts = parts[1:]
    if not vault or not 0 < len(parts) <= 2 or not all(parts):  # noqa: PLR2004 - key and version
        raise UsageError(
            f"azurekms: expected azurekms://VAULT/KEY/VERSION, got 'azurekms://{rest[:60]}'"
        )
    name, version = parts[0], parts[1] if len(parts) > 1 else None
    host = vault if "." in vault else f"{vault}.{_HOST}"
    used = _client(f"https://{host}") if client is None else client
    key = _called(name, used.get_key, name, version)
    algorithm, pem = _public(key.key, f"azurekms {name}")
    pinned = key.properties.version
    return AzureKey(name, used.get_cryptography_client(name, key_version=pinned), algorithm, pem)


def _public(key: Any, where: str) -> tuple[str, str]:
    kind = str(getattr(key.kty, "value", key.kty))
    if kind.startswith("RSA"):
        return "PS256", pem_of_modulus(key.n, key.e, where)
    curve = str(getattr(key.crv, "value", key.crv))
    if not kind.startswith("EC") or curve not in _ALGORITHMS:
        raise UsageError(
            f"{where}: expected an RSA key or one of P-256, P-384 or P-521, got {curve}"
        )
    return _ALGORITHMS[curve], pem_of_point(curve, key.x, key.y, where)


def _client(url: str) -> Any:
    keys, identity = require("azure.keyvault.keys"), require("azure.identity")
    return keys.KeyClient(vault_url=url, credential=identity.DefaultAzureCredential())


def _called(name: str, call: Any, *values: Any) -> Any:
    failures = require("azure.core.exceptions")
    try:
        return call(*values)
    except failures.AzureError as error:
        raise UsageError(f"azurekms {name}: the service does not sign: {error.message}") from error
