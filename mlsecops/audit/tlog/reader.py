"""Reader of a log: newest checkpoint and what it adds to what is known.

checkpoint → keys, origin, quorum, pin → new entries → compact range → signed root → LogTail
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from mlsecops._repr import concise_repr
from mlsecops.audit.checkpoint import (
    Checkpoint,
    LogKey,
    authenticate,
    fingerprint_of,
    signing_keys,
)
from mlsecops.audit.objects import UNCHANGED, ObjectStore, Stored
from mlsecops.audit.pin import Pin, require_extends, require_root
from mlsecops.audit.tlog.cosignature import WitnessKey, require_quorum
from mlsecops.audit.tlog.tiles import (
    MOST_BUNDLE_BYTES,
    TILE_WIDTH,
    bundle_key,
    decode_bundle,
    tile_width,
)
from mlsecops.audit.tlog.tree import TileTree
from mlsecops.errors import (
    DigestMismatch,
    EvidenceError,
    Revoked,
    RollbackRefused,
    UntrustedSigner,
    UsageError,
)
from mlsecops.provenance.merkle import Peaks, leaf_hash

__all__ = ["CHECKPOINT", "LogReader", "LogTail", "Trust"]

CHECKPOINT: Final = "checkpoint"
MOST_NOTE_BYTES: Final = 262_144  # bytes; chosen: the longest note, at four bytes a character
_PUBLICATION: Final = 2.0  # seconds; chosen: a writer publishes what witnesses cosigned sooner
_PAUSE: Final = 0.2  # seconds between two readings; chosen: few requests
_MOST_TAIL_BYTES: Final = 256 << 20  # bytes; chosen: 600,000 events of the usual 400 bytes


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class LogTail:
    """Entries of a log after a known prefix, checked against its checkpoint.

    Attributes:
        entries: Entries after the prefix, oldest first.
        peaks: Compact range of the whole log.
        checkpoint: The authentic checkpoint that covers them.
    """

    entries: tuple[bytes, ...]
    peaks: Peaks
    checkpoint: Checkpoint


@dataclass(slots=True)
class Trust:
    """What a log's checkpoint must show.

    Attributes:
        keys: Public keys of the log's operators, one of which must have signed.
        origin: Name of the log, or None for any.
        pin: Checkpoint that the log must extend, or None.
        witnesses: Keys of witnesses.
        quorum: Number of them that must have cosigned.
        revoked: Keys that do not count any more, which an error about them names.
    """

    keys: tuple[LogKey, ...]
    origin: str | None
    pin: Pin | None
    witnesses: tuple[WitnessKey, ...] = ()
    quorum: int = 0
    revoked: tuple[LogKey, ...] = ()

    def accept(self, note: str, *, where: str, cosigned: bool = True) -> Checkpoint:
        """The authentic checkpoint of the log that is expected.

        Raises:
            UsageError: There is no key.
            UntrustedSigner: No trusted key signed it.
            Revoked: The key that signed it is revoked.
            SignatureInvalid: A signature does not match.
            DigestMismatch: It is of another log.
            ThresholdNotMet: Too few witnesses cosigned it.
        """
        checkpoint = self._authentic(note, where)
        if self.origin is not None and checkpoint.origin != self.origin:
            raise DigestMismatch(
                f"{where}: expected log {self.origin}, got {checkpoint.origin}; another log "
                "replaced it"
            )
        if cosigned:
            require_quorum(checkpoint, self.witnesses, self.quorum)
        return checkpoint

    def _authentic(self, note: str, where: str) -> Checkpoint:
        try:
            if self.keys:
                return authenticate(note, self.keys)
        except UntrustedSigner as error:
            self._require_not_revoked(note, where)
            raise UntrustedSigner(f"{where}: {error}") from error
        self._require_not_revoked(note, where)
        raise UsageError(
            f"{where}: no key to check its checkpoint with; pass the operator's public key"
        )

    def _require_not_revoked(self, note: str, where: str) -> None:
        """Say how to go on where the log's key was revoked, as after it leaked."""
        signed = signing_keys(Checkpoint.parse(note), self.revoked) if self.revoked else ()
        if signed:
            raise Revoked(
                f"{where}: it is signed by key {fingerprint_of(signed[0])[:16]}, which the policy "
                "revokes; let another key take over, and trust that one: mlsecops registry "
                "rotate-key --signer OLD --new-signer NEW"
            )


