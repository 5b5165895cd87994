"""Signed evidence of an incident.

alert, registry history, log checkpoint, monitor snapshot, lineage → deterministic tar with a
manifest → signature of the registry's signer → document of the registry, digest in its log
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlsecops._files import private_folder, private_mode, write_privately
from mlsecops._json import parse_object
from mlsecops._repr import concise_repr
from mlsecops.errors import EvidenceError, MLSecOpsError, UsageError
from mlsecops.incident.custody import Custody, is_local
from mlsecops.provenance import Digest
from mlsecops.registry import Event, Registry
from mlsecops.signing import TrustPolicy, sign, verify

if TYPE_CHECKING:
    from mlsecops.signing import Verified

__all__ = ["Evidence", "pack"]

_MANIFEST: Final = "manifest.json"
_MOST_BYTES: Final = 64 << 20  # bytes; what a registry hands out as one document
_EVENT: Final = "incident.evidence"


@concise_repr("incident", "path")
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The sealed evidence of an incident.

    Attributes:
        incident: Id of the incident.
        path: The tar on this machine; its signature is `evidence.tar.sig` in the same folder. The
            registry keeps both too, for other machines.
        registry: The registry whose signer signs it and whose log has its digest.
        custody: The incident's chain of custody.
    """

    incident: str
    path: Path
    registry: Registry
    custody: Custody

    @property
    def sealed(self) -> Digest | None:
        """Digest of the tar in the registry's log, or None before it is sealed."""
        found = self._recorded()
        return None if found is None else Digest.parse(str(found.digest))

    def seal(self, contents: Mapping[str, bytes]) -> Digest:
        """Archive, sign and record the evidence; if it is sealed already, verify it.

        Args:
            contents: Name → bytes of each document.

        Raises:
            UsageError: The registry was opened without a signer.
            EvidenceError: It was sealed before and does not verify, or cannot be written.
        """
        if self.sealed is not None:
            self.verify()
            return self.sealed
        if self.registry.signer is None:
            raise UsageError(
                "evidence: expected a registry with a signer, got none; open it with signer="
            )
        data = pack(contents)
        if len(data) > _MOST_BYTES:
            raise EvidenceError(
                f"evidence {self.path}: expected at most {_MOST_BYTES} bytes, got {len(data)}; "
                "give a smaller snapshot"
            )
        try:
            private_folder(self.path.parent, shared=True)
            write_privately(self.path, data, sealed=True, shared=True)
            self.bundle.unlink(missing_ok=True)
            sign(self.path, self.registry.signer)
            self.bundle.chmod(private_mode(self.path.parent, sealed=True, shared=True))
            bundle = self.registry.keep(self.bundle.read_bytes())
        except OSError as error:
            raise EvidenceError(
                f"evidence {self.path}: cannot be written: {error.strerror}; give write "
                "permission for the incident's folder"
            ) from error
        named = {"incident": self.incident, "digest": str(self.registry.keep(data))}
        self.registry.record_once(_EVENT, {**named, "bundle": str(bundle)})
        return Digest.of(data)

    def fetch(self) -> Path:
        """Bring the sealed tar and its signature onto this machine, if they are not there.

        Returns:
            `path`.

        Raises:
            EvidenceError: It is not sealed yet, or cannot be read or written.
        """
        found = self._recorded()
        if found is None:
            raise EvidenceError(f"evidence {self.path}: it is not sealed yet; run the playbook")
        try:
            private_folder(self.path.parent, shared=True)
            for place, digest in ((self.path, found.digest), (self.bundle, found.detail["bundle"])):
                if not place.exists():
                    data = self.registry.kept(Digest.parse(str(digest)))
                    write_privately(place, data, sealed=True, shared=True)
        except (MLSecOpsError, OSError) as error:
            raise EvidenceError(f"evidence {self.path}: cannot be fetched: {error}") from error
        return self.path

    def verify(self, *, policy: TrustPolicy | None = None) -> Verified:
        """Verify the signature, every document against the manifest, and the chain of custody.

        Args:
            policy: Trust policy; by default the operators of the registry's log vouch for it, one
                of whom is enough, and not the signers of models.

        Returns:
            The verified signature.

        Raises:
            EvidenceError: Something was changed or is missing.
        """
        return self._verified(policy)[0]

    def _verified(self, policy: TrustPolicy | None) -> tuple[Verified, bytes]:
        """The verified signature, and the bytes of the tar that it holds for."""
        if not is_local(self.registry):
            self.fetch()  # it may have been sealed on another machine
        try:
            if self.path.stat().st_size > _MOST_BYTES:
                raise EvidenceError(f"it is larger than {_MOST_BYTES} bytes; it was replaced")
            verified = verify(self.path, policy=policy or self._operators())
            data = self.path.read_bytes()
            self.custody.require_copy()
            sealed = self.sealed
        except (MLSecOpsError, OSError) as error:
            raise EvidenceError(f"evidence {self.path} does not verify: {error}") from error
        if sealed != Digest.of(data) or verified.manifest.entries[0].digest != sealed:
            raise EvidenceError(
                f"evidence {self.path}: expected the tar with {sealed}, got {Digest.of(data)}; "
                "it was replaced after it was sealed"
            )
        _check_contents(data, self.path)
        return verified, data

    def read(self, name: str, *, policy: TrustPolicy | None = None) -> bytes:
        """Verify the evidence and return one document.

        Raises:
            EvidenceError: The evidence does not verify, or has no such document.
        """
        documents = _unpack(self._verified(policy)[1], self.path)
        if name not in documents:
            raise EvidenceError(
                f"evidence {self.path}: expected one of {sorted(documents)}, got {name!r}"
            )
        return documents[name]

    @property
    def bundle(self) -> Path:
        """Path of the signature."""
        return self.path.with_name(f"{self.path.name}.sig")

    def _recorded(self) -> Event | None:
        entries = self.registry.recorded(_EVENT)
        return next((e for e in entries if e.detail.get("incident") == self.incident), None)

    def _operators(self) -> TrustPolicy:
        """Policy that trusts the operators of the registry's log; without any, the models'."""
        signer = self.registry.signer
        known = [*self.registry.log_keys, *([] if signer is None else [signer.public_key])]
        keys = [key.pem for key in known]
        return TrustPolicy(keys=keys) if keys else self.registry.policy


def pack(contents: Mapping[str, bytes]) -> bytes:
    """Make a deterministic tar: sorted, without times or owners.

    Args:
        contents: Name → bytes of each document; `manifest.json` is added.

    Examples:
        >>> len(pack({"alert.json": b"{}"}))
        10240
    """
    listed = json.dumps(_manifest(contents), sort_keys=True, indent=1).encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted({**contents, _MANIFEST: listed}.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o400, 0
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _check_contents(data: bytes, path: Path) -> None:
    documents = _unpack(data, path)
    if _MANIFEST not in documents:
        raise EvidenceError(f"evidence {path}: expected a {_MANIFEST}, got none")
    what = f"evidence {path}: {_MANIFEST}"
    manifest = parse_object(documents.pop(_MANIFEST), what=what, error=EvidenceError)
    if _manifest(documents) != manifest:
        raise EvidenceError(f"evidence {path}: its documents differ from its manifest")


def _manifest(contents: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in contents.items()
    }


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
        raise EvidenceError(f"evidence {path}: expected a tar: {error}") from error
    return documents
