"""Whether a certificate chain leads to a trusted root, at a stated time, for signing.

Source: RFC 5280 path validation as ``cryptography.x509.verification`` implements it; the leaf's
usage as OpenSSF Model Signing demands (digitalSignature, or the codeSigning purpose).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from mlsecops.errors import Expired, UntrustedSigner


def require_chain(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], *, at: datetime
) -> None:
    """Demand that a chain leads to one of the roots.

    Args:
        chain: Leaf first.
        roots: Trusted certificates.
        at: Time of verification, timezone-aware: now, or a trusted time stamp's.

    Raises:
        Expired: A certificate of the chain is not valid at that time.
        UntrustedSigner: The chain does not lead to a root, or the leaf may not sign.
    """
    for certificate in chain:
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise Expired(
                f"certificate {identity(certificate)!r}: expected to be valid at {at:%Y-%m-%d}, "
                f"but it is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}; sign again with a current one"
            )
    leaf, *intermediates = chain
    _require_usage(leaf)
    if not roots:
        raise UntrustedSigner(
            f"signed by certificate {identity(leaf)!r}: expected a trusted root, none is given"
        )
    verifier = (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(at)
        .extension_policies(
            ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
        )
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, list(intermediates))
    except VerificationError as error:
        raise UntrustedSigner(
            f"certificate {identity(leaf)!r} does not lead to a trusted root: {error}"
        ) from error


def identity(certificate: x509.Certificate) -> str:
    """Subject of a certificate, for people and policies."""
    return certificate.subject.rfc4514_string()


def _require_usage(leaf: x509.Certificate) -> None:
    if not (_digital_signature(leaf) or _code_signing(leaf)):
        raise UntrustedSigner(
            f"certificate {identity(leaf)!r} may not sign: expected key usage digitalSignature "
            "or the purpose codeSigning"
        )


def _digital_signature(leaf: x509.Certificate) -> bool:
    try:
        return leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return False


def _code_signing(leaf: x509.Certificate) -> bool:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CODE_SIGNING in usages
