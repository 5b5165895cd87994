"""Transparency log: entries under one signed checkpoint, for many writers and readers.

entries → `append` → published checkpoint; `tail` → new entries; `verify` → every entry and tile
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from mlsecops._choices import several, whole
from mlsecops._repr import concise_repr
from mlsecops.audit.checkpoint import Checkpoint, LogKey, LogSigner, require_origin
from mlsecops.audit.objects import ObjectStore
from mlsecops.audit.pin import Pin, require_extends
from mlsecops.audit.tlog.cosignature import WitnessKey
from mlsecops.audit.tlog.edge import Edge
from mlsecops.audit.tlog.freshness import newest_known
from mlsecops.audit.tlog.reader import LogReader, LogTail, Trust
from mlsecops.audit.tlog.tiles import MOST_BUNDLE_BYTES, TILE_WIDTH
from mlsecops.audit.tlog.tree import TileTree
from mlsecops.audit.tlog.witness_client import WitnessClient
from mlsecops.audit.tlog.writer import LogWriter
from mlsecops.errors import DigestMismatch, UsageError
from mlsecops.provenance.merkle import Peaks, leaf_hash

__all__ = ["TileLog"]

_PAIR: Final = 2  # parts of a witness: URL and verifier key


@concise_repr("where")
class TileLog:
    """A C2SP tlog-tiles log in an object store.

    Args:
        store: The store.
        prefix: Prefix of the log's keys, with a slash at its end, or nothing.
        head: Key of the writers' head, outside the prefix.
        signer: The operator's key; without it the log is read-only.
        keys: Public keys trusted for checkpoints, besides the signer's.
        revoked: Keys that do not count any more, which an error about them names.
        origin: Name of the log that is expected, or that a new log gets.
        pin: Checkpoint that the log must extend.
        witnesses: Submission URL and verifier key of each witness.
        quorum: Number of witnesses that must have cosigned.

    Raises:
        UsageError: An argument is wrong.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        prefix: str,
        head: str,
        signer: LogSigner | None = None,
        keys: Iterable[LogKey] = (),
        revoked: Iterable[LogKey] = (),
        origin: str | None = None,
        pin: Pin | None = None,
        witnesses: Iterable[tuple[str, str]] = (),
        quorum: int = 0,
    ) -> None:
        clients = _clients(witnesses)
        names = {client.key.public for client in clients}
        if whole("quorum", quorum, "a number of witnesses", 0) > len(names):
            raise UsageError(
                f"quorum: expected at most {len(names)}, the number of witnesses, got {quorum}"
            )
        own = () if signer is None else (signer.public_key,)
        trust = Trust(
            keys=(*own, *keys),
            revoked=tuple(revoked),
            origin=None if origin is None else require_origin(origin),
            pin=pin,
            witnesses=tuple(client.key for client in clients),
            quorum=quorum,
        )
        self._reader = LogReader(store, prefix, trust, known=self._known if quorum else None)
        self._head = head
        self._clients = clients
        self._writer = self._writing(signer)

    @property
    def where(self) -> str:
        """The log, for messages."""
        return self._reader.where

    @property
    def trust(self) -> Trust:
        """What its checkpoint must show."""
        return self._reader.trust

    @property
    def written(self) -> int | None:
        """Size after this process's last append, or None; others may have appended since."""
        return None if self._writer is None else self._writer.size

    def exists(self) -> bool:
        """Whether a checkpoint is published."""
        return self._reader.exists()

    def newest(self) -> Checkpoint:
        """The published checkpoint, accepted; see `LogReader.newest`."""
        return self._reader.newest()

    def tail(self, since: Peaks = Peaks.EMPTY) -> LogTail:
        """Entries after a prefix; see `LogReader.tail`."""
        return self._reader.tail(since)

    def append(
        self, entries: Sequence[bytes], *, size: int, more: Sequence[LogSigner] = ()
    ) -> Checkpoint | None:
        """Add entries in one checkpoint; see `LogWriter.append`."""
        return self._require_writer().append(entries, size=size, more=more)

    def begin_with(self, entries: Iterable[bytes]) -> Checkpoint:
        """Write a whole log, where there is none; see `LogWriter.begin_with`."""
        return self._require_writer().begin_with(_groups(entries))

    def settle(self) -> str:
        """Publish what a killed writer committed, and return the log's origin."""
        return self._require_writer().settle()

    def cosign(self) -> Checkpoint:
        """Ask the witnesses again; see `LogWriter.cosign`."""
        return self._require_writer().cosign()

    def sign_with(self, signer: LogSigner) -> None:
        """Sign with another key from now on, which this process trusts too."""
        self.trust.keys = (signer.public_key, *self.trust.keys)
        self._writer = self._writing(signer)

    def moved(self, checkpoint: Checkpoint, checked: Checkpoint | None) -> None:
        """Move the pinned file; see `LogReader.moved`."""
        self._reader.moved(checkpoint, checked)

    def entries(self, start: int, checkpoint: Checkpoint) -> Iterator[bytes]:
        """Entries from `start` to the end of a checkpoint, unchecked."""
        return self._reader.entries(start, checkpoint.size, size=checkpoint.size)

    def tree(self, checkpoint: Checkpoint) -> TileTree:
        """The tiles of a checkpoint's tree."""
        return TileTree(self._reader.store, self._reader.prefix, checkpoint.size)

    def require_consistent(self, older: Checkpoint, checkpoint: Checkpoint) -> None:
        """Demand that a checkpoint extends an older one."""
        self._reader.require_consistent(older, checkpoint)

    def inclusion(self, index: int) -> tuple[bytes, tuple[bytes, ...], Checkpoint]:
        """An entry, the proof that it is logged, and the checkpoint that the proof leads to.

        Raises:
            UsageError: There is no such entry.
            VerificationError: The log was changed, or is not the expected one.
        """
        checkpoint = self.newest()
        if not 0 <= index < checkpoint.size:
            raise UsageError(f"entry: expected an index below {checkpoint.size}, got {index}")
        bundle = self._reader.bundle(index // TILE_WIDTH, checkpoint.size)
        entry = bundle[index % TILE_WIDTH]
        proof = self.tree(checkpoint).inclusion(index, leaf_hash(entry), checkpoint.root)
        return entry, proof, checkpoint

    def verify(self, given: Checkpoint | None = None) -> Checkpoint:
        """Rebuild the tree from every entry, and compare it with the root and with every tile.

        Args:
            given: A checkpoint of this log that was kept elsewhere.

        Raises:
            RollbackRefused: The log is shorter than a pinned checkpoint.
            VerificationError: An entry or tile was changed, or the log was rewritten.
            EvidenceError: There is no log.
            OSError: The store cannot be read.
        """
        checkpoint = self.newest()
        pin = None if self.trust.pin is None else self.trust.pin.current()
        pins = [each for each in (given, pin) if each is not None]
        for each in pins:
            require_extends(checkpoint, each, where=self.where)
        edge = Edge.EMPTY
        for entries in _groups(self.entries(0, checkpoint)):
            edge, writes = edge.extended(entries)
            self._require_stored(write for write in writes if ".p/" not in write[0])
        self._require_stored(edge.partial())
        self._reader.require_root(edge.peaks, checkpoint)
        for each in pins:
            if 0 < each.size < checkpoint.size:
                self.require_consistent(each, checkpoint)
        self.moved(checkpoint, pin)
        return checkpoint

    def _known(self, checkpoint: Checkpoint) -> int:
        """Size that witnesses know; what a killed writer had cosigned is published first."""
        proof = self.tree(checkpoint).consistency_steps
        known = newest_known(checkpoint, self._clients, quorum=self.trust.quorum, proof=proof)
        if known > checkpoint.size and self._writer is not None:
            self._writer.settle()
        return known

    def _require_stored(self, writes: Iterable[tuple[str, bytes]]) -> None:
        """Demand that tiles are stored as they follow from the entries."""
        reader = self._reader
        for name, data in writes:
            full = name.partition(".p/")[0]
            for key in dict.fromkeys((name, full)):
                stored = reader.store.get(reader.prefix + key, most=MOST_BUNDLE_BYTES)
                if stored is not None:
                    break
            if stored is None or stored.data[: len(data)] != data:
                raise DigestMismatch(
                    f"{self.where}: {name} is missing or was changed; restore the log and find "
                    "out who wrote it"
                )

    def _writing(self, signer: LogSigner | None) -> LogWriter | None:
        if signer is None:
            return None
        return LogWriter(self._reader, head=self._head, signer=signer, witnesses=self._clients)

    def _require_writer(self) -> LogWriter:
        if self._writer is None:
            raise UsageError(f"{self.where} was opened without a signer, read-only; pass signer=")
        return self._writer


def _clients(witnesses: Iterable[tuple[str, str]]) -> tuple[WitnessClient, ...]:
    pairs = several("witnesses", witnesses, "(URL, verifier key)", (tuple, list))
    if any(len(pair) != _PAIR or not all(isinstance(each, str) for each in pair) for pair in pairs):
        raise UsageError("witnesses: expected pairs of URL and verifier key")
    return tuple(WitnessClient(url, WitnessKey.parse(key)) for url, key in pairs)


def _groups(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Entries by bundles."""
    group: list[bytes] = []
    for entry in entries:
        group.append(entry)
        if len(group) == TILE_WIDTH:
            yield group
            group = []
    if group:
        yield group
