"""Audit log: one append-only table, one Merkle tree, one signed checkpoint.

event → `append` → entry, compact range and checkpoint in one transaction → `verify`, `tail`

The log is tamper-evident, not tamper-proof: whoever can write the file can restore an older copy
with its older checkpoint. Keep a checkpoint elsewhere and pass it to `verify` to detect that, too.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
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

_WAIT_SECONDS: Final = 60.0  # seconds of waiting for a writer's lock; chosen
_SCHEMA: Final = (
    (
        "CREATE TABLE IF NOT EXISTS entries"
        " (position INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT"
    ),
    (
        "CREATE TABLE IF NOT EXISTS head"
        " (id INTEGER PRIMARY KEY CHECK (id = 0), peaks BLOB NOT NULL, note TEXT NOT NULL) STRICT"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE UPDATE ON entries"
        " BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS entries_remain BEFORE DELETE ON entries"
        " BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
    ),
)


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

    Raises:
        UsageError: The origin is not allowed in a checkpoint.
    """

    @checked
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        signer: LogSigner | None = None,
        keys: Iterable[LogKey] = (),
        origin: str | None = None,
    ) -> None:
        self.path = Path(path)
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
        """The current authentic checkpoint; the entries are not read.

        Raises:
            VerificationError: No trusted key signed it.
            EvidenceError: There is no log, or it cannot be read.
        """
        with self._reading() as connection:
            return self._authentic(_head(connection, self.path)[1])

    def tail(self, since: Peaks = Peaks.EMPTY) -> Tail:
        """Events after a prefix that was read before, checked against the checkpoint.

        Args:
            since: Compact range of what was read before; by default nothing.

        Raises:
            RollbackRefused: The log is now shorter than that.
            VerificationError: The entries are not those that the checkpoint covers.
            EvidenceError: There is no log, or it cannot be read.
        """
        with self._reading() as connection:
            _, note = _head(connection, self.path)
            bodies = _bodies(connection, since.size)
        checkpoint = self._authentic(note)
        self._require_no_shorter(checkpoint, since.size)
        peaks = since.extend(leaf_hash(body) for body in bodies)
        self._require_same(peaks, checkpoint)
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
        pin = Checkpoint.parse(pinned) if isinstance(pinned, str) else pinned
        with self._reading() as connection:
            _, note = _head(connection, self.path)
            checkpoint = self._authentic(note)
            if pin is not None:
                self._require_same_log(checkpoint, pin)
                self._require_no_shorter(checkpoint, pin.size)
            peaks = Peaks.EMPTY
            self._require_pinned(peaks, pin)
            for body in _iterate(connection):
                peaks = peaks.append(leaf_hash(body))
                self._require_pinned(peaks, pin)
        self._require_same(peaks, checkpoint)
        return checkpoint

    def _add(self, event: Mapping[str, Any], *, expected: int | None) -> tuple[int, bool]:
        if self._signer is None:
            raise UsageError(
                f"audit log {self.path} was opened without a signer, read-only; "
                "pass signer= to append"
            )
        body = _canonical(event)
        with self._writing() as connection:
            peaks, origin = self._extendable(connection)
            if expected is not None and expected != peaks.size:
                return peaks.size, False
            grown = peaks.append(leaf_hash(body))
            note = seal(origin=origin, size=grown.size, root=grown.root, signer=self._signer).note
            connection.execute("INSERT INTO entries VALUES (?, ?)", (peaks.size, body))
            head = (0, b"".join(grown.hashes), note)
            connection.execute("INSERT OR REPLACE INTO head VALUES (?, ?, ?)", head)
            return peaks.size, True

    def _extendable(self, connection: sqlite3.Connection) -> tuple[Peaks, str]:
        """Compact range and origin to build on, checked against the last checkpoint."""
        if connection.execute("SELECT 1 FROM head").fetchone() is None:
            if connection.execute("SELECT count(*) FROM entries").fetchone()[0]:
                raise DigestMismatch(f"audit log {self.path}: it has entries and no checkpoint")
            return Peaks.EMPTY, self._origin or f"mlsecops-log/{secrets.token_hex(8)}"
        raw, note = _head(connection, self.path)
        checkpoint = self._authentic(note)
        peaks = _peaks(raw, checkpoint.size, self.path)
        self._require_same(peaks, checkpoint)
        return peaks, checkpoint.origin

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

    def _require_same_log(self, checkpoint: Checkpoint, pin: Checkpoint) -> None:
        if pin.origin != checkpoint.origin:
            raise DigestMismatch(
                f"audit log {self.path}: expected the pinned log {pin.origin}, "
                f"got {checkpoint.origin}; this is another log"
            )

    def _require_pinned(self, peaks: Peaks, pin: Checkpoint | None) -> None:
        if pin is not None and peaks.size == pin.size and peaks.root != pin.root:
            raise DigestMismatch(
                f"audit log {self.path}: its first {pin.size} entries have root "
                f"{peaks.root.hex()}, the pinned checkpoint says {pin.root.hex()}; the log was "
                "rewritten"
            )

    def _parse(self, body: bytes) -> dict[str, Any]:
        return parse_object(body, what=f"audit log {self.path}: entry", error=MalformedBundle)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start."""
        with _evident(self.path), closing(_connect(self.path, mode="rwc")) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A snapshot of the log."""
        if not self.path.is_file():
            raise EvidenceError(f"audit log {self.path}: there is no such file")
        # A killed writer leaves a journal, which only a connection that may write can roll back.
        mode = "rw" if Path(f"{self.path}-journal").exists() else "ro"
        with _evident(self.path), closing(_connect(self.path, mode=mode)) as connection:
            connection.execute("BEGIN")
            yield connection


@contextmanager
def _evident(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise EvidenceError(f"audit log {path}: {error}") from error


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=_WAIT_SECONDS, isolation_level=None)


def _head(connection: sqlite3.Connection, path: Path) -> tuple[bytes, str]:
    row = connection.execute("SELECT peaks, note FROM head").fetchone()
    if row is None:
        raise EvidenceError(f"audit log {path}: it has no checkpoint")
    peaks, note = row
    if not isinstance(peaks, bytes) or not isinstance(note, str):
        raise DigestMismatch(f"audit log {path}: its head is damaged")
    return peaks, note


def _bodies(connection: sqlite3.Connection, start: int) -> Sequence[bytes]:
    return tuple(_iterate(connection, start))


def _iterate(connection: sqlite3.Connection, start: int = 0) -> Iterator[bytes]:
    rows = connection.execute(
        "SELECT position, body FROM entries WHERE position >= ? ORDER BY position", (start,)
    )
    for expected, (position, body) in enumerate(rows, start):
        if position != expected:
            raise DigestMismatch(f"audit log: expected entry {expected}, got {position}")
        if not isinstance(body, bytes):
            raise DigestMismatch(f"audit log: entry {expected} is not stored as bytes")
        yield body


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
