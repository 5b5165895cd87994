"""Trusted time stamps: the time of a signature, attested by a time stamp authority.

signature → request to an authority → response, kept in the bundle → trusted roots → time

Source: RFC 3161 through the `timestamp` extra (rfc3161-client); a bundle keeps the whole
response, as the Sigstore bundle v0.3 does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from cryptography import x509

from mlsecops._extras import require
from mlsecops.errors import SignatureInvalid
from mlsecops.signing.certificates import fingerprints, read_certificate

Authority: TypeAlias = Callable[[bytes], bytes]
"""A time stamp authority: takes a TimeStampReq and returns a TimeStampResp (both DER)."""


def request_timestamp(signature: bytes, authority: Authority) -> bytes:
    """Request a time stamp for a signature.

    Args:
        signature: The signature's bytes.
        authority: The authority, such as `http_authority(url)`.

    Returns:
        The authority's response (DER) to this request.

    Raises:
        SignatureInvalid: It is no response, or answers another request.
        MissingExtra: `timestamp` is not installed.
    """
    client = require("rfc3161_client")
    request = (
        client.TimestampRequestBuilder()
        .data(signature)
        .hash_algorithm(client.HashAlgorithm.SHA256)
        .build()
    )
    data = authority(request.as_bytes())
    response = _decode(client, data)
    imprint = request.message_imprint.message
    if response.tst_info.message_imprint.message != imprint or (
        response.tst_info.nonce != request.nonce
    ):
        raise SignatureInvalid(
            "the time stamp authority answered another request: expected its stamp over this "
            "signature with this nonce"
        )
    return data


def stamped_time(
    signature: bytes,
    stamps: Sequence[bytes],
    roots: Sequence[x509.Certificate],
    *,
    at: datetime,
    revoked: Callable[[str], bool],
) -> datetime | None:
    """The earliest time at which a trusted authority saw a signature.

    Args:
        signature: The signature's bytes.
        stamps: Responses from the bundle (DER), over this or other signatures.
        roots: Trusted authorities' root certificates.
        at: Time of verification; later stamps do not count.
        revoked: Whether a fingerprint is revoked.

    Returns:
        The time, or None when no stamp counts: an unreadable, foreign or revoked one does not.

    Raises:
        MissingExtra: There are stamps and roots, and `timestamp` is not installed.
    """
    if not (stamps and roots):
        return None
    client = require("rfc3161_client")
    times = [
        time
        for stamp in stamps
        if (time := _time(client, stamp, signature, roots, revoked)) is not None and time <= at
    ]
    return min(times, default=None)


def _time(
    client: Any,
    stamp: bytes,
    signature: bytes,
    roots: Iterable[x509.Certificate],
    revoked: Callable[[str], bool],
) -> datetime | None:
    try:
        response = _decode(client, stamp)
        embedded = [read_certificate(data) for data in response.signed_data.certificates]
        involved = [mark for certificate in embedded for mark in fingerprints(certificate)]
        trusted = [root for root in roots if not any(map(revoked, fingerprints(root)))]
        if any(map(revoked, involved)) or not trusted:
            return None
        client.VerifierBuilder(roots=trusted).build().verify_message(response, signature)
        time: datetime = response.tst_info.gen_time
    except (SignatureInvalid, client.VerificationError, ValueError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _decode(client: Any, data: bytes) -> Any:
    try:
        response = client.decode_timestamp_response(data)
        _ = response.tst_info.gen_time  # a refusal carries no token
    except ValueError as error:
        raise SignatureInvalid(f"not a time stamp: {error}") from error
    return response
