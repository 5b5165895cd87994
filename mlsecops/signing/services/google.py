"""Google Cloud KMS: `gcpkms://projects/…/cryptoKeyVersions/N`, by the digest of the payload.

Source: Cloud KMS API v1, GetPublicKey and AsymmetricSign, and its data integrity guidelines: each
request and answer carries a CRC32C. Signatures of ECDSA keys are DER.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import UsageError

MAX_DATA: Final = 65_536  # bytes; Cloud KMS API, AsymmetricSignRequest.data
_TIMEOUT: Final = 30.0  # seconds; chosen: a signature takes far below one
_NAME: Final = re.compile(
    r"(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)"
    r"/(?:cryptoKeyVersions|versions)/([0-9]+)"
)
_HASHES: Final = {
    "EC_SIGN_P256_SHA256": "sha256",
    "EC_SIGN_P384_SHA384": "sha384",
    "EC_SIGN_ED25519": None,
    "RSA_SIGN_PSS_2048_SHA256": "sha256",
    "RSA_SIGN_PSS_3072_SHA256": "sha256",
    "RSA_SIGN_PSS_4096_SHA256": "sha256",
}
_POLYNOMIAL: Final = 0x82F63B78  # CRC-32C, reversed; RFC 3720, appendix B.4


@dataclass(frozen=True, slots=True)
class GoogleKey:
    """A key version of Cloud KMS."""

    name: str
    client: Any
    hashing: str | None
    pem: str

    def sign(self, data: bytes, digest: bytes | None) -> bytes:
        """Signature by the digest, or of whole data that are short enough."""
        request: dict[str, Any] = {"name": self.name}
        if digest is None:
            if len(data) > MAX_DATA:
                raise UsageError(
                    f"gcpkms {self.name}: an Ed25519 key signs whole data of at most {MAX_DATA} "
                    f"bytes, the payload has {len(data)}; sign with an ECDSA or RSA key"
                )
            request |= {"data": data, "data_crc32c": crc32c(data)}
        else:
            request |= {"digest": {self.hashing: digest}, "digest_crc32c": crc32c(digest)}
        answer = _called(self.name, self.client.asymmetric_sign, request)
        received = answer.verified_data_crc32c if digest is None else answer.verified_digest_crc32c
        signature = bytes(answer.signature)
        if (
            answer.name != self.name
            or not received
            or _sum(answer, "signature") != crc32c(signature)
        ):
            raise UsageError(
                f"gcpkms {self.name}: the request or the answer was changed on its way (CRC32C); "
                "try again"
            )
        return signature


def open_google(rest: str, *, client: Any = None) -> GoogleKey:
    """The key version of `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N`.

    Raises:
        UsageError: The URI is of another form, or the service refuses.
        MissingExtra: `gcpkms` is not installed.
    """
    found = _NAME.fullmatch(rest.strip("/"))
    if found is None:
        raise UsageError(
            "gcpkms: expected gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/"
            f"cryptoKeyVersions/N, got 'gcpkms://{rest[:120]}'"
        )
    name = f"{found[1]}/cryptoKeyVersions/{found[2]}"
    used = require("google.cloud.kms").KeyManagementServiceClient if client is None else None
    opened = client if used is None else _made(name, used)
    answer = _called(name, opened.get_public_key, {"name": name})
    kind = getattr(answer.algorithm, "name", str(answer.algorithm))
    if kind not in _HASHES:
        raise UsageError(f"gcpkms {name}: expected a key of {', '.join(_HASHES)}, got {kind}")
    if _sum(answer, "pem") != crc32c(answer.pem.encode()):
        raise UsageError(f"gcpkms {name}: the public key was changed on its way (CRC32C)")
    return GoogleKey(name, opened, _HASHES[kind], answer.pem)


def crc32c(data: bytes) -> int:
    """CRC-32C of data.

    Examples:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def _sum(answer: Any, part: str) -> int:
    value = getattr(answer, f"{part}_crc32c")
    return int(getattr(value, "value", value))


def _made(name: str, make: Any) -> Any:
    failures = require("google.auth.exceptions")
    try:
        return make()
    except failures.GoogleAuthError as error:
        raise UsageError(f"gcpkms {name}: no credentials: {error}") from error


def _called(name: str, call: Any, request: dict[str, Any]) -> Any:
    api, auth = require("google.api_core.exceptions"), require("google.auth.exceptions")
    try:
        return call(request=request, timeout=_TIMEOUT)
    except (api.GoogleAPIError, auth.GoogleAuthError) as error:
        raise UsageError(f"gcpkms {name}: the service does not sign: {error}") from error
