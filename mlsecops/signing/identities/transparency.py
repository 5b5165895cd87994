"""Proof of an identity's signature: its certificate, log entry and time under a trusted root.

keyless bundle, trusted root → sigstore-python, offline → time of the signature

sigstore-python checks the certificate's path and signed certificate timestamp, the entry's
inclusion proof, checkpoint and signed entry timestamp, and that the entry is of this envelope.

Source: Sigstore client specification, sections 3 and 4 (verification).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from mlsecops._extras import require
from mlsecops.errors import Expired, MalformedBundle, SignatureInvalid
from mlsecops.signing.bundle import Bundle
from mlsecops.signing.certificates import identity, issued_by
from mlsecops.signing.envelope import Signature
from mlsecops.signing.identities.certificate import Certified, identity_of
from mlsecops.signing.identities.trusted_root import trusted_root_of, verifier_of


def split_signatures(bundle: Bundle, *, where: str) -> tuple[Signature, tuple[Signature, ...]]:
    """The identity's signature of a keyless bundle, and those that keys added to it.

    Raises:
        MalformedBundle: It does not say which signature is the identity's.
    """
    signatures = bundle.envelope.signatures
    mine = [each for each in signatures if not each.keyid] if len(signatures) > 1 else signatures
    if len(mine) != 1:
        raise MalformedBundle(
            f"{where}: expected one signature of the identity, and a keyid with each of the others"
        )
    return mine[0], tuple(each for each in signatures if each is not mine[0])


def proven_time(
    bundle: Bundle,
    signature: Signature,
    *,
    who: Certified,
    root: bytes | None,
    where: str,
    verifier: Any = None,
) -> datetime:
    """Demand that a trusted instance certified an identity's signature, and logged it.

    Args:
        bundle: A keyless bundle.
        signature: The identity's signature among those of its envelope.
        who: The identity of its certificate.
        root: JSON of the trusted root, or None for that of Sigstore's public instance.
        where: Path of the bundle, for messages.
        verifier: A `sigstore.verify.Verifier` instead of one of the root.

    Returns:
        Time of the signature, as the log or a time stamp authority attests it.

    Raises:
        MalformedBundle: It is no bundle of an identity.
        Expired: The certificate was not valid when the signature was logged.
        SignatureInvalid: Anything else does not hold.
        UsageError: The trusted root cannot be used.
        MissingExtra: `sigstore` is not installed.
    """
    parsed = _parsed(bundle, signature, where)
    used = verifier or verifier_of(root)
    try:
        kind, payload = used.verify_dsse(parsed, _Named(who))
    except require("sigstore.errors").Error as error:
        _require_current(bundle, parsed, where)
        raise SignatureInvalid(
            f"{where}: signed by {who}, but Sigstore's proof does not hold: {error}"
        ) from error
    except Exception as error:  # parsers below sigstore-python raise errors of their own
        raise SignatureInvalid(
            f"{where}: signed by {who}, but Sigstore's proof cannot be checked: "
            f"{type(error).__name__}: {error}"
        ) from error
    if (kind, bytes(payload)) != (bundle.envelope.payload_type, bundle.envelope.payload):
        raise SignatureInvalid(f"{where}: expected the log's proof to be of this envelope")
    at = _time(used, parsed)
    if verifier is None:
        _require_authority(trusted_root_of(root), bundle.certificates[0], at, where)
    return at


@dataclass(frozen=True, slots=True)
class _Named:
    """sigstore-python's view of the identity, which is already compared with the trusted ones."""

    who: Certified

    def verify(self, certificate: x509.Certificate) -> None:
        if identity_of(certificate) != self.who:
            error: type[Exception] = require("sigstore.errors").VerificationError
            raise error(f"expected the certificate of {self.who}")


def _require_authority(root: Any, leaf: x509.Certificate, at: datetime, where: str) -> None:
    """Demand that the trusted root still vouched for the leaf's authority at that time.

    sigstore-python looks at the authority's certificate, not at `validFor` of the trusted root, in
    which the operator says until when it was in use.
    """
    for authority in root._inner.certificate_authorities:  # noqa: SLF001 - no public way
        chain = [x509.load_der_x509_certificate(each.raw_bytes)
                 for each in authority.cert_chain.certificates]  # fmt: skip
        start, end = authority.valid_for.start, authority.valid_for.end
        current = (start is None or start <= at) and (end is None or at <= end)
        if current and any(issued_by(leaf, each) for each in chain):
            return
    raise Expired(
        f"{where}: its certificate is of an authority that was not in use at {at:%Y-%m-%d %H:%M} "
        "UTC, as the trusted root says; sign again"
    )


def _parsed(bundle: Bundle, signature: Signature, where: str) -> Any:
    """The bundle as sigstore-python reads it, with the identity's signature alone."""
    errors, models = require("sigstore.errors"), require("sigstore.models")
    try:
        return models.Bundle.from_json(json.dumps(bundle.keyless_value(signature)))
    except (errors.Error, ValueError, TypeError, KeyError) as error:
        raise MalformedBundle(
            f"{where}: expected a keyless Sigstore bundle (a certificate and a log entry): {error}"
        ) from error


def _require_current(bundle: Bundle, parsed: Any, where: str) -> None:
    """Say by its own error that a certificate had expired when it signed."""
    leaf, logged = bundle.certificates[0], parsed.log_entry._inner.integrated_time  # noqa: SLF001
    if not logged:
        return
    at = datetime.fromtimestamp(int(logged), tz=UTC)
    if not leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc:
        raise Expired(
            f"{where}: certificate {identity(leaf) or 'of an identity'} was valid from "
            f"{leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to {leaf.not_valid_after_utc:%H:%M} UTC, "
            f"but its signature was logged at {at:%Y-%m-%d %H:%M}; sign again"
        )


def _time(verifier: Any, parsed: Any) -> datetime:
    """The earliest time that sigstore-python established, which it has verified by now."""
    times: list[datetime] = [each.time for each in verifier._establish_time(parsed)]  # noqa: SLF001 - no public way
    return min(times)
