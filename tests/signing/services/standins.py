"""Stand-ins for key services, which refuse what the real ones refuse.

Each holds a private key and has the service's own limits: sizes of messages and digests, names of
algorithms for a key, forms of signatures and checksums.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.cloud import kms_v1

from mlsecops.signing import KeySigner, Signer
from mlsecops.signing.services.google import crc32c

HASHES = {"p256": hashes.SHA256(), "p384": hashes.SHA384(), "p521": hashes.SHA512()}


@dataclass
class Held:
    """A private key, and what it signs."""

    kind: str
    signer: KeySigner = field(init=False)

    def __post_init__(self) -> None:
        self.signer = Signer.generate(self.kind)
        self.key: Any = self.signer._key

    def digest(self, digest: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
            return self.key.sign(digest, pss, Prehashed(hashes.SHA256()))
        return self.key.sign(digest, ec.ECDSA(Prehashed(HASHES[self.kind])))

    def size(self) -> int:
        return {"p256": 32, "p384": 48, "p521": 64, "rsa": 32}[self.kind]

    def der(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class AwsKms(Held):
    """AWS KMS: at most 4,096 bytes; a digest has the size of the algorithm's."""

    requests: list[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.requests = []
        self.spec, self.algorithm = {
            "p256": ("ECC_NIST_P256", "ECDSA_SHA_256"),
            "p384": ("ECC_NIST_P384", "ECDSA_SHA_384"),
            "p521": ("ECC_NIST_P521", "ECDSA_SHA_512"),
            "rsa": ("RSA_3072", "RSASSA_PSS_SHA_256"),
            "ed25519": ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
        }[self.kind]

    def get_public_key(self, *, KeyId: str) -> dict[str, Any]:  # noqa: N803 - the service's name
        if KeyId != "alias/release":
            raise refused("NotFoundException", "Alias is not found", "GetPublicKey")
        return {"PublicKey": self.der(), "KeySpec": self.spec, "KeyUsage": "SIGN_VERIFY"}

    def sign(
        self,
        *,
        KeyId: str,  # noqa: N803 - the service's name
        Message: bytes,  # noqa: N803 - the service's name
        MessageType: str = "RAW",  # noqa: N803 - the service's name
        SigningAlgorithm: str,  # noqa: N803 - the service's name
    ) -> dict[str, Any]:
        assert KeyId == "alias/release"
        self.requests.append(len(Message))
        if not 1 <= len(Message) <= 4096:
            raise refused("ValidationException", "Member must have length <= 4096", "Sign")
        if SigningAlgorithm != self.algorithm:
            raise refused("InvalidKeyUsageException", SigningAlgorithm, "Sign")
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            if MessageType != "RAW":
                raise refused("ValidationException", "MessageType must be RAW", "Sign")
            return {"Signature": self.key.sign(Message)}
        if MessageType == "DIGEST":
            if len(Message) != self.size():
                raise refused("ValidationException", "Digest is invalid length", "Sign")
            return {"Signature": self.digest(Message)}
        return {"Signature": self.signer.sign(Message)}


def aws_handler(kms: AwsKms) -> type[BaseHTTPRequestHandler]:
    """The service's JSON protocol, for its real client."""

    def answer(action: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "Message" in asked:
            asked["Message"] = base64.b64decode(asked["Message"], validate=True)
        try:
            call = kms.get_public_key if action == "GetPublicKey" else kms.sign
            value = call(**asked)
        except ClientError as error:
            said = error.response["Error"]
            return 400, {"__type": said["Code"], "message": said["Message"]}
        return 200, {
            name: base64.b64encode(item).decode() if isinstance(item, bytes) else item
            for name, item in value.items()
        }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            action = self.headers["X-Amz-Target"].removeprefix("TrentService.")
            status, value = answer(action, json.loads(body))
            reply(self, status, value)

        def log_message(self, *_: Any) -> None: ...

    return Handler


def reply(handler: BaseHTTPRequestHandler, status: int, value: dict[str, Any]) -> None:
    answer = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(answer)))
    handler.end_headers()
    handler.wfile.write(answer)