@concise_repr("where")
class LogReader:
    """Reads and verifies a log; it writes nothing but the pinned file.

    Args:
        store: Store of the log.
        prefix: Prefix of its keys, with a slash at its end.
        trust: What its checkpoint must show.
        known: Returns the size of the log that witnesses know, at least that of the checkpoint.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        trust: Trust,
        *,
        known: Callable[[Checkpoint], int] | None = None,
    ) -> None:
        self._known = known
        self.store = store
        self.prefix = prefix
        self.trust = trust
        self._last: tuple[str, Checkpoint] | None = None

    @property
    def where(self) -> str:
        """The log, for messages."""
        return f"log {self.store.where}/{self.prefix}".rstrip("/")

    def exists(self) -> bool:
        """Whether there is a checkpoint; it is not checked.

        Raises:
            OSError: The store cannot be read.
        """
        key = self.prefix + CHECKPOINT
        return self.store.get(key, most=MOST_NOTE_BYTES) is not None

    def stored(self) -> tuple[str, str] | None:
        """Note and tag of the published checkpoint, unchecked; None where there is none."""
        found = self.store.get(self.prefix + CHECKPOINT, most=MOST_NOTE_BYTES)
        return None if found is None else (_text(found.data), found.tag)

    def newest(self) -> Checkpoint:
        """The published checkpoint; one small request where it is as before.

        Raises:
            VerificationError: It is not accepted.
            RollbackRefused: Witnesses have cosigned more entries than the first one has.
            EvidenceError: There is none.
            OSError: The store cannot be read.

        Warns:
            MLSecOpsWarning: Too few witnesses say that the first one is the newest.
        """
        if self._last is None:
            self._last = self._first()
            return self._last[1]
        key = self.prefix + CHECKPOINT
        found = self.store.get_if_changed(key, self._last[0], most=MOST_NOTE_BYTES)
        if found is not UNCHANGED:
            self._last = self._accepted(found)
        return self._last[1]

    def _first(self) -> tuple[str, Checkpoint]:
        """Tag and checkpoint that a process sees first; witnesses may know of a newer one."""
        key = self.prefix + CHECKPOINT
        tag, checkpoint = self._accepted(self.store.get(key, most=MOST_NOTE_BYTES))
        known = 0 if self._known is None else self._known(checkpoint)
        limit = time.monotonic() + _PUBLICATION
        while checkpoint.size < known:
            if time.monotonic() > limit:
                raise RollbackRefused(
                    f"{self.where}: expected {known} entries, which witnesses have cosigned, got "
                    f"{checkpoint.size}; an older copy was restored, or a writer ended before it "
                    "published: repeat its call, or restore the log"
                )
            time.sleep(_PAUSE)
            tag, checkpoint = self._accepted(self.store.get(key, most=MOST_NOTE_BYTES))
        return tag, checkpoint

    def _accepted(self, found: Stored | None) -> tuple[str, Checkpoint]:
        if found is None:
            raise EvidenceError(f"{self.where}: it has no checkpoint; restore the log from a copy")
        return found.tag, self.trust.accept(_text(found.data), where=self.where)

    def tail(self, since: Peaks = Peaks.EMPTY) -> LogTail:
        """Entries after a prefix that was read before, checked against the newest checkpoint.

        Raises:
            RollbackRefused: The log is now shorter than that, or than the pinned checkpoint.
            VerificationError: The entries are not those that the checkpoint covers.
            EvidenceError: There is no log.
            OSError: The store cannot be read.
        """
        pin = self.trust.pin.current() if self.trust.pin is not None else None
        checkpoint = self.newest()
        self._require_extends(checkpoint, pin, since.size)
        peaks, entries, left = since, [], _MOST_TAIL_BYTES
        _require_pinned(peaks, pin, where=self.where)
        for entry in self.entries(since.size, checkpoint.size, size=checkpoint.size):
            left -= len(entry)
            if left < 0:
                raise EvidenceError(
                    f"{self.where}: expected at most {_MOST_TAIL_BYTES} bytes of new events; "
                    "verify_log reads a log of any length"
                )
            peaks = peaks.append(leaf_hash(entry))
            _require_pinned(peaks, pin, where=self.where)
            entries.append(entry)
        self.require_root(peaks, checkpoint)
        self._require_prefix(pin, since.size, checkpoint)
        self.moved(checkpoint, pin)
        return LogTail(entries=tuple(entries), peaks=peaks, checkpoint=checkpoint)

    def moved(self, checkpoint: Checkpoint, checked: Checkpoint | None) -> None:
        """Move the pinned file forward to a checkpoint that extends it."""
        if self.trust.pin is not None:
            self.trust.pin.advance(checkpoint, checked=checked)

    def published(self, tag: str, checkpoint: Checkpoint) -> None:
        """Remember a checkpoint that this process published."""
        self._last = tag, checkpoint

    def entries(self, start: int, end: int, *, size: int) -> Iterator[bytes]:
        """Entries from `start` up to `end`, unchecked; several bundles are read at once.

        Args:
            start: First entry.
            end: Entry after the last.
            size: Size of the log, which tells the width of its last bundle.

        Raises:
            DigestMismatch: A bundle is missing or malformed.
            OSError: The store cannot be read.
        """
        for index, bundle in self._bundles(start, end, size):
            first = index * TILE_WIDTH
            yield from bundle[max(start - first, 0) : end - first]

    def require_root(self, peaks: Peaks, checkpoint: Checkpoint) -> None:
        """Demand that entries are those of a checkpoint.

        Raises:
            DigestMismatch: They are not.
        """
        if peaks.size != checkpoint.size or peaks.root != checkpoint.root:
            raise DigestMismatch(
                f"{self.where}: expected {checkpoint.size} entries with root "
                f"{checkpoint.root.hex()}, got {peaks.size} with root {peaks.root.hex()}; entries "
                "were edited, removed or inserted: restore the log and find out who wrote it"
            )

    def _require_extends(self, checkpoint: Checkpoint, pin: Checkpoint | None, known: int) -> None:
        if checkpoint.size < known:
            raise RollbackRefused(
                f"{self.where}: expected at least {known} entries, got {checkpoint.size}; its end "
                "was cut off or an older copy was restored"
            )
        if pin is not None:
            require_extends(checkpoint, pin, where=self.where)

    def _require_prefix(self, pin: Checkpoint | None, known: int, checkpoint: Checkpoint) -> None:
        """Demand that a pinned checkpoint below the known prefix is a prefix too."""
        if pin is None or not 0 < pin.size < known or self.trust.pin is None:
            return
        if not self.trust.pin.extended_by(pin):
            self.require_consistent(pin, checkpoint)

    def require_consistent(self, older: Checkpoint, checkpoint: Checkpoint) -> None:
        """Demand by a proof from the tiles that a checkpoint extends an older one.

        Raises:
            DigestMismatch: It does not.
        """
        tree = TileTree(self.store, self.prefix, checkpoint.size)
        try:
            tree.consistency(older.size, older.root, checkpoint.root)
        except DigestMismatch as error:
            raise DigestMismatch(
                f"{self.where}: it does not extend the pinned checkpoint of {older.size} entries; "
                f"the log was rewritten: restore it and find out who wrote it ({error})"
            ) from error

    def _bundles(self, start: int, end: int, size: int) -> Iterator[tuple[int, list[bytes]]]:
        indices = range(start // TILE_WIDTH, -(-end // TILE_WIDTH)) if start < end else range(0)
        return self._concurrently(lambda index: (index, self.bundle(index, size)), indices)

    def _concurrently(
        self, read: Callable[[int], tuple[int, list[bytes]]], indices: Sequence[int]
    ) -> Iterator[tuple[int, list[bytes]]]:
        streams = self.store.streams
        if streams == 1 or len(indices) == 1:
            yield from map(read, indices)
            return
        with ThreadPoolExecutor(streams) as pool:
            for place in range(0, len(indices), 4 * streams):  # few bundles in memory at once
                yield from pool.map(read, indices[place : place + 4 * streams])

    def bundle(self, index: int, size: int) -> list[bytes]:
        """Entries of a bundle in a log of a size; the full one stands in for a partial one."""
        width = tile_width(0, index, size)
        for each in dict.fromkeys((width, TILE_WIDTH)):
            key = self.prefix + bundle_key(index, each)
            stored = self.store.get(key, most=MOST_BUNDLE_BYTES)
            if stored is not None:
                entries = decode_bundle(stored.data, where=f"{self.store.where}/{key}")
                if len(entries) == each:
                    return entries[:width]
        raise DigestMismatch(
            f"{self.store.where}/{self.prefix}{bundle_key(index, width)}: expected {width} "
            "entries, found another number or none; restore the log from a copy"
        )


def _require_pinned(peaks: Peaks, *pins: Checkpoint | None, where: str) -> None:
    for pin in pins:
        if pin is not None and peaks.size == pin.size:
            require_root(peaks.root, pin, where=where)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
