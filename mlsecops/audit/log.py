"""Audit log: one append-only table, one Merkle tree, one signed checkpoint.

event → `append` → entry, compact range and checkpoint in one transaction → `verify`, `tail`

The log is tamper-evident, not tamper-proof: whoever can write the file can restore an older copy
with its older checkpoint. Keep a checkpoint elsewhere and pass it as `pinned` to detect that, too.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlsecops._choices import checked
from mlsecops._json import parse_object
from mlsecops._repr import concise_repr
from mlsecops.audit.checkpoint import (
    Checkpoint,
    LogKey,
    LogSigner,
    authenticate,
    require_origin,
    seal,
)
from mlsecops.audit.database import LogFile, reading, writing
from mlsecops.audit.pin import Pin, require_extends, require_root
from mlsecops.errors import (
    DigestMismatch,
    EvidenceError,
    MalformedBundle,
    RollbackRefused,
    UsageError,
)
from mlsecops.provenance.merkle import Peaks, leaf_hash

if TYPE_CHECKING:
    import os

__all__ = ["AuditLog", "Tail"]

_MOST_TAIL_BYTES: Final = 256 << 20  # bytes; chosen: 600,000 events of the usual 400 bytes


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Events of a log after a known prefix, checked against its checkpoint.

    Attributes:
        events: Events after the prefix, oldest first.
        peaks: Compact range of the whole log; pass it to the next `AuditLog.tail`.
        checkpoint: The authentic checkpoint that covers them.
    """

    events: tuple[dict[str, Any], ...]
    peaks: Peaks
    checkpoint: Checkpoint


