"""Certificate chain check: a path to a trusted root, valid at a time, whose leaf may sign.

Source: RFC 5280 path validation as `cryptography.x509.verification` implements it; the leaf's
usage as OpenSSF Model Signing demands (digitalSignature, or the codeSigning purpose), where each
of both that a certificate states must allow it (RFC 5280, 4.2.1.3 and 4.2.1.12).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import (
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from mlsecops.errors import Expired, UntrustedSigner


def read_certificate(data: bytes) -> x509.Certificate:
    """A certificate from DER with all parts parsed, which is otherwise done at first access.

    Raises:
        ValueError: It is no certificate, or has a part that cannot be read.
    """
    try:
        certificate = x509.load_der_x509_certificate(data)
        _ = (certificate.subject, certificate.issuer, certificate.extensions)
        _ = certificate.public_key()
    except (
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise ValueError(str(error)) from error
    return certificate


def require_usable(chain: Sequence[x509.Certificate], *, at: datetime) -> None:
    """Demand that a chain's certificates are valid at a time, and that its leaf may sign.

    Args:
        chain: Leaf first.
        at: Time of the signature, timezone-aware.

    Raises:
        Expired: A certificate of the chain is not valid at that time.
        UntrustedSigner: The leaf may not sign.
    """
    _require_valid(chain, at)
    leaf = chain[0]
    if _authority(leaf) and not _issues_nothing(leaf):
        raise UntrustedSigner(
            f"certificate {identity(leaf)!r} may not sign models: expected the certificate of a "
            "signer, got that of an authority (CA:TRUE); issue one for the signer"
        )
    usages = {_digital_signature(leaf), _code_signing(leaf)}
    if False in usages or True not in usages:
        raise UntrustedSigner(
            f"certificate {identity(leaf)!r} may not sign models: expected key usage "
            "digitalSignature and the purpose codeSigning, where it states any; issue one for code "
            "signing"
        )


def _require_valid(certificates: Iterable[x509.Certificate], at: datetime) -> None:
    for certificate in certificates:
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise Expired(
                f"certificate {identity(certificate)!r}: expected to be valid at {at:%Y-%m-%d}, "
                f"but it is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}; sign again with a current one, or "
                "with a time stamp of a trusted authority"
            )


def path_to(
    root: x509.Certificate, chain: Sequence[x509.Certificate], *, at: datetime
) -> tuple[x509.Certificate, ...]:
    """The path from a chain's leaf to one root.

    Args:
        root: The trusted certificate.
        chain: Leaf first; the others may serve as intermediates, in any order.
        at: Time of the signature, timezone-aware.

    Returns:
        Certificates of the path, leaf first, root last; all valid at that time.

    Raises:
        Expired: The root is not valid at that time.
        UntrustedSigner: The chain does not lead there, or holds a certificate that does not
            belong to it.
    """
    _require_valid([root], at)
    leaf, *intermediates = chain
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(at)
        .extension_policies(
            ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
        )
        .build_client_verifier()
    )
    try:
        path = tuple(verifier.verify(leaf, intermediates).chain)
    except VerificationError as error:
        raise UntrustedSigner(
            f"certificate {identity(leaf)!r} does not lead to the trusted root "
            f"{identity(root)!r}: {error}"
        ) from error
    for certificate in chain:
        if certificate not in path and not any(
            issued_by(certificate, by) for by in (*chain, *path) if by != certificate
        ):
            raise UntrustedSigner(
                f"certificate {identity(certificate)!r} of the signature was issued by none "
                "of the others: it was changed, or does not belong there; leave it out"
            )
    return path


def identity(certificate: x509.Certificate) -> str:
    """Subject of a certificate, for people and policies."""
    return certificate.subject.rfc4514_string()


def subjects(certificate: x509.Certificate) -> tuple[str, ...]:
    """Names of a certificate: its subject, common names, and alternative names that are text.

    Source: RFC 4514 (subject), RFC 5280, 4.2.1.6 (dNSName, rfc822Name, URI).
    """
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = [identity(certificate), *(str(each.value) for each in common)]
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return tuple(names)
    kinds = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier)
    return (*names, *(each.value for each in alternative.value if isinstance(each, kinds)))


def fingerprints(certificate: x509.Certificate) -> tuple[str, str]:
    """SHA-256 of a certificate (DER), and of its key (PEM text, as key hints have it)."""
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return certificate.fingerprint(hashes.SHA256()).hex(), hashlib.sha256(spki).hexdigest()


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether a certificate names another as its issuer and bears its signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _authority(leaf: x509.Certificate) -> bool:
    try:
        return leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _issues_nothing(leaf: x509.Certificate) -> bool:
    """Whether a certificate with CA:TRUE is a signer's all the same, as some tools issue them.

    Its key usage forbids it to sign certificates, and it states the purpose codeSigning.

    Source: RFC 5280, 4.2.1.9 (keyCertSign must be asserted to verify signatures on certificates).
    """
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return not usage.key_cert_sign and _code_signing(leaf) is True


def _digital_signature(leaf: x509.Certificate) -> bool | None:
    """Whether the key usage allows digital signatures, or None if there is none."""
    try:
        return leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return None


def _code_signing(leaf: x509.Certificate) -> bool | None:
    """Whether the extended key usage has code signing, or None if there is none."""
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    return ExtendedKeyUsageOID.CODE_SIGNING in usages
