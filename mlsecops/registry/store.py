"""Registry store: signed folders as blobs, and read-only folders rebuilt from them.

folder → blobs and listing → verified copy → `open` → folder whose bytes verify now
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from mlsecops.errors import (
    ContentRefused,
    DigestMismatch,
    PolicyError,
    RegistryError,
    UsageError,
    VerificationError,
)
from mlsecops.provenance import SIGNATURE_NAME, Digest, Entry, Manifest
from mlsecops.provenance.digest import SIZES
from mlsecops.registry.blobs import Blobs
from mlsecops.registry.listing import Listing, remove_folder
from mlsecops.registry.state import Record, State
from mlsecops.registry.storage_errors import storage_errors
from mlsecops.signing import SignedModel, TrustPolicy, Verified, Verifier, expected_name, verify

__all__ = ["Store"]


class Store:
    """The bytes of a registry: permanent blobs, and folders under `cache/` built from them.

    Args:
        location: The registry's folder.
        policy: Returns the current trust policy for models.
    """

    def __init__(self, location: Path, *, policy: Callable[[], TrustPolicy]) -> None:
        self._location = location
        self._cache = location / "cache"
        self._blobs = Blobs(location / "blobs")
        self._policy = policy

    def take_in(self, folder: Path, name: str) -> tuple[Verified, Digest]:
        """Copy a folder and verify the copy; files that its signature does not cover are left out.

        Args:
            folder: The signed folder.
            name: The registry's name of the model.

        Returns:
            The verified model, and the digest of its listing.

        Raises:
            UsageError: It is no folder, or cannot be read.
            UnsafeContent: It holds links or devices.
            VerificationError: It does not verify under the policy.
            RegistryError: The registry cannot be written.
        """
        with storage_errors(self._location):
            return self._take_in(folder, name)

    def _take_in(self, folder: Path, name: str) -> tuple[Verified, Digest]:
        captured = Listing.capture(folder, self._blobs)
        draft = self._place(captured)
        remove_folder(draft)
        try:
            verified = self._verify(captured.build(draft, self._blobs), name)
        except BaseException:
            remove_folder(draft)
            raise
        listing = captured.only({*(entry.name for entry in verified.manifest), SIGNATURE_NAME})
        if listing != captured:
            remove_folder(draft)
        return verified, self._blobs.put(listing.to_bytes())

    def open(self, record: Record) -> tuple[Path, Verified]:
        """A version's folder, verified; a damaged one is rebuilt from the blobs, once.

        Raises:
            RegistryError: A blob is missing, or the folder cannot be written.
            VerificationError: It does not verify now.
        """
        with storage_errors(self._location):
            return self._open(record)

    def _open(self, record: Record) -> tuple[Path, Verified]:
        listing = Listing.load(self._blobs.read(record.listing))
        path = self._place(listing)
        try:
            return path, self._verified(record, listing.build(path, self._blobs))
        except PolicyError:
            raise
        except (VerificationError, ContentRefused, UsageError, OSError):
            remove_folder(path)
        return path, self._verified(record, listing.build(path, self._blobs))

    def claim(self, record: Record) -> SignedModel:
        """What trusted signers say about a version; only its signature is read.

        Raises:
            RegistryError: It cannot be read, or is of another model.
            VerificationError: It is not accepted now.
        """
        where, policy = f"{record.name} version {record.version}", self._policy()
        with storage_errors(self._location):
            files = dict(Listing.load(self._blobs.read(record.listing)).files)
            bundle = self._blobs.read(files[SIGNATURE_NAME])
        name = record.name if policy.restricts_names else None
        expected = expected_name(record.name, name, pinned=True)
        signed = Verifier(policy).open(bundle, where=where, expected=expected)
        if signed.manifest.root != record.digest:
            raise DigestMismatch(
                f"{where}: expected {record.digest.short}, its signature says "
                f"{signed.manifest.root.short}; restore it from a copy"
            )
        return signed

    def files(self, record: Record) -> dict[str, Digest]:
        """SHA-256 of each file of a version, its signature left out; see `RegistryRecords.files`."""
        with storage_errors(self._location):
            listed = Listing.load(self._blobs.read(record.listing)).files
        return {name: digest for name, digest in listed if name != SIGNATURE_NAME}

    def checkout(self, record: Record, target: Path) -> Path:
        """Write a version's files to a new folder; see `RegistryRecords.checkout`."""
        with storage_errors(self._location):
            folder = Listing.load(self._blobs.read(record.listing)).build(target, self._blobs)
            for inner, _, _ in os.walk(folder):
                Path(inner).chmod(0o700)
        return folder

    def keep(self, data: bytes) -> Digest:
        """Store a document; see `RegistryRecords.keep`."""
        with storage_errors(self._location):
            return self._blobs.put(data)

    def kept(self, digest: Digest) -> bytes:
        """A document; see `RegistryRecords.kept`."""
        with storage_errors(self._location):
            return self._blobs.read(digest)

    def roots(self, record: Record) -> tuple[Digest, ...]:
        """Root digests of a version's files under every installed digest algorithm.

        Raises:
            RegistryError: A blob is missing, or cannot be read.
            DigestMismatch: A blob was changed.
        """
        with storage_errors(self._location):
            return self._roots(record)

    def _roots(self, record: Record) -> tuple[Digest, ...]:
        listing = Listing.load(self._blobs.read(record.listing)).files
        parts = [(name, digest) for name, digest in sorted(listing) if name != SIGNATURE_NAME]
        algorithms = (name for name in SIZES if name != "blake3" or find_spec("blake3"))
        return tuple(self._manifest(record.name, parts, each).root for each in algorithms)

    def newest_below(self, current: Record, state: State) -> Record:
        """The newest older version that may be used and verifies now.

        Raises:
            RegistryError: There is none; the message says why each was rejected.
        """
        refusals: list[str] = []
        for record in reversed(state.records[current.name][: current.version - 1]):
            try:
                state.require_usable(record)
                self.open(record)
            except (VerificationError, ContentRefused, RegistryError, OSError) as error:
                refusals.append(f"version {record.version}: {error}")
            else:
                return record
        raise RegistryError(
            f"{current.name}: no version older than {current.version} may serve"
            f"{': ' if refusals else ''}{'; '.join(refusals)}; publish a good one"
        )

    def _manifest(self, name: str, parts: Sequence[tuple[str, Digest]], algorithm: str) -> Manifest:
        if algorithm == "sha256":
            digests = [digest for _, digest in parts]
        else:
            digests = [self._blobs.hash(digest, algorithm=algorithm) for _, digest in parts]
        entries = (Entry(part, digest) for (part, _), digest in zip(parts, digests, strict=True))
        return Manifest(name=name, algorithm=algorithm, entries=tuple(entries))

    def _verify(self, path: Path, name: str) -> Verified:
        """Verify a folder, under the registry's name where the policy restricts by name."""
        policy = self._policy()
        return verify(path, policy=policy, name=name if policy.restricts_names else None)

    def _verified(self, record: Record, path: Path) -> Verified:
        verified = self._verify(path, record.name)
        if verified.digest != record.digest:
            raise DigestMismatch(
                f"{path}: expected {record.name} version {record.version} with "
                f"{record.digest.short}, got {verified.digest.short}: another model replaced it"
            )
        return verified

    def _place(self, listing: Listing) -> Path:
        return self._cache / Digest.of(listing.to_bytes()).hex