@concise_repr("path", "_origin")
class AuditLog:
    """An append-only Merkle log in one SQLite file, for many processes.

    Every append writes the entry, the compact range and a newly signed checkpoint in one
    transaction, in O(log n). The last checkpoint is checked before the log is extended, so a forged
    one is not signed over. Each call has its own connection, so a log may be used from threads and
    across `fork`.

    Args:
        path: The SQLite file; created by the first append.
        signer: The operator's key; without it the log is opened read-only.
        keys: Public keys trusted for checkpoints, besides the signer's. Reading needs one.
        origin: Name of the log. A new log without one gets `mlsecops-log/<random>`; an existing
            log must have the name given here.
        pinned: A checkpoint that the log must extend: a `Checkpoint`, its text, or the path of a
            file kept elsewhere, which every reading and append moves forward. An absent file is
            made by the first of them.

    Raises:
        UsageError: The origin is not allowed in a checkpoint, or the pinned file cannot be read.
        MalformedBundle: What is pinned is not a checkpoint.
    """

    @checked
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        signer: LogSigner | None = None,
        keys: Iterable[LogKey] = (),
        origin: str | None = None,
        pinned: Checkpoint | str | os.PathLike[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._pin = None if pinned is None else Pin(pinned)
        self._signer = signer
        own = () if signer is None else (signer.public_key,)
        self._keys: tuple[LogKey, ...] = (*own, *keys)
        self._origin = None if origin is None else require_origin(origin)

    def append(self, event: Mapping[str, Any]) -> int:
        """Add an event and sign the new checkpoint.

        Args:
            event: JSON values under string keys; no NaN or infinity.

        Returns:
            Index of the event, from 0.

        Raises:
            UsageError: The log was opened without a signer, or the event is no JSON.
            VerificationError: The log's head was tampered with; nothing is appended.
            EvidenceError: The file is no audit log, or cannot be written.
        """
        return self._add(event, expected=None)[0]

    def try_append(self, event: Mapping[str, Any], *, size: int) -> int | None:
        """Add an event only if the log still has the size that the caller has seen.

        Args:
            event: As for `append`.
            size: Number of events that the caller has seen.

        Returns:
            Index of the event, or None if the log has grown: read it and decide again.

        Raises:
            UsageError: As for `append`.
            VerificationError: As for `append`.
            EvidenceError: As for `append`.
        """
        index, appended = self._add(event, expected=size)
        return index if appended else None

    def events(self) -> tuple[dict[str, Any], ...]:
        """All events, oldest first, after the whole log was verified.

        Raises:
            VerificationError: As for `verify`.
            EvidenceError: As for `verify`.
        """
        return self.tail().events

    def checkpoint(self) -> Checkpoint:
        """The current authentic checkpoint; no entry after the pinned ones is read.

        Raises:
            VerificationError: No trusted key signed it, or the pinned checkpoint is of another log.
            EvidenceError: There is no log, or it cannot be read.
        """
        with reading(self.path) as file:
            checkpoint, pin = self._accepted(file)
            self._require_prefix(file, pin, checkpoint)
        return self._advanced(checkpoint, pin)

    def tail(self, since: Peaks = Peaks.EMPTY) -> Tail:
        """Events after a prefix that was read before, checked against the checkpoint.

        Args:
            since: Compact range of what was read before; by default nothing.

        Raises:
            RollbackRefused: The log is now shorter than that.
            VerificationError: The entries are not those that the checkpoint covers.
            EvidenceError: There is no log, or it cannot be read.
        """
        with reading(self.path) as file:
            checkpoint, pin = self._accepted(file)
            self._require_no_shorter(checkpoint, since.size)
            if pin is not None and pin.size < since.size:
                self._require_prefix(file, pin, checkpoint)
            peaks, bodies = self._read(file, since, checkpoint, pin)
        self._require_same(peaks, checkpoint)
        self._advanced(checkpoint, pin)
        events = tuple(self._parse(body) for body in bodies)
        return Tail(events=events, peaks=peaks, checkpoint=checkpoint)

    def verify(self, pinned: Checkpoint | str | None = None) -> Checkpoint:
        """Rebuild the tree from every entry and compare it with the signed and the pinned root.

        Args:
            pinned: A checkpoint of this log that was kept elsewhere, or its text.

        Returns:
            The current checkpoint, to be pinned.

        Raises:
            DigestMismatch: An entry was edited, removed or inserted, or the log was rewritten
                since the pinned checkpoint.
            RollbackRefused: The log is shorter than at the pinned checkpoint.
            SignatureError: The checkpoint is malformed or forged.
            UntrustedSigner: No trusted key signed the checkpoint.
            EvidenceError: There is no log, or it cannot be read.
        """
        given = Checkpoint.parse(pinned) if isinstance(pinned, str) else pinned
        with reading(self.path) as file:
            checkpoint, pin = self._accepted(file)
            if given is not None:
                require_extends(checkpoint, given, where=self._where)
            peaks = Peaks.EMPTY
            self._require_pinned(peaks, pin, given)
            for body in file.bodies(0, checkpoint.size):
                peaks = peaks.append(leaf_hash(body))
                self._require_pinned(peaks, pin, given)
        self._require_same(peaks, checkpoint)
        return self._advanced(checkpoint, pin)

    def _add(self, event: Mapping[str, Any], *, expected: int | None) -> tuple[int, bool]:
        if self._signer is None:
            raise UsageError(
                f"audit log {self.path} was opened without a signer, read-only; "
                "pass signer= to append"
            )
        body = _canonical(event)
        if not self.path.exists():
            self._require_new()
        with writing(self.path) as file:
            peaks, origin, pin = self._extendable(file)
            if expected is not None and expected != peaks.size:
                return peaks.size, False
            grown = peaks.append(leaf_hash(body))
            sealed = seal(origin=origin, size=grown.size, root=grown.root, signer=self._signer)
            file.add(peaks.size, body, peaks=b"".join(grown.hashes), note=sealed.note)
        self._advanced(sealed, pin)
        return peaks.size, True

    def _extendable(self, file: LogFile) -> tuple[Peaks, str, Checkpoint | None]:
        """Compact range, origin and pin to build on, checked against the last checkpoint."""
        head = file.head()
        if head is None:
            file.require_end(0)
            self._require_new()
            return Peaks.EMPTY, self._origin or f"mlsecops-log/{secrets.token_hex(8)}", None
        checkpoint, pin = self._accepted(file)
        self._require_prefix(file, pin, checkpoint)
        peaks = _peaks(head[0], checkpoint.size, self.path)
        self._require_same(peaks, checkpoint)
        return peaks, checkpoint.origin, pin

    def _require_new(self) -> None:
        pin = None if self._pin is None else self._pin.current()
        if pin is not None and pin.size:
            raise RollbackRefused(
                f"{self._where}: expected at least {pin.size} entries, got a new log; the log was "
                "removed: restore it"
            )

    def _accepted(self, file: LogFile) -> tuple[Checkpoint, Checkpoint | None]:
        """The authentic checkpoint and the pinned one, which it is not shorter than."""
        head = file.head()
        if head is None:
            raise EvidenceError(f"{self._where}: it has no checkpoint")
        checkpoint = self._authentic(head[1])
        pin = None if self._pin is None else self._pin.current()
        if pin is not None:
            require_extends(checkpoint, pin, where=self._where)
        file.require_end(checkpoint.size)
        return checkpoint, pin

    def _require_prefix(
        self, file: LogFile, pin: Checkpoint | None, checkpoint: Checkpoint
    ) -> None:
        """Demand that the log's first entries are the pinned ones, unless that is known."""
        if pin is None or pin.size == checkpoint.size:
            return
        if self._pin is not None and self._pin.extended_by(pin):
            return
        peaks = Peaks.EMPTY.extend(leaf_hash(body) for body in file.bodies(0, pin.size))
        require_root(peaks.root, pin, where=self._where)

    def _read(
        self, file: LogFile, since: Peaks, checkpoint: Checkpoint, pin: Checkpoint | None
    ) -> tuple[Peaks, list[bytes]]:
        """Entries after a prefix, and the compact range that they end in."""
        peaks, bodies, left = since, [], _MOST_TAIL_BYTES
        self._require_pinned(peaks, pin)
        for body in file.bodies(since.size, checkpoint.size):
            left -= len(body)
            if left < 0:
                raise EvidenceError(
                    f"{self._where}: expected at most {_MOST_TAIL_BYTES} bytes of new events; "
                    "`verify` reads a log of any length"
                )
            peaks = peaks.append(leaf_hash(body))
            self._require_pinned(peaks, pin)
            bodies.append(body)
        return peaks, bodies

    def _advanced(self, checkpoint: Checkpoint, pin: Checkpoint | None) -> Checkpoint:
        if self._pin is not None:
            self._pin.advance(checkpoint, checked=pin)
        return checkpoint

    @property
    def _where(self) -> str:
        return f"audit log {self.path}"

    def _authentic(self, note: str) -> Checkpoint:
        if not self._keys:
            raise UsageError(
                f"audit log {self.path}: no key to check its checkpoint with; pass keys=[…] with "
                "the operator's public key"
            )
        checkpoint = authenticate(note, self._keys)
        if self._origin is not None and checkpoint.origin != self._origin:
            raise DigestMismatch(
                f"audit log {self.path}: expected log {self._origin}, got {checkpoint.origin}; "
                "another log replaced it"
            )
        return checkpoint

    def _require_no_shorter(self, checkpoint: Checkpoint, size: int) -> None:
        if checkpoint.size < size:
            raise RollbackRefused(
                f"audit log {self.path}: expected at least {size} entries, got "
                f"{checkpoint.size}; its end was cut off or an older copy was restored"
            )

    def _require_same(self, peaks: Peaks, checkpoint: Checkpoint) -> None:
        if peaks.size != checkpoint.size or peaks.root != checkpoint.root:
            raise DigestMismatch(
                f"audit log {self.path}: expected {checkpoint.size} entries with root "
                f"{checkpoint.root.hex()}, got {peaks.size} with root {peaks.root.hex()}; entries "
                "were edited, removed or inserted: restore the file and find out who wrote it"
            )

    def _require_pinned(self, peaks: Peaks, *pins: Checkpoint | None) -> None:
        for pin in pins:
            if pin is not None and peaks.size == pin.size:
                require_root(peaks.root, pin, where=self._where)

    def _parse(self, body: bytes) -> dict[str, Any]:
        return parse_object(body, what=f"audit log {self.path}: entry", error=MalformedBundle)


def _peaks(raw: bytes, size: int, path: Path) -> Peaks:
    hashes = tuple(raw[place : place + 32] for place in range(0, len(raw), 32))
    try:
        return Peaks(size, hashes)
    except UsageError as error:
        raise DigestMismatch(f"audit log {path}: its compact range is damaged") from error


def _canonical(event: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(
            dict(event), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"audit event: expected JSON values, got {error}") from error
