"""What was known when an incident began, sealed so that a changed byte is noticed.

Alert, registry history, log checkpoint, monitor snapshot and lineage go into a deterministic tar
with a manifest; the registry's signer signs it as it signs models; its digest is recorded in the
incident's log and in the registry's.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlsecops._files import write_atomically
from mlsecops._json import parse_object
from mlsecops.audit import AuditLog
from mlsecops.errors import EvidenceError, MLSecOpsError, UsageError
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import TrustPolicy, bundle_path, sign, verify

if TYPE_CHECKING:
    from mlsecops.signing import Verified

__all__ = ["Evidence", "pack"]

_MANIFEST: Final = "manifest.json"
_EVENT: Final = "incident.evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The sealed evidence of an incident.

    Attributes:
        incident: Id of the incident.
        path: The tar; its signature lies beside it as `evidence.tar.sig`.
        registry: Whose signer seals it, and whose log remembers its digest.
        custody: The incident's log.
    """

    incident: str
    path: Path
    registry: Registry
    custody: AuditLog

    @property
    def sealed(self) -> Digest | None:
        """Digest of the tar as the registry's log has it, or None before it is sealed."""
        for event in self.registry.recorded(_EVENT):
            if event.detail.get("incident") == self.incident:
                return Digest.parse(str(event.digest))
        return None

    def seal(self, contents: Mapping[str, bytes]) -> Digest:
        """Pack, sign and record evidence; what is sealed already is verified and stays.

        Args:
            contents: Name and bytes of each document.

        Raises:
            UsageError: The registry was opened without a signer.
            EvidenceError: It was sealed before and does not hold now.
        """
        if self.sealed is not None:
            self.verify()
            return self.sealed
        if self.registry.signer is None:
            raise UsageError("evidence is signed by the registry's signer; open it with signer=")
        data = pack(contents)
        write_atomically(self.path, data, mode=0o444)
        sign(self.path, self.registry.signer)
        digest = Digest.of(data)
        self.registry.record_once(_EVENT, {"incident": self.incident, "digest": str(digest)})
        return digest

    def verify(self, *, policy: TrustPolicy | None = None) -> Verified:
        """Check the signature, every document against the manifest, and both logs.

        Args:
            policy: Whom to trust; by default the registry's policy.

        Returns:
            What the signature vouches for.

        Raises:
            EvidenceError: Something was changed, or is missing.
        """
        try:
            verified = verify(self.path, policy=policy or self.registry.policy)
            data = self.path.read_bytes()
            self.custody.verify()
            sealed = self.sealed
        except (MLSecOpsError, OSError) as error:
            raise EvidenceError(f"evidence {self.path} does not hold: {error}") from error
        if sealed != Digest.of(data) or verified.manifest.entries[0].digest != sealed:
            raise EvidenceError(
                f"evidence {self.path}: expected the tar with {sealed}, got {Digest.of(data)}; "
                "it was exchanged after it was sealed"
            )
        _check_contents(data, self.path)
        return verified

    def read(self, name: str, *, policy: TrustPolicy | None = None) -> bytes:
        """One document, after everything was verified.

        Raises:
            EvidenceError: It is not in the evidence, or that does not hold.
        """
        self.verify(policy=policy)
        documents = _unpack(self.path.read_bytes(), self.path)
        if name not in documents:
            raise EvidenceError(f"evidence {self.path}: expected one of {sorted(documents)}")
        return documents[name]

    @property
    def bundle(self) -> Path:
        """Where the signature lies."""
        return bundle_path(self.path)


def pack(contents: Mapping[str, bytes]) -> bytes:
    """A tar that depends on its contents alone: sorted, without times or owners.

    Args:
        contents: Name and bytes of each document; `manifest.json` is added.
    """
    manifest = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in contents.items()
    }
    listed = json.dumps(manifest, sort_keys=True, indent=1).encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted({**contents, _MANIFEST: listed}.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o444, 0
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _check_contents(data: bytes, path: Path) -> None:
    documents = _unpack(data, path)
    if _MANIFEST not in documents:
        raise EvidenceError(f"evidence {path}: expected a {_MANIFEST}, got none")
    what = f"evidence {path}: {_MANIFEST}"
    manifest = parse_object(documents.pop(_MANIFEST), what=what, error=EvidenceError)
    actual = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in documents.items()
    }
    if actual != manifest:
        raise EvidenceError(f"evidence {path}: its documents are not those of its manifest")


def _unpack(data: bytes, path: Path) -> dict[str, bytes]:
    documents: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for entry in tar:
                stream = tar.extractfile(entry) if entry.isreg() else None
                if stream is None or entry.name in documents:
                    raise EvidenceError(f"evidence {path}: unexpected entry {entry.name!r}")
                documents[entry.name] = stream.read()
    except tarfile.TarError as error:
        raise EvidenceError(f"evidence {path}: it is no tar: {error}") from error
    return documents
