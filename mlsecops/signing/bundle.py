"""Sigstore bundle on disk: one envelope with its verification material.

bytes, bounded → strict parser → Bundle, not yet trusted → bytes

Source: Sigstore bundle v0.3 (JSON), as OpenSSF Model Signing uses it; keyless ones of v0.1 and
v0.2, too.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from mlsecops._choices import checked
from mlsecops._files import write_atomically
from mlsecops._json import parse_object
from mlsecops._repr import concise_repr
from mlsecops.errors import MalformedBundle, SignatureMissing
from mlsecops.provenance.files import remote
from mlsecops.provenance.files.hub_cache import readable_path
from mlsecops.provenance.files.opening import open_regular
from mlsecops.provenance.files.tree import SIGNATURE_NAME
from mlsecops.provenance.files.urls import is_url
from mlsecops.signing.certificates import read_certificate
from mlsecops.signing.envelope import IN_TOTO, Envelope, Signature

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_OLDER: Final = frozenset(
    f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3)
)  # of keyless bundles
MAX_BUNDLE_BYTES: Final = 64 << 20  # bytes; chosen: some 200,000 files in one manifest
MAX_SIGNATURES: Final = 64  # signatures; chosen: bounds the work of a verification
MAX_CERTIFICATES: Final = 16  # certificates; chosen: real chains have up to five
MAX_TIMESTAMPS: Final = 16  # time stamps; chosen: bounds the work of a verification
_MATERIAL: Final = frozenset(
    {"publicKey", "x509CertificateChain", "certificate", "tlogEntries", "timestampVerificationData"}
)
# Early releases of the reference implementation wrote the key itself, which is ignored: a key in
# the bundle proves nothing.
_KEY: Final = frozenset({"hint", "rawBytes", "keyDetails"})


@concise_repr(
    "path", "hint", "envelope.payload_type", "envelope.signatures", "certificates", "timestamps"
)
@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An envelope with its verification material.

    Attributes:
        envelope: Statement bytes and signatures.
        hint: Fingerprint of the first signer's key, or None for a certificate bundle.
        certificates: Chain of the first signer, leaf first; empty for a key bundle.
        timestamps: RFC 3161 time stamp responses (DER) over signatures of the envelope.
        keyless: Media type and verification material (JSON), where an identity signed: a
            certificate with the log entry of its signature. Otherwise None.
        path: File (or URL of the object) that it was written to or read from, or None.
    """

    envelope: Envelope
    hint: str | None = None
    certificates: tuple[x509.Certificate, ...] = ()
    timestamps: tuple[bytes, ...] = ()
    keyless: tuple[str, str] | None = None
    path: Path | str | None = field(default=None, compare=False)

    def to_bytes(self) -> bytes:
        """Compact UTF-8 JSON."""
        signatures = [
            {"sig": _encode(signature.value), "keyid": signature.keyid}
            for signature in self.envelope.signatures
        ]
        material = {**self._material(), "tlogEntries": []}
        kind = MEDIA_TYPE
        if self.keyless is not None:
            kind, material = self.keyless[0], json.loads(self.keyless[1])
        return json.dumps(self._value(kind, material, signatures), separators=(",", ":")).encode()

    def keyless_value(self, signature: Signature) -> dict[str, Any]:
        """A keyless bundle as JSON value with one signature alone, as Sigstore clients read it.

        Raises:
            MalformedBundle: It is of a key or a certificate authority.
        """
        if self.keyless is None:
            raise MalformedBundle("expected a keyless bundle, got one of a key or certificate")
        kind, material = self.keyless
        return self._value(kind, json.loads(material), [{"sig": _encode(signature.value)}])

    def _value(
        self, kind: str, material: dict[str, Any], signatures: list[dict[str, str]]
    ) -> dict[str, Any]:
        return {
            "mediaType": kind,
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": _encode(self.envelope.payload),
                "payloadType": self.envelope.payload_type,
                "signatures": signatures,
            },
        }

    def _material(self) -> dict[str, Any]:
        stamps = [{"signedTimestamp": _encode(stamp)} for stamp in self.timestamps]
        timed = {"timestampVerificationData": {"rfc3161Timestamps": stamps}} if stamps else {}
        return {**self._signer_material(), **timed}

    def _signer_material(self) -> dict[str, Any]:
        if not self.certificates:
            return {"publicKey": {"hint": self.hint or ""}}
        chain = [
            {"rawBytes": _encode(certificate.public_bytes(serialization.Encoding.DER))}
            for certificate in self.certificates
        ]
        return {"x509CertificateChain": {"certificates": chain}}

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = "bundle") -> Bundle:
        """Parse a bundle strictly.

        Raises:
            MalformedBundle: It is anything but a bundle of the supported kind.
        """
        value = parse_object(data, what=where, error=MalformedBundle, most=MAX_BUNDLE_BYTES)
        _only(value, {"mediaType", "verificationMaterial", "dsseEnvelope"}, where)
        material = _object(value, "verificationMaterial", where)
        _only(material, _MATERIAL, where)
        envelope = _envelope(_object(value, "dsseEnvelope", where), where)
        kind = value.get("mediaType")
        if not isinstance(kind, str) or kind not in {MEDIA_TYPE, *_OLDER}:
            raise MalformedBundle(f"{where}: expected mediaType {MEDIA_TYPE}, got {kind!r}")
        if "certificate" in material or kind in _OLDER:
            chain = _keyless_chain(material, where)
            return cls(envelope=envelope, certificates=chain, keyless=(kind, json.dumps(material)))
        if material.get("tlogEntries", []) != []:
            raise MalformedBundle(
                f"{where}: expected no tlogEntries with a key or a certificate chain"
            )
        hint, named = _hint(material, where), [one.keyid for one in envelope.signatures]
        if hint and all(named) and hint not in named:
            raise MalformedBundle(f"{where}: its key hint {hint[:16]!r} names none of its signers")
        return cls(
            envelope=envelope,
            hint=hint,
            certificates=_chain(material, where),
            timestamps=_timestamps(material, where),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read a bundle file; no more than the limit is read.

        Raises:
            SignatureMissing: There is no such file.
            MalformedBundle: It is not a bundle.
        """
        place = os.fspath(path) if is_url(path) else Path(path)
        return replace(cls.from_bytes(read_bundle(path), where=os.fspath(path)), path=place)

    def save(self, path: str | os.PathLike[str]) -> Bundle:
        """Write the bundle, whole or not at all; return it with its path."""
        if not is_url(path):
            return replace(self, path=write_atomically(path, self.to_bytes()))
        remote.write_object(os.fspath(path), self.to_bytes())
        return replace(self, path=os.fspath(path))


def bundle_exists(path: str | os.PathLike[str]) -> bool:
    """Whether anything is where a bundle is expected."""
    return remote.is_object(os.fspath(path)) if is_url(path) else os.path.lexists(path)


@checked
def read_bundle(path: str | os.PathLike[str]) -> bytes:
    """Bytes of a bundle file, at most the limit and one more.

    Raises:
        SignatureMissing: There is no such file.
        UsageError: It cannot be opened.
    """
    if not bundle_exists(path):
        raise SignatureMissing(
            f"no signature at {os.fspath(path)}: expected a bundle there; "
            f"sign the model first, or name its bundle{_of_folder(path)}"
        )
    if is_url(path):
        return remote.read_object(os.fspath(path), most=MAX_BUNDLE_BYTES + 1)
    with os.fdopen(open_regular(readable_path(path)), "rb") as stream:
        return stream.read(MAX_BUNDLE_BYTES + 1)


def _of_folder(path: str | os.PathLike[str]) -> str:
    """What to say where the file lies in a folder that is signed as a whole."""
    folder = Path(path).parent
    if is_url(path) or not os.path.lexists(folder / SIGNATURE_NAME):
        return ""
    return f" ({folder} is signed as a whole: name the folder, and the file by file=, --file)"


def _envelope(value: dict[str, Any], where: str) -> Envelope:
    _only(value, {"payload", "payloadType", "signatures"}, where)
    if value.get("payloadType") != IN_TOTO:
        raise MalformedBundle(
            f"{where}: expected payloadType {IN_TOTO}, got {value.get('payloadType')!r}"
        )
    items = value.get("signatures")
    if not isinstance(items, list) or not 0 < len(items) <= MAX_SIGNATURES:
        raise MalformedBundle(f"{where}: expected 1 to {MAX_SIGNATURES} signatures")
    return Envelope(
        payload=_decode(value.get("payload"), "payload", where),
        payload_type=IN_TOTO,
        signatures=tuple(_signature(item, where) for item in items),
    )


def _signature(item: object, where: str) -> Signature:
    if not isinstance(item, dict):
        raise MalformedBundle(f"{where}: expected each signature to be an object")
    _only(item, {"sig", "keyid"}, where)
    keyid = item.get("keyid")
    if keyid is not None and not isinstance(keyid, str):
        raise MalformedBundle(f"{where}: expected keyid to be text")
    return Signature(_decode(item.get("sig"), "sig", where), keyid or "")


def _hint(material: dict[str, Any], where: str) -> str | None:
    if "publicKey" not in material:
        return None
    key = _object(material, "publicKey", where)
    _only(key, _KEY, where)
    hint = key.get("hint", "")
    if not isinstance(hint, str):
        raise MalformedBundle(f"{where}: expected the key's hint to be text")
    return hint


def _chain(material: dict[str, Any], where: str) -> tuple[x509.Certificate, ...]:
    if "x509CertificateChain" not in material:
        if "publicKey" not in material:
            raise MalformedBundle(f"{where}: expected publicKey or x509CertificateChain")
        return ()
    if "publicKey" in material:
        raise MalformedBundle(f"{where}: expected a key or certificates, got both")
    items = _object(material, "x509CertificateChain", where).get("certificates")
    if not isinstance(items, list) or not 0 < len(items) <= MAX_CERTIFICATES:
        raise MalformedBundle(f"{where}: expected 1 to {MAX_CERTIFICATES} certificates")
    return tuple(_certificate(item, where) for item in items)


def _keyless_chain(material: dict[str, Any], where: str) -> tuple[x509.Certificate, ...]:
    """The certificate of an identity, which newer bundles have alone and older ones in a chain."""
    if not isinstance(material.get("tlogEntries"), list) or len(material["tlogEntries"]) != 1:
        raise MalformedBundle(f"{where}: expected the one log entry of a keyless signature")
    if "publicKey" in material or {"certificate", "x509CertificateChain"} <= material.keys():
        raise MalformedBundle(f"{where}: expected the certificate of an identity alone")
    if "certificate" in material:
        return (_certificate(material["certificate"], where),)
    return _chain(material, where)


def _certificate(item: object, where: str) -> x509.Certificate:
    raw = item.get("rawBytes") if isinstance(item, dict) else None
    try:
        return read_certificate(_decode(raw, "rawBytes", where))
    except ValueError as error:
        raise MalformedBundle(f"{where}: not a certificate: {error}") from error


def _timestamps(material: dict[str, Any], where: str) -> tuple[bytes, ...]:
    if "timestampVerificationData" not in material:
        return ()
    items = _object(material, "timestampVerificationData", where).get("rfc3161Timestamps", [])
    if not isinstance(items, list) or len(items) > MAX_TIMESTAMPS:
        raise MalformedBundle(f"{where}: expected at most {MAX_TIMESTAMPS} time stamps")
    return tuple(
        _decode(item.get("signedTimestamp") if isinstance(item, dict) else None, "stamp", where)
        for item in items
    )


def _object(value: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    item = value.get(key)
    if not isinstance(item, dict):
        raise MalformedBundle(f"{where}: expected {key} to be an object")
    return item


def _only(value: dict[str, Any], allowed: AbstractSet[str], where: str) -> None:
    extra = sorted(value.keys() - allowed)
    if extra:
        raise MalformedBundle(f"{where}: unexpected key {extra[0]!r}")


def _decode(text: object, key: str, where: str) -> bytes:
    if not isinstance(text, str):
        raise MalformedBundle(f"{where}: expected {key} to be base64 text")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedBundle(f"{where}: {key} is not base64: {error}") from error
    # Unused trailing bits could differ without changing the bytes; one text per value is accepted.
    if _encode(data) != text:
        raise MalformedBundle(f"{where}: {key} is not canonical base64")
    return data


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
