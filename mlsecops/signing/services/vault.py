"""HashiCorp Vault's transit engine: `vault://[HOST/]MOUNT/KEY`, by the digest of the payload.

Source: Vault HTTP API, transit secrets engine, Read Key and Sign Data: `input` is base64, a digest
is `prehashed`, and signatures are `vault:vN:` with base64 (`marshaling_algorithm` asn1: DER).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mlsecops._json import parse_object
from mlsecops.errors import UsageError

Transport: TypeAlias = Callable[[str, str, dict[str, str], bytes], tuple[int, bytes]]
"""`(method, url, headers, body) -> (status, body)`."""

_ADDRESS: Final = "https://127.0.0.1:8200"  # the default of Vault's own command
_LOOPBACK: Final = ("localhost", "127.0.0.1")  # where a development server speaks plain HTTP
_MOUNT: Final = "transit"
_TIMEOUT: Final = 30  # seconds; chosen: a signature takes far below one
_MOST: Final = 4 << 20  # bytes of an answer; chosen: a key with a thousand versions
_OK: Final = 200  # status; RFC 9110, 15.3.1
_HASHES: Final = {
    "ecdsa-p256": "sha2-256",
    "ecdsa-p384": "sha2-384",
    "ecdsa-p521": "sha2-512",
    "ed25519": None,
    **dict.fromkeys(("rsa-2048", "rsa-3072", "rsa-4096"), "sha2-256"),
}


@dataclass(frozen=True, slots=True)
class VaultKey:
    """One version of a key of the transit engine."""

    name: str
    path: str
    send: Callable[[str, str, dict[str, Any] | None], dict[str, Any]]
    version: int
    hashing: str | None
    pem: str

    def sign(self, data: bytes, digest: bytes | None) -> bytes:
        """Signature by the digest, or of the whole with an Ed25519 key."""
        body: dict[str, Any] = {
            "input": base64.b64encode(data if digest is None else digest).decode(),
            "key_version": self.version,
        }
        if digest is not None:
            body |= {
                "prehashed": True,
                "hash_algorithm": self.hashing,
                "signature_algorithm": "pss",
                "salt_length": "hash",
                "marshaling_algorithm": "asn1",
            }
        answer = self.send("POST", f"{self.path}/sign/{self.name}", body)
        text, mark = str(answer.get("signature", "")), f"vault:v{self.version}:"
        try:
            if text.startswith(mark):
                return base64.b64decode(text[len(mark) :], validate=True)
        except binascii.Error:
            pass
        raise UsageError(f"vault {self.name}: expected a signature {mark}BASE64, got {text[:20]!r}")


def open_vault(rest: str, *, client: Transport | None = None) -> VaultKey:
    """The newest version of the key of `[HOST[:PORT]/][MOUNT/]KEY`.

    Without a host it is that of `VAULT_ADDR`; `VAULT_TOKEN` (or ~/.vault-token),
    `VAULT_NAMESPACE` and `VAULT_CACERT` apply as to Vault's own command.

    Raises:
        UsageError: The URI is of another form, or the service refuses.
    """
    parts = [part for part in rest.split("/") if part]
    address = os.environ.get("VAULT_ADDR", _ADDRESS).rstrip("/")
    if len(parts) > 1 and (":" in parts[0] or "." in parts[0]):
        host = parts.pop(0)
        scheme = "http" if host.partition(":")[0] in _LOOPBACK else "https"
        address = address if address.endswith(f"://{host}") else f"{scheme}://{host}"
    if not parts:
        raise UsageError(f"vault: expected vault://MOUNT/KEY, got 'vault://{rest[:60]}'")
    name, mount = parts[-1], "/".join(parts[:-1]) or _MOUNT
    path = f"{address}/v1/{mount}"

    def send(method: str, url: str, body: dict[str, Any] | None) -> dict[str, Any]:
        return _sent(client or _request, name, method, url, body)

    answer = send("GET", f"{path}/keys/{name}", None)
    kind = answer.get("type")
    if kind not in _HASHES:
        raise UsageError(f"vault {name}: expected a key of {', '.join(_HASHES)}, got {kind!r}")
    version = answer.get("latest_version")
    keys = answer.get("keys")
    held = keys.get(str(version)) if isinstance(keys, dict) else None
    if not isinstance(version, int) or not isinstance(held, dict):
        raise UsageError(f"vault {name}: expected the public key of its newest version, got none")
    pem = _pem(str(held.get("public_key")), kind, name)
    return VaultKey(name, path, send, version, _HASHES[kind], pem)


def _pem(text: str, kind: str, name: str) -> str:
    """PEM text, which for Ed25519 is made of 32 bytes in base64."""
    if kind != "ed25519":
        return text
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise UsageError(f"vault {name}: expected a public key, got none: {error}") from error
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _sent(
    transport: Transport, name: str, method: str, url: str, body: dict[str, Any] | None
) -> dict[str, Any]:
    headers = {"X-Vault-Token": _token(), "X-Vault-Request": "true"}
    if space := os.environ.get("VAULT_NAMESPACE"):
        headers["X-Vault-Namespace"] = space
    sent = b"" if body is None else json.dumps(body).encode()
    status, answer = transport(method, url, headers, sent)
    value = parse_object(answer or b"{}", what=f"vault {name}", error=UsageError, most=_MOST)
    data = value.get("data")
    if status != _OK or not isinstance(data, dict):
        raise UsageError(
            f"vault {name}: the service does not sign: status {status}, "
            f"{value.get('errors') or 'no data'}; check VAULT_ADDR, VAULT_TOKEN and the key"
        )
    return data


def _token() -> str:
    token = os.environ.get("VAULT_TOKEN") or _stored_token()
    if not token or not (token.isascii() and token.isprintable()):  # no header could carry it
        raise UsageError("vault: expected a token of printable ASCII, got none or another")
    return token


def _stored_token() -> str:
    """The token that Vault's own command keeps."""
    try:
        return (Path.home() / ".vault-token").read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise UsageError(
            "vault: expected a token in VAULT_TOKEN or ~/.vault-token, got none; log in first"
        ) from error


def _request(method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    request = urllib.request.Request(  # noqa: S310 - http or https, as the operator wrote it
        url, data=body or None, headers=headers, method=method
    )
    context = ssl.create_default_context(cafile=os.environ.get("VAULT_CACERT"))
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), _NoRedirect()
    )
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return answer.status, answer.read(_MOST + 1)
    except urllib.error.HTTPError as error:
        return error.code, error.read(_MOST + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"vault: cannot reach {url}: {error}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None
