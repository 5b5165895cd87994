"""Legacy bundles of the first release of the format (v0.2.0), read on request and never written.

Their payload lists the files as subjects and has no name of the model; their signatures cover a
nonstandard encoding of the payload.

Source: OpenSSF Model Signing v0.2.0; the deployed verifier's compatibility with it.
"""

from __future__ import annotations

from typing import Any, Final

from mlsecops.errors import MalformedBundle, SignatureInvalid
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.entry import Entry
from mlsecops.provenance.files.tree import DEFAULT_IGNORE
from mlsecops.signing.envelope import Envelope
from mlsecops.signing.keys import PublicKey
from mlsecops.signing.oms import ModelClaim, manifest_of, statement_of

LEGACY_PREDICATE_TYPE: Final = "https://model_signing/Digests/v0.1"
UNNAMED: Final = "(unnamed)"
"""Name of a legacy model: its signature has none, so only unscoped keys may sign it."""


def mangled_pae(payload_type: str, payload: bytes) -> bytes:
    """Bytes that v0.2.0 signed: the `repr` of the payload, under a misspelt version."""
    return f"DSSEV1 {len(payload_type)} {payload_type} {len(payload)} {payload!r}".encode()


def verify_either(key: PublicKey, signature: bytes, envelope: Envelope) -> None:
    """Check a signature over the DSSE encoding, or over that of v0.2.0 with SHA-256.

    Raises:
        SignatureInvalid: It matches neither.
    """
    try:
        key.verify(signature, envelope.signed_bytes)
    except SignatureInvalid:
        data = mangled_pae(envelope.payload_type, envelope.payload)
        key.verify(signature, data, ecdsa="sha256")


def is_legacy(payload: bytes, *, where: str) -> bool:
    """Whether a payload is of v0.2.0."""
    return statement_of(payload, where).predicate_type == LEGACY_PREDICATE_TYPE


def read_legacy_payload(payload: bytes, *, where: str) -> ModelClaim:
    """Parse an old payload.

    Raises:
        MalformedBundle: It is none, or lists anything but files with SHA-256 digests.
    """
    items = statement_of(payload, where).to_dict()["subject"]
    manifest = manifest_of(
        UNNAMED,
        [_entry(item, where) for item in items],
        ignore=DEFAULT_IGNORE,
        shards=None,
        where=where,
    )
    return ModelClaim(manifest=manifest, subject=manifest.root, statements=())


def _entry(item: dict[str, Any], where: str) -> Entry:
    name, text = item.get("name"), item["digest"].get("sha256")
    annotations = item.get("annotations")
    actual = annotations.get("actual_hash_algorithm") if isinstance(annotations, dict) else None
    # v0.2.0 wrote digests of other algorithms as "sha256" too; those are refused.
    if not isinstance(text, str) or actual not in {None, "sha256", "file-sha256"}:
        raise MalformedBundle(f"{where}: file {name!r}: expected a SHA-256 digest, got {actual!r}")
    return Entry(str(name), Digest.parse(f"sha256:{text}"))
