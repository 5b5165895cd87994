"""Binding of a pipeline's parts to the digest of its model.

part, Verified → DigestMismatch if it bears another digest, else whether it bears this one
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mlsecops._json import parse_json
from mlsecops.errors import DigestMismatch
from mlsecops.provenance import Digest, Manifest, Statement
from mlsecops.provenance.statement import SLSA_PROVENANCE
from mlsecops.reports.bom.nodes import model_digests
from mlsecops.robustness import ROBUSTNESS_PREDICATE
from mlsecops.signing import Verified

BOM_PREDICATE: Final = "https://cyclonedx.org/bom"
_NO_DATA: Final = ("code",)
"""Names of resolved dependencies that are neither data sets nor packages."""


def statement_of(verified: Verified, predicate_type: str) -> Statement | None:
    """The signed statement of a type, or None."""
    matching = (each for each in verified.statements if each.predicate_type == predicate_type)
    return next(matching, None)


def signed_files(verified: Verified, files: Mapping[str, bytes]) -> frozenset[str]:
    """Names of delivered files whose content lies under the model's signature."""
    statements = {
        "signing/provenance.json": SLSA_PROVENANCE,
        "robustness.json": ROBUSTNESS_PREDICATE,
        "bom.cdx.json": BOM_PREDICATE,
    }
    signed = {"signing/verified.json"}
    for name, predicate_type in statements.items():
        statement = statement_of(verified, predicate_type)
        if statement is not None and name in files:
            stated = (statement.to_dict(), statement.predicate)
            found = parse_json(files[name], what=name, error=ValueError)
            found.pop("verdict", None)  # of this delivery's gate
            signed |= {name} if found in stated else set()
    return frozenset(signed)


def require_model(what: str, digest: Digest | str | None, verified: Verified) -> bool:
    """Whether a part bears the model's digest; a part without a digest does not.

    Raises:
        DigestMismatch: It bears another digest.
    """
    if digest is None:
        return False
    if str(digest) in digests_of(verified):
        return True
    raise DigestMismatch(
        f"{what}: expected one of {verified.digest}, got one of {digest}; make it for this model"
    )


def digests_of(verified: Verified) -> frozenset[str]:
    """Texts of the digests that name the model: its root, and that of a single file."""
    return frozenset({str(verified.digest), *map(str, _whole(verified.manifest))})


def require_bill(bill: Mapping[str, Any], verified: Verified) -> None:
    """Refuse a bill of materials of another model, or of none.

    Raises:
        DigestMismatch: No digest of the bill's model is that of the signed one.
    """
    stated = model_digests(bill)
    ours = {text.partition(":")[2] for text in digests_of(verified)}
    if not stated & ours:
        got = ", ".join(sorted(each[:12] for each in stated)) or "no digest"
        raise DigestMismatch(
            f"bill of materials: expected one of {verified.digest}, got {got}; build it from this "
            "model"
        )


def signed_datasets(verified: Verified) -> frozenset[str]:
    """Hex digests of the data sets that the signed provenance names."""
    return frozenset(
        value
        for statement in verified.statements
        if statement.predicate_type == SLSA_PROVENANCE
        for descriptor in _resolved(statement)
        for value in _data_digests(descriptor)
    )


def require_datasets(datasets: Mapping[str, Manifest], verified: Verified) -> bool:
    """Whether the signed provenance names each data set; without provenance of data it does not.

    Raises:
        DigestMismatch: It names others.
    """
    signed = signed_datasets(verified)
    if not datasets or not signed:
        return False
    for name, manifest in datasets.items():
        if signed.isdisjoint(digest.hex for digest in _whole(manifest)):
            raise DigestMismatch(
                f"data set {name}: expected one that the signed provenance of {verified.digest} "
                f"names, got {manifest.root}; give the data that this model was trained on"
            )
    return True


def _whole(manifest: Manifest) -> set[Digest]:
    """Digests of all its bytes: the root, and that of a single file. A shard's is of a part."""
    file = manifest.entries if manifest.single and manifest.shard_size is None else ()
    return {manifest.root, *(entry.digest for entry in file)}


def _resolved(statement: Statement) -> Iterator[Mapping[str, Any]]:
    definition = statement.predicate.get("buildDefinition")
    listed = definition.get("resolvedDependencies") if isinstance(definition, dict) else None
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict):
            yield each


def _data_digests(descriptor: Mapping[str, Any]) -> Iterator[str]:
    is_package = str(descriptor.get("uri", "")).startswith("pkg:")
    digest = descriptor.get("digest")
    if not is_package and descriptor.get("name") not in _NO_DATA and isinstance(digest, dict):
        yield from (str(value) for value in digest.values())
