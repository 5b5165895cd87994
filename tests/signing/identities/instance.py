"""A private Sigstore instance in memory: certificate authority, certificate log, signature log.

model → payload → one-time key, certificate with SCT, entry with SET and inclusion proof → bundle
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mlsecops.provenance import Statement, hash_path
from mlsecops.signing.envelope import IN_TOTO, pae
from mlsecops.signing.oms import build_payload
from mlsecops.signing.signature import ignore_for

SUBJECT = "anna@corp.example"
ISSUER = "https://login.corp.example"
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)  # certificates are valid for ten minutes from here
_OTHER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_DER = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _signed(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(key.public_key().public_bytes(*_DER)).digest()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _utf8(value: str) -> bytes:
    data = value.encode()
    length = bytes([len(data)]) if len(data) < 128 else bytes([0x81, len(data)])
    return b"\x0c" + length + data


@dataclass
class Instance:
    """Keys of the three services; each method plays one of them."""

    authority: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    certificate_log: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    log: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    until: datetime | None = None  # end of the authority's time in the trusted root

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "corp sigstore")])
        self._name = name
        public = self.authority.public_key()
        self.root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(1)
            .not_valid_before(BEGIN - timedelta(days=100))
            .not_valid_after(BEGIN + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.authority, hashes.SHA256())
        )

    def trusted_root(self) -> str:
        """The instance's trusted root, as JSON."""
        start = f"{BEGIN - timedelta(days=100):%Y-%m-%dT%H:%M:%SZ}"

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            return {
                "baseUrl": "https://log.corp.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": text(key.public_key().public_bytes(*_DER)),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": {"start": start},
                },
                "logId": {"keyId": text(key_id(key))},
            }

        valid = {"start": start}
        if self.until is not None:
            valid["end"] = f"{self.until:%Y-%m-%dT%H:%M:%SZ}"
        chain = {"certificates": [{"rawBytes": text(self.root.public_bytes(Encoding.DER))}]}
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [log(self.log)],
                "certificateAuthorities": [
                    {
                        "subject": {"organization": "corp", "commonName": "corp sigstore"},
                        "uri": "https://ca.corp.example",
                        "certChain": chain,
                        "validFor": valid,
                    }
                ],
                "ctlogs": [log(self.certificate_log)],
                "timestampAuthorities": [],
            }
        )

    def certify(
        self,
        key: ec.EllipticCurvePrivateKey,
        *,
        subject: str = SUBJECT,
        issuer: str = ISSUER,
        begin: datetime = BEGIN,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
        old_issuer: str | None = None,
        user: bool = False,
    ) -> x509.Certificate:
        """A certificate of an identity, with a signed certificate timestamp in it."""
        kind = x509.UniformResourceIdentifier if "://" in subject else x509.RFC822Name
        name = x509.OtherName(_OTHER_NAME, _utf8(subject)) if user else kind(subject)
        public = key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(minutes=10))
            .add_extension(_usage(sign=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(
                x509.UnrecognizedExtension(_ISSUER_V1, (old_issuer or issuer).encode()),
                critical=False,
            )
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, _utf8(issuer)), critical=False)
        )
        bare = builder.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes
        scts = x509.UnrecognizedExtension(_SCTS, self._scts(bare, begin))
        return builder.add_extension(scts, critical=False).sign(self.authority, hashes.SHA256())

    def _scts(self, certificate: bytes, at: datetime) -> bytes:
        """The list of one timestamp over a certificate without this list (RFC 6962, 3.2)."""
        moment = int(at.timestamp() * 1000)
        length = struct.pack("!I", len(certificate))[1:]
        entry = key_id(self.authority) + length + certificate
        data = struct.pack("!BBQH", 0, 0, moment, 1) + entry + struct.pack("!H", 0)
        signature = _signed(self.certificate_log, data)
        timestamp = (
            b"\x00" + key_id(self.certificate_log) + struct.pack("!QH", moment, 0) + b"\x04\x03"
            + struct.pack("!H", len(signature)) + signature
        )  # fmt: skip
        listed = struct.pack("!H", len(timestamp)) + timestamp
        listed = struct.pack("!H", len(listed)) + listed
        size = len(listed)
        return (b"\x04" + (bytes([size]) if size < 128 else bytes([0x81, size]))) + listed

    def entry(
        self, payload: bytes, signature: bytes, leaf: x509.Certificate, *, at: datetime
    ) -> dict[str, Any]:
        """A log entry with its signed entry timestamp and its inclusion among two entries."""
        body = json.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
                    "payloadHash": {
                        "algorithm": "sha256",
                        "value": hashlib.sha256(payload).hexdigest(),
                    },
                    "signatures": [
                        {
                            "signature": text(signature),
                            "verifier": text(leaf.public_bytes(Encoding.PEM)),
                        }
                    ],
                },
            },
            separators=(",", ":"),
        ).encode()
        moment, sibling = int(at.timestamp()), hashlib.sha256(b"\x00another entry").digest()
        mine = hashlib.sha256(b"\x00" + body).digest()
        root = hashlib.sha256(b"\x01" + sibling + mine).digest()
        note = f"log.corp.example - 1\n2\n{text(root)}\n"
        mark = text(key_id(self.log)[:4] + _signed(self.log, note.encode()))
        promised = {
            "body": text(body), "integratedTime": moment, "logID": key_id(self.log).hex(),
            "logIndex": 1,
        }  # fmt: skip
        promise = json.dumps(promised, separators=(",", ":"), sort_keys=True).encode()
        return {
            "logIndex": "1",
            "logId": {"keyId": text(key_id(self.log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(moment),
            "inclusionPromise": {"signedEntryTimestamp": text(_signed(self.log, promise))},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": text(root),
                "treeSize": "2",
                "hashes": [text(sibling)],
                "checkpoint": {"envelope": f"{note}\n\u2014 log.corp.example {mark}\n"},
            },
            "canonicalizedBody": text(body),
        }

    def bundle(self, payload: bytes, **about: Any) -> dict[str, Any]:
        """A keyless bundle; `at` is when the log took it, the rest is about the certificate."""
        at = about.pop("at", BEGIN + timedelta(minutes=1))
        key = _key()
        leaf = self.certify(key, **about)
        signature = _signed(key, pae(IN_TOTO, payload))
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": text(leaf.public_bytes(Encoding.DER))},
                "tlogEntries": [self.entry(payload, signature, leaf, at=at)],
                "timestampVerificationData": {},
            },
            "dsseEnvelope": {
                "payload": text(payload),
                "payloadType": IN_TOTO,
                "signatures": [{"sig": text(signature)}],
            },
        }

    def sign(self, model: Path, *, statements: tuple[Statement, ...] = (), **about: Any) -> Path:
        """Sign a model's folder as an identity."""
        place = model / "model.sig"
        manifest = hash_path(model, ignore=ignore_for(model, (), place))
        place.write_text(json.dumps(self.bundle(build_payload(manifest, statements), **about)))
        return place


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=not sign, crl_sign=not sign,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
