"""Results of verification: a claim of trusted signers, then proof that the bytes match it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mlsecops._notebook import NotebookView, notebook_view
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.files.hub_cache import TOOL_STATE
from mlsecops.provenance.manifest import Manifest
from mlsecops.provenance.statement import Statement

_PROOF: Final = object()


@concise_repr("manifest.root", "signers", "version", "statements")
@dataclass(frozen=True, slots=True, kw_only=True)
class SignedModel:
    """Claim of trusted signers; the files are not compared yet.

    Attributes:
        manifest: Signed names and digests.
        statements: Further signed statements about the model.
        signers: Fingerprints of keys, or certificate subjects, that count.
        version: Version in the signature, or None.
    """

    manifest: Manifest
    statements: tuple[Statement, ...]
    signers: tuple[str, ...]
    version: int | None = None

    @property
    def ignore_paths(self) -> tuple[str, ...]:
        """Relative paths that the signature does not cover; among them the hub tool's state."""
        ignore, state = self.manifest.ignore, f"{TOOL_STATE}/"
        if TOOL_STATE in ignore or any(entry.name.startswith(state) for entry in self.manifest):
            return ignore
        return (*ignore, TOOL_STATE)

    @property
    def sharded(self) -> bool:
        """Whether the digests are of shards of files, so that empty files are not covered."""
        return self.manifest.shard_size is not None


def _view(verified: Verified) -> NotebookView:
    facts = [
        ("digest", verified.digest),
        ("version", verified.version),
        ("files", len(verified.manifest)),
        ("not covered", len(verified.ignored)),
    ]
    signers = [("signer", each) for each in verified.signers]
    statements = [("statement", each.predicate_type) for each in verified.statements]
    rows = [*signers, *statements, *(("not covered", each) for each in verified.ignored)]
    return NotebookView(f"Verified {verified.name}", facts, ("what", "value"), rows)


@notebook_view(_view)
@concise_repr("name", "digest", "signers", "version", "manifest.entries", "statements", "ignored")
@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Proof that the artifact at a path had exactly the signed bytes when it was read.

    Attributes:
        name: Name of the model in its signature.
        digest: Root digest of the model.
        manifest: Signed names and digests.
        signers: Fingerprints of keys, or certificate subjects, that count.
        statements: Further signed statements about the model (provenance, bill of materials).
        ignored: Files that are present and that the signature does not cover.
        version: Version in the signature, or None.
        detached: Whether it was a bare signature over the file's digest: then the name is that of
            the file, and it is not signed.
        compared: Names of the signed parts whose bytes were compared, where a load read only some
            of them (`tensors=`); None where all were.
    """

    name: str
    digest: Digest
    manifest: Manifest
    signers: tuple[str, ...]
    statements: tuple[Statement, ...]
    ignored: tuple[str, ...]
    proof: object
    version: int | None = None
    detached: bool = False
    compared: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.proof is not _PROOF:
            raise UsageError("only verification makes a Verified; call verify(path, policy=…)")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": str(self.digest),
            "files": len(self.manifest),
            "signers": list(self.signers),
            "statements": [statement.predicate_type for statement in self.statements],
            "ignored": list(self.ignored),
            "detached": self.detached,
        }


def prove(
    signed: SignedModel,
    *,
    ignored: tuple[str, ...],
    detached: bool = False,
    compared: tuple[str, ...] | None = None,
) -> Verified:
    """Make the proof; only verification may call this, after it compared the bytes."""
    return Verified(
        name=signed.manifest.name,
        digest=signed.manifest.root,
        manifest=signed.manifest,
        signers=signed.signers,
        statements=signed.statements,
        ignored=ignored,
        version=signed.version,
        detached=detached,
        compared=compared,
        proof=_PROOF,
    )
