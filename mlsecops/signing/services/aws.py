"""AWS KMS: `awskms://[HOST]/KEY`, by the digest of the payload.

Source: AWS KMS API, GetPublicKey and Sign: a message has at most 4,096 bytes; a longer one is
signed by its digest (`MessageType=DIGEST`). Signatures of ECDSA keys are DER.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.signing.services.formats import pem_of_der

MAX_MESSAGE: Final = 4096  # bytes; AWS KMS API, Sign, Message
_TIMEOUT: Final = 30  # seconds; chosen: a signature takes far below one
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_ALGORITHMS: Final = {
    "ECC_NIST_P256": "ECDSA_SHA_256",
    "ECC_NIST_P384": "ECDSA_SHA_384",
    "ECC_NIST_P521": "ECDSA_SHA_512",
    "ECC_NIST_EDWARDS25519": "ED25519_SHA_512",
    **dict.fromkeys(("RSA_2048", "RSA_3072", "RSA_4096"), "RSASSA_PSS_SHA_256"),
}


@dataclass(frozen=True, slots=True)
class AwsKey:
    """A key of AWS KMS."""

    name: str
    client: Any
    algorithm: str
    pem: str

    def sign(self, data: bytes, digest: bytes | None) -> bytes:
        """Signature by the digest, or of a whole message that is short enough."""
        if digest is None and len(data) > MAX_MESSAGE:
            raise UsageError(
                f"awskms {self.name}: an Ed25519 key signs whole messages of at most {MAX_MESSAGE} "
                f"bytes, the payload has {len(data)}; sign with an ECDSA or RSA key"
            )
        answer = _called(
            self.name,
            self.client.sign,
            KeyId=self.name,
            Message=data if digest is None else digest,
            MessageType="RAW" if digest is None else "DIGEST",
            SigningAlgorithm=self.algorithm,
        )
        return bytes(answer["Signature"])


def open_aws(rest: str, *, client: Any = None) -> AwsKey:
    """The key of `[HOST]/KEY`: an id, `alias/NAME` or an ARN, in the region of the ARN.

    Raises:
        UsageError: The URI is of another form, or the service refuses.
        MissingExtra: `kms` is not installed.
    """
    host, slash, name = rest.partition("/")
    if not slash or not name:
        raise UsageError(
            "awskms: expected awskms:///KEY with a key id, alias/NAME or ARN, or "
            f"awskms://HOST/KEY, got 'awskms://{rest[:60]}'"
        )
    used = _client(host, name) if client is None else client
    answer = _called(name, used.get_public_key, KeyId=name)
    kind = answer.get("KeySpec") or answer.get("CustomerMasterKeySpec")
    if answer.get("KeyUsage") != "SIGN_VERIFY" or kind not in _ALGORITHMS:
        raise UsageError(
            f"awskms {name}: expected a key for SIGN_VERIFY of type {', '.join(_ALGORITHMS)}, got "
            f"{answer.get('KeyUsage')} {kind}"
        )
    return AwsKey(name, used, _ALGORITHMS[kind], pem_of_der(answer["PublicKey"], f"awskms {name}"))


def _client(host: str, name: str) -> Any:
    boto3, config = require("boto3", extra="awskms"), require("botocore.config", extra="awskms")
    settings: dict[str, Any] = {
        "config": config.Config(connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT)
    }
    if name.startswith("arn:"):
        settings["region_name"] = name.split(":")[3]
    if host:
        loopback = host.rpartition(":")[0] in _LOOPBACK or host in _LOOPBACK
        settings["endpoint_url"] = f"{'http' if loopback else 'https'}://{host}"
    return _called(name, boto3.client, "kms", **settings)


def _called(name: str, call: Any, *values: Any, **words: Any) -> Any:
    failures = require("botocore.exceptions", extra="awskms")
    try:
        return call(*values, **words)
    except (failures.ClientError, failures.BotoCoreError) as error:
        raise UsageError(f"awskms {name}: the service does not sign: {error}") from error