def refused(code: str, message: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class GoogleKms(Held):
    """Cloud KMS: the digest of the key's own hash, checksums in both directions."""

    damaged: str = ""  # the checksum that comes wrong

    def get_public_key(self, *, request: dict[str, Any], timeout: float) -> Any:
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - of this stand-in alone

        assert timeout > 0
        if not kms_v1.GetPublicKeyRequest(request).name.endswith("/cryptoKeyVersions/1"):
            raise NotFound("CryptoKeyVersion is not found")
        pem = self.signer.public_key.pem
        name = {
            "p256": "EC_SIGN_P256_SHA256",
            "p384": "EC_SIGN_P384_SHA384",
            "ed25519": "EC_SIGN_ED25519",
            "rsa": "RSA_SIGN_PSS_3072_SHA256",
            "p521": "EC_SIGN_SECP256K1_SHA256",  # the service has no P-521
        }[self.kind]
        total = crc32c(pem.encode()) + (self.damaged == "pem")
        return kms_v1.PublicKey(pem=pem, pem_crc32c=total, algorithm=name)

    def asymmetric_sign(self, *, request: dict[str, Any], timeout: float) -> Any:
        from google.api_core.exceptions import InvalidArgument  # noqa: PLC0415 - as above

        assert timeout > 0
        whole = isinstance(self.key, ed25519.Ed25519PrivateKey)
        asked = kms_v1.AsymmetricSignRequest(request)
        sent = asked.data if whole else getattr(asked.digest, self._hash())
        if not sent or (whole and len(sent) > 65_536) or (not whole and len(sent) != self.size()):
            raise InvalidArgument("data or digest is of another kind or length")
        right = (asked.data_crc32c if whole else asked.digest_crc32c) == crc32c(sent)
        signature = self.key.sign(sent) if whole else self.digest(sent)
        return kms_v1.AsymmetricSignResponse(
            name=asked.name,
            signature=signature,
            signature_crc32c=crc32c(signature) + (self.damaged == "signature"),
            verified_digest_crc32c=right and not whole and self.damaged != "request",
            verified_data_crc32c=right and whole,
        )

    def _hash(self) -> str:
        return {"p256": "sha256", "p384": "sha384", "rsa": "sha256"}[self.kind]


class AzureVault(Held):
    """Key Vault over its REST API, for the transport of the real client: r‖s in base64url."""

    def handle(self, method: str, url: str, body: bytes) -> tuple[int, dict[str, Any]]:
        path = url.partition("?")[0].partition("/keys/")[2].split("/")
        if path[0] != "release":
            return 404, {"error": {"code": "KeyNotFound", "message": "(KeyNotFound) no such key"}}
        if method == "GET":
            return 200, {"key": self._web_key(), "attributes": {"enabled": True}}
        asked = json.loads(body)
        digest = unpadded(asked["value"])
        if path[2] != "sign" or asked["alg"] != self._algorithm() or len(digest) != self.size():
            return 400, {"error": {"code": "BadParameter", "message": "(BadParameter) digest"}}
        signature = self.digest(digest)
        if self.kind != "rsa":
            size = (self.key.key_size + 7) // 8
            signature = b"".join(n.to_bytes(size, "big") for n in decode_dss_signature(signature))
        return 200, {"kid": self._id(), "value": padless(signature)}

    def _algorithm(self) -> str:
        return {"p256": "ES256", "p384": "ES384", "p521": "ES512", "rsa": "PS256"}[self.kind]

    def _id(self) -> str:
        return "https://corp.vault.azure.net/keys/release/0123456789abcdef0123456789abcdef"

    def _web_key(self) -> dict[str, Any]:
        numbers = self.key.public_key().public_numbers()
        if self.kind == "rsa":
            return {"kid": self._id(), "kty": "RSA", "key_ops": ["sign"],
                    "n": padless(numbers.n.to_bytes(384, "big")), "e": "AQAB"}  # fmt: skip
        size = (self.key.key_size + 7) // 8
        return {
            "kid": self._id(), "kty": "EC-HSM", "crv": f"P-{self.kind[1:]}", "key_ops": ["sign"],
            "x": padless(numbers.x.to_bytes(size, "big")),
            "y": padless(numbers.y.to_bytes(size, "big")),
        }  # fmt: skip


def padless(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Vault(Held):
    """Vault's transit engine, over HTTP."""

    version = 3
    requests = 0

    def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        self.requests += 1
        if headers.get("X-Vault-Token") != "hvs.token":
            return 403, {"errors": ["permission denied"]}
        if path == "/v1/transit/keys/release" and method == "GET":
            held = {str(number): {"public_key": "old"} for number in range(1, self.version)}
            held[str(self.version)] = {"public_key": self._public()}
            return 200, {
                "data": {"type": self._type(), "latest_version": self.version, "keys": held}
            }
        if path != "/v1/transit/sign/release" or method != "POST":
            return 404, {"errors": []}
        return self._sign(json.loads(body))

    def _sign(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        data = base64.b64decode(asked["input"], validate=True)
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            if asked.get("prehashed"):
                return 400, {"errors": ["only Pure Ed25519 is supported"]}
            return self._signed(self.key.sign(data), asked)
        if not asked.get("prehashed"):
            return self._signed(self.signer.sign(data), asked)
        names = {"p256": "sha2-256", "p384": "sha2-384", "p521": "sha2-512", "rsa": "sha2-256"}
        if asked.get("hash_algorithm") != names[self.kind] or len(data) != self.size():
            return 400, {"errors": ["input is of another length than the hash"]}
        if self.kind == "rsa" and asked.get("signature_algorithm") != "pss":
            return 400, {"errors": ["PKCS #1 is not what was asked for"]}
        return self._signed(self.digest(data), asked)

    def _signed(self, signature: bytes, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if asked.get("marshaling_algorithm", "asn1") == "jws":
            return 400, {"errors": ["this stand-in marshals asn1"]}
        mark = f"vault:v{asked['key_version']}:"
        return 200, {"data": {"signature": mark + base64.b64encode(signature).decode()}}

    def _type(self) -> str:
        return {"p256": "ecdsa-p256", "p384": "ecdsa-p384", "p521": "ecdsa-p521",
                "rsa": "rsa-3072", "ed25519": "ed25519"}[self.kind]  # fmt: skip

    def _public(self) -> str:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            return base64.b64encode(raw).decode()
        return self.signer.public_key.pem

    def handler(self) -> type[BaseHTTPRequestHandler]:
        vault = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, value = vault.handle(self.command, self.path, dict(self.headers), body)
                reply(self, status, value)

            do_POST = do_GET  # noqa: N815 - the handler's name

            def log_message(self, *_: Any) -> None: ...

        return Handler
