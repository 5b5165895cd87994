from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mlsecops import errors
from mlsecops.signing import KeySigner, TrustPolicy, sign, verify

START = datetime(2026, 1, 1, tzinfo=UTC)


class Authority:
    """A certificate authority in memory."""

    def __init__(self, name: str = "root") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._issue(self.key, name, self.key, name, ca=True, usage=True)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def leaf(self, *, usage: bool = True, days: int = 3650) -> KeySigner:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._issue(key, "release", self.key, "root", ca=False, usage=usage, days=days)
        return KeySigner(key, certificates=(leaf,))

    @staticmethod
    def _issue(
        key: ec.EllipticCurvePrivateKey,
        name: str,
        issuer_key: ec.EllipticCurvePrivateKey,
        issuer: str,
        *,
        ca: bool,
        usage: bool,
        days: int = 3650,
    ) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(START)
            .not_valid_after(START + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=usage and not ca,
                    content_commitment=False,
                    key_encipherment=not ca and not usage,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=ca,
                    crl_sign=ca,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_a_certified_signer_verifies_against_its_root(model: Path, authority: Authority) -> None:
    sign(model, authority.leaf())
    verified = verify(model, policy=TrustPolicy(roots=[authority.pem()]))
    assert verified.signers == ("CN=release",)


def test_a_leaf_of_another_root_is_refused(model: Path, authority: Authority) -> None:
    sign(model, Authority().leaf())
    with pytest.raises(errors.UntrustedSigner, match="does not lead"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_an_expired_leaf_is_refused_though_it_was_valid_when_it_was_issued(
    model: Path, authority: Authority
) -> None:
    sign(model, authority.leaf(days=30))
    policy = TrustPolicy(roots=[authority.pem()])
    with pytest.raises(errors.Expired, match="CN=release"):
        verify(model, policy=policy)
    assert verify(model, policy=policy, at=START + timedelta(days=1)).name == "model"


def test_a_leaf_that_may_not_sign_is_refused(model: Path, authority: Authority) -> None:
    sign(model, authority.leaf(usage=False))
    with pytest.raises(errors.UntrustedSigner, match="may not sign"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_a_certificate_bundle_is_not_trusted_by_key_policies(
    model: Path, authority: Authority
) -> None:
    sign(model, authority.leaf())
    with pytest.raises(errors.UntrustedSigner):
        verify(model, policy=TrustPolicy(keys=[Authority().leaf().public_key]))


def test_a_certificate_for_another_key_makes_no_signer(authority: Authority) -> None:
    with pytest.raises(errors.UsageError, match="another key"):
        KeySigner(ec.generate_private_key(ec.SECP256R1()), certificates=(authority.certificate,))
