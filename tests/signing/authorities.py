"""Certificate and time stamp authorities in memory, as small as a test needs them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mlsecops.signing import KeySigner
from tests.conftest import program

START = datetime(2026, 1, 1, tzinfo=UTC)
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "p256": ec.SECP256R1,
    "p384": ec.SECP384R1,
    "p521": ec.SECP521R1,
}


@dataclass
class Authority:
    """A certificate authority: its key, its certificate, and how it issues others."""

    key: Any
    certificate: x509.Certificate

    @classmethod
    def root(cls, name: str = "root", *, begin: datetime = START, days: int = 7300) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, issue(key, name, key, name, ca=True, begin=begin, days=days))

    def intermediate(self, name: str = "intermediate", *, days: int = 3650) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject
        return Authority(key, issue(key, name, self.key, issuer, ca=True, days=days))

    def signer(
        self,
        *chain: x509.Certificate,
        name: str = "release",
        curve: str = "p256",
        usage: str | None = "digital_signature",
        begin: datetime = START,
        days: int = 3650,
        purpose: x509.ObjectIdentifier | Sequence[x509.ObjectIdentifier] | None = None,
        ca: bool = False,
        names: Sequence[x509.GeneralName] = (),
        issues: bool = True,
    ) -> KeySigner:
        """A signer with a leaf of this authority, and the certificates between it and the root."""
        key = ec.generate_private_key(_CURVES[curve]())
        leaf = issue(
            key, name, self.key, self.certificate.subject,
            usage=usage, begin=begin, days=days, purpose=purpose, ca=ca, names=names,
            issues=issues,
        )  # fmt: skip
        return KeySigner(key, certificates=(leaf, *chain))

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def issue(
    key: Any,
    name: str,
    issuer_key: Any,
    issuer: str | x509.Name,
    *,
    ca: bool = False,
    usage: str | None = "digital_signature",
    begin: datetime = START,
    days: int = 3650,
    purpose: x509.ObjectIdentifier | Sequence[x509.ObjectIdentifier] | None = None,
    names: Sequence[x509.GeneralName] = (),
    issues: bool = True,
) -> x509.Certificate:
    on = {"key_cert_sign", "crl_sign", "digital_signature"} if ca and issues else {usage}
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issuer if isinstance(issuer, x509.Name) else _named(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if ca or usage is not None:
        bits = x509.KeyUsage(**{usage: usage in on for usage in _USAGES})
        builder = builder.add_extension(bits, critical=True)
    if purpose is not None:
        purposes = [purpose] if isinstance(purpose, x509.ObjectIdentifier) else purpose
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


class TimestampAuthority:
    """An RFC 3161 authority, played by ``openssl ts``; call it with a query's bytes."""

    def __init__(self, folder: Path) -> None:
        self._openssl = program("openssl")
        self._folder = folder
        self.root = Authority.root("time root")
        self.signer = self.root.signer(name="clock", purpose=ExtendedKeyUsageOID.TIME_STAMPING)
        (folder / "clock.pem").write_bytes(self.signer.to_pem())
        (folder / "clock.crt").write_bytes(
            self.signer.certificates[0].public_bytes(serialization.Encoding.PEM)
        )
        (folder / "serial").write_text("01\n")
        (folder / "ts.cnf").write_text(
            "[tsa]\ndefault_tsa=t\n[t]\nserial=serial\nsigner_digest=sha256\ncrypto_device=builtin\n"
            "default_policy=1.2.3.4\ndigests=sha256,sha384,sha512\nordering=yes\n"
        )

    def __call__(self, query: bytes) -> bytes:
        (self._folder / "query").write_bytes(query)
        words = [
            self._openssl, "ts", "-reply", "-config", "ts.cnf", "-queryfile", "query",
            "-signer", "clock.crt", "-inkey", "clock.pem", "-out", "reply",
        ]  # fmt: skip
        subprocess.run(words, cwd=self._folder, check=True, capture_output=True)
        return (self._folder / "reply").read_bytes()


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
