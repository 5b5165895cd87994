"""Registry store: signed folders as blobs, and read-only folders rebuilt from them.

folder → blobs and listing → verified copy → `open` → folder whose bytes verify now
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlsecops._files import private_folder
from mlsecops.audit.objects import ObjectStore
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
from mlsecops.registry.cache import UsedFolders
from mlsecops.registry.events import Record
from mlsecops.registry.listing import Listing, remove_folder, seal_folder
from mlsecops.registry.state import State
from mlsecops.registry.storage_errors import storage_errors
from mlsecops.signing import SignedModel, TrustPolicy, Verified, Verifier, expected_name, verify

__all__ = ["Store"]


class Store:
    """The bytes of a registry: permanent blobs, and the reader's own folders built from them.

    Args:
        objects: Store of the blobs.
        cache: Folder of the built folders, on this machine and outside the registry.
        policy: Returns the current trust policy for models.
    """

    def __init__(
        self, objects: ObjectStore, *, cache: Path, policy: Callable[[], TrustPolicy]
    ) -> None:
        self._location = objects.where
        self._cache = cache
        self._blobs = Blobs(objects)
        self._policy = policy
        self._used = UsedFolders()

    def take_in(self, folder: Path, name: str) -> tuple[Verified, dict[str, Any]]:
        """Copy a folder and verify the copy; files that its signature does not cover are left out.

        Args:
            folder: The signed folder.
            name: The registry's name of the model.

        Returns:
            The verified model, and what its event says of it: listing, bytes, signers.

        Raises:
            UsageError: It is no folder, or cannot be read.
            UnsafeContent: It holds links or devices.
            VerificationError: It does not verify under the policy.
            RegistryError: The registry cannot be written.
        """
        with storage_errors(self._location):
            return self._take_in(folder, name)

    def _take_in(self, folder: Path, name: str) -> tuple[Verified, dict[str, Any]]:
        with self._draft() as draft:
            captured = Listing.capture(folder, draft)
            verified = self._verify(draft, name)
            kept = captured.only({*(entry.name for entry in verified.manifest), SIGNATURE_NAME})
            with ThreadPoolExecutor(self._blobs.streams) as pool:
                list(
                    pool.map(
                        lambda each: self._blobs.put_file(draft / each[0], each[1]), kept.files
                    )
                )
            size = sum((draft / name).stat().st_size for name, _ in kept.files)
            listing = str(self._blobs.put(kept.to_bytes()))
            if kept == captured:
                self._adopt(draft, self._place(kept))
        return verified, {"listing": listing, "bytes": size, "signers": list(verified.signers)}

    @contextlib.contextmanager
    def _draft(self) -> Iterator[Path]:
        """A name for a private folder, which goes when the block ends."""
        private_folder(self._cache)
        draft = self._cache / f".draft-{secrets.token_hex(8)}"
        try:
            yield draft
        finally:
            remove_folder(draft)

    def _adopt(self, draft: Path, place: Path) -> None:
        """Keep a verified copy as the folder of its version, unless there is one."""
        if not place.exists():
            seal_folder(draft)
            with contextlib.suppress(OSError):  # another process was faster
                draft.rename(place)

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
            return path, self._built(record, listing, path)
        except PolicyError:
            raise
        except (VerificationError, ContentRefused, UsageError, OSError):
            remove_folder(path)
        return path, self._built(record, listing, path)

    def _built(self, record: Record, listing: Listing, path: Path) -> Verified:
        self._used.use(listing.build(path, self._blobs, most=record.size))
        return self._verified(record, path)

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
        """SHA-256 of each file but the signature; see `RegistryRecords.files`."""
        with storage_errors(self._location):
            listed = Listing.load(self._blobs.read(record.listing)).files
        return {name: digest for name, digest in listed if name != SIGNATURE_NAME}

    def damaged(self, record: Record) -> tuple[str, ...]:
        """Files whose bytes are missing or changed; see `RegistryRecords.damaged`."""
        found = []
        with storage_errors(self._location):
            for name, digest in Listing.load(self._blobs.read(record.listing)).files:
                try:
                    self._blobs.hash(digest, algorithm="sha256", most=record.size)
                except (RegistryError, DigestMismatch):
                    found.append(name)
        return tuple(found)

    def checkout(self, record: Record, target: Path) -> Path:
        """Write a version's files to a new folder; see `RegistryRecords.checkout`."""
        with storage_errors(self._location):
            listing = Listing.load(self._blobs.read(record.listing))
            folder = listing.build(target, self._blobs, most=record.size)
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
        return tuple(self._manifest(record, parts, each).root for each in algorithms)

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

    def _manifest(
        self, record: Record, parts: Sequence[tuple[str, Digest]], algorithm: str
    ) -> Manifest:
        if algorithm == "sha256":
            digests = [digest for _, digest in parts]
        else:
            digests = [
                self._blobs.hash(digest, algorithm=algorithm, most=record.size)
                for _, digest in parts
            ]
        entries = (Entry(part, digest) for (part, _), digest in zip(parts, digests, strict=True))
        return Manifest(name=record.name, algorithm=algorithm, entries=tuple(entries))

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
