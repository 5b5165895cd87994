"""Identity in a Sigstore certificate: its subject and the issuer that vouches for it.

Source: Fulcio OID information (1.3.6.1.4.1.57264.1.1, .7 and .8); RFC 5280, 4.2.1.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")  # raw text, deprecated
_ISSUER_V2: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")  # DER UTF8String
_USER_NAME: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")  # DER UTF8String
_UTF8_STRING: Final = 0x0C  # tag; X.680, section 8.4
_LONG: Final = 0x80  # first octet of a long length; X.690, section 8.1.3.5


@dataclass(frozen=True, slots=True)
class Certified:
    """Subject and issuer that a certificate names, which prove nothing before it is verified."""

    subject: str
    issuer: str

    @property
    def names(self) -> tuple[str, str]:
        """Subject and issuer."""
        return self.subject, self.issuer

    def __str__(self) -> str:
        return f"{self.subject} ({self.issuer})"


def identity_of(certificate: x509.Certificate) -> Certified | None:
    """The identity of a certificate, or None unless it names exactly one subject and one issuer."""
    subjects, issuers = _subjects(certificate), _issuers(certificate)
    if len(subjects) != 1 or len(issuers) != 1:
        return None
    return Certified(subjects.pop(), issuers.pop())


def _subjects(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    plain = (x509.RFC822Name, x509.UniformResourceIdentifier)
    return {name.value if isinstance(name, plain) else _other(name) for name in names}


def _other(name: x509.GeneralName) -> str:
    """User name of another name; text that no identity has for what is none."""
    if isinstance(name, x509.OtherName) and name.type_id == _USER_NAME:
        return _utf8(name.value) or ""
    return ""


def _issuers(certificate: x509.Certificate) -> set[str]:
    found: set[str] = set()
    for extension in certificate.extensions:
        if extension.oid == _ISSUER_V2:
            found.add(_utf8(_raw(extension)) or "")
        elif extension.oid == _ISSUER:
            found.add(_raw(extension).decode("utf-8", "replace"))
    return found


def _raw(extension: x509.Extension[x509.ExtensionType]) -> bytes:
    value = extension.value
    return value.value if isinstance(value, x509.UnrecognizedExtension) else b""


def _utf8(data: bytes) -> str | None:
    """Text of a DER UTF8String, or None."""
    if len(data) < 2 or data[0] != _UTF8_STRING:  # noqa: PLR2004 - a tag and a length
        return None
    length, begin = data[1], 2
    if length >= _LONG:
        begin += length & 0x7F
        length = int.from_bytes(data[2:begin], "big")
    if len(data) != begin + length:
        return None
    return data[begin:].decode("utf-8", "replace")
