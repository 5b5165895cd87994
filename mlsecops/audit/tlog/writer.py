"""Writer of a log: one conditional put commits, what follows can be repeated.

entries → head, put if unchanged (the commit) → bundles and tiles → cosignatures → checkpoint

Only one writer wins a size, before any tile of that size is written: so tiles need no lock, no
witness sees a tree that is not the log's, and the checkpoint never names a tile that is absent. A
writer that is killed leaves a head without its checkpoint; the next one publishes it.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from mlsecops._repr import concise_repr
from mlsecops.audit.checkpoint import Checkpoint, LogSigner, seal
from mlsecops.audit.pin import require_extends
from mlsecops.audit.tlog.edge import Edge, Write
from mlsecops.audit.tlog.head import MOST_HEAD_BYTES, Head
from mlsecops.audit.tlog.operator_keys import log_signers
from mlsecops.audit.tlog.reader import CHECKPOINT, LogReader
from mlsecops.audit.tlog.tiles import (
    HASH_BYTES,
    MOST_BUNDLE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
)
from mlsecops.audit.tlog.tree import TileTree, split
from mlsecops.audit.tlog.witness_client import WitnessClient, gathered
from mlsecops.errors import DigestMismatch, EvidenceError, RollbackRefused, UsageError

__all__ = ["LogWriter"]

_TRIES: Final = 15  # readings of head and checkpoint; chosen: about a second, a slow publication
_PAUSE: Final = 0.01  # seconds before the second reading; chosen: an append to a folder


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the next entries go: the edge, and the tags of head and checkpoint."""

    edge: Edge
    origin: str
    head: str | None
    checkpoint: str | None


@concise_repr("_reader")
class LogWriter:
    """Appends to a log.

    Args:
        reader: Reader of the same log.
        head: Key of its head.
        signer: The operator's key.
        witnesses: Witnesses that are asked for cosignatures.
    """

    def __init__(
        self, reader: LogReader, *, head: str, signer: LogSigner, witnesses: Sequence[WitnessClient]
    ) -> None:
        self._reader = reader
        self._store = reader.store
        self._head = head
        self.signer = signer
        self._witnesses = tuple(witnesses)
        self._place: _Place | None = None

    @property
    def size(self) -> int | None:
        """Size of the log after the writer's last append, as long as nobody else appended."""
        return None if self._place is None else self._place.edge.size

    def append(
        self, entries: Sequence[bytes], *, size: int, more: Sequence[LogSigner] = ()
    ) -> Checkpoint | None:
        """Add entries in one checkpoint, if the log still has a size.

        Args:
            entries: The entries, at least one.
            size: Number of entries that the caller has seen.
            more: Further keys that sign the checkpoint.

        Returns:
            The published checkpoint, or None where the log has grown.

        Raises:
            UsageError: An entry or the batch is too long.
            VerificationError: The log's end was tampered with.
            ThresholdNotMet: The entries are committed, but too few witnesses answered.
            OSError: The store cannot be written.
        """
        place = self._place
        if place is None or place.edge.size != size:
            place = self._settled()
        if place.edge.size != size:
            self._place = None
            return None
        edge, writes = place.edge.extended(entries)
        checkpoint = self._sealed(edge, place.origin, more)
        committed = self._commit(Head(checkpoint, tuple(entries)), place.head)
        self._place = None
        if committed is None:
            return None
        return self._publish(
            _Place(edge, place.origin, committed, place.checkpoint), checkpoint, writes
        )

    def settle(self) -> str:
        """Publish what a killed writer committed, and return the log's origin.

        Raises:
            VerificationError: Head or checkpoint was tampered with.
            RollbackRefused: The checkpoint is older than the head knows, or the head is.
            OSError: The store cannot be read or written.
        """
        self._place = self._settled()
        return self._place.origin

    def _settled(self) -> _Place:
        """The place of the next entries, after what a killed writer left is published."""
        for attempt in range(_TRIES):
            published = self._published()
            found = self._read_head()
            if found is None:
                return self._begin(published)
            head, tag = found
            size = 0 if published is None else published[0].size
            if head.start <= size <= head.checkpoint.size:
                return self._resume(head, tag, published)
            time.sleep(random.uniform(0, _PAUSE * 2 ** min(attempt, 4)))  # noqa: S311 - no secret
        raise RollbackRefused(
            f"{self._reader.where}: expected a checkpoint of {head.start} to "
            f"{head.checkpoint.size} entries, as {self._head} says, got {size}; an older copy was "
            "restored: restore both from one copy"
        )

    def begin_with(self, groups: Iterable[Sequence[bytes]]) -> Checkpoint:
        """Write a whole log, which appears with its checkpoint; it can be repeated after a crash.

        Args:
            groups: The entries, by full bundles.

        Raises:
            UsageError: An entry is too long.
            RollbackRefused: There is a log.
            OSError: The store cannot be written.
        """
        place = self._settled()
        if place.edge.size:
            raise RollbackRefused(f"{self._reader.where}: expected none, found one")
        edge = place.edge
        for entries in groups:
            edge, writes = edge.extended(entries)
            self._write([write for write in writes if ".p/" not in write[0]])
        checkpoint = self._sealed(edge, place.origin, ())
        published = self._publish(place, checkpoint, list(edge.partial()))
        self._place = None  # the next append makes the head
        return published

    def cosign(self) -> Checkpoint:
        """Publish the newest checkpoint again with the cosignatures that it lacks.

        Raises:
            ThresholdNotMet: Too few witnesses answered.
            OSError: The store cannot be read or written.
        """
        place = self._settled()
        published = self._published()
        if published is None:
            raise EvidenceError(f"{self._reader.where}: it has no checkpoint")
        return self._publish(place, published[0], [])

    def _sealed(self, edge: Edge, origin: str, more: Sequence[LogSigner]) -> Checkpoint:
        first, *rest = log_signers(self.signer, origin)
        others = [each for signer in more for each in log_signers(signer, origin)]
        return seal(
            origin=origin,
            size=edge.size,
            root=edge.peaks.root,
            signer=first,
            more=(*rest, *others),
        )

    def _commit(self, head: Head, tag: str | None) -> str | None:
        """Put the head; an answer that was lost on the way is found out by reading."""
        data = head.to_bytes()
        if len(data) > MOST_HEAD_BYTES:
            raise UsageError(
                f"log entries: expected at most {MOST_HEAD_BYTES} bytes at once, got {len(data)}; "
                "append them in several calls"
            )
        if tag is None:
            done = self._store.put_if_absent(self._head, data, lasting=False)
        else:
            done = self._store.put_if_unchanged(self._head, data, tag, lasting=False)
        if done is None:
            stored = self._store.get(self._head, most=MOST_HEAD_BYTES)
            done = stored.tag if stored is not None and stored.data == data else None
        return done

    def _publish(
        self, place: _Place, checkpoint: Checkpoint, writes: Sequence[Write]
    ) -> Checkpoint:
        reader = self._reader
        self._write(writes)
        cosigned = gathered(
            checkpoint,
            self._witnesses,
            trust=reader.trust,
            proof=TileTree(self._store, reader.prefix, checkpoint.size).consistency_steps,
        )
        key, note = reader.prefix + CHECKPOINT, cosigned.note.encode()
        tag = place.checkpoint
        while True:
            if tag is None:
                done = self._store.put_if_absent(key, note)
            else:
                done = self._store.put_if_unchanged(key, note, tag)
            if done is not None:
                self._place = _Place(place.edge, place.origin, place.head, done)
                reader.published(done, cosigned)
                return cosigned
            stored = self._published()
            if stored is not None and stored[0].size >= checkpoint.size:
                return cosigned if stored[0].size > checkpoint.size else stored[0]
            tag = None if stored is None else stored[1]

    def _write(self, writes: Sequence[Write]) -> None:
        """Store bundles and tiles; several at once, since each waits for the disk or network."""
        if writes:
            with ThreadPoolExecutor(min(max(self._store.streams, 2), len(writes))) as pool:
                list(pool.map(self._write_once, writes))

    def _write_once(self, write: Write) -> None:
        """Store a bundle or tile; it may be there already, with these bytes."""
        key, data = self._reader.prefix + write[0], write[1]
        if self._store.put_if_absent(key, data, lasting=False) is not None:
            return
        stored = self._store.get(key, most=MOST_BUNDLE_BYTES)
        if stored is None or stored.data != data:
            raise DigestMismatch(
                f"{self._store.where}/{key}: other entries were logged here before; an older copy "
                "of the log was restored, or somebody else writes it: restore it and find out who"
            )

    def _begin(self, published: tuple[Checkpoint, str] | None) -> _Place:
        """Place of a log without a head: a new one, or a copy of the published part."""
        trust = self._reader.trust
        pin = None if trust.pin is None else trust.pin.current()
        if published is None:
            if pin is not None and pin.size:
                raise RollbackRefused(
                    f"{self._reader.where}: expected at least {pin.size} entries, got a new log; "
                    "the log was removed: restore it"
                )
            origin = trust.origin or f"mlsecops-log/{secrets.token_hex(8)}"
            return _Place(Edge.EMPTY, origin, None, None)
        checkpoint, tag = published
        edge = self._edge(checkpoint)
        head = self._commit(Head(checkpoint, ()), None)
        return self._settled() if head is None else _Place(edge, checkpoint.origin, head, tag)

    def _resume(self, head: Head, tag: str, published: tuple[Checkpoint, str] | None) -> _Place:
        """Place after a head, whose tiles and checkpoint are written if they are missing."""
        size = 0 if published is None else published[0].size
        edge = Edge.EMPTY if published is None else self._edge(published[0])
        missing = head.entries[len(head.entries) - (head.checkpoint.size - size) :]
        grown, writes = edge.extended(missing)
        if grown.peaks.root != head.checkpoint.root:
            raise DigestMismatch(
                f"{self._store.where}/{self._head}: it does not extend the published checkpoint; "
                "one of them was replaced: restore both from one copy"
            )
        place = _Place(
            grown, head.checkpoint.origin, tag, None if published is None else published[1]
        )
        if not missing and published is not None:
            return place
        self._publish(place, head.checkpoint, writes)
        return self._place or self._settled()

    def _published(self) -> tuple[Checkpoint, str] | None:
        """The accepted checkpoint and its tag; cosignatures are not demanded."""
        reader = self._reader
        stored = reader.stored()
        if stored is None:
            return None
        checkpoint = reader.trust.accept(stored[0], where=reader.where, cosigned=False)
        pin = None if reader.trust.pin is None else reader.trust.pin.current()
        if pin is not None:
            require_extends(checkpoint, pin, where=reader.where)
        return checkpoint, stored[1]

    def _read_head(self) -> tuple[Head, str] | None:
        stored = self._store.get(self._head, most=MOST_HEAD_BYTES)
        if stored is None:
            return None
        where = f"{self._store.where}/{self._head}"
        head = Head.parse(stored.data, where=where)
        self._reader.trust.accept(head.checkpoint.note, where=where, cosigned=False)
        return head, stored.tag

    def _edge(self, checkpoint: Checkpoint) -> Edge:
        """The edge of the published log, read from the store and checked against its root."""
        known = self._place
        if known is not None and known.edge.peaks.root == checkpoint.root:
            return known.edge
        size = checkpoint.size
        tree = TileTree(self._store, self._reader.prefix, size)
        partial = size % TILE_WIDTH
        entries = self._reader.bundle(size // TILE_WIDTH, size) if partial else []
        levels = []
        for level in range(-(-size.bit_length() // TILE_HEIGHT)):
            width = (size >> TILE_HEIGHT * level) % TILE_WIDTH
            tile = tree.tile(level, size >> TILE_HEIGHT * (level + 1)) if width else b""
            levels.append(tuple(split(tile[: width * HASH_BYTES])))
        edge = Edge(size, tuple(entries), tuple(levels))
        self._reader.require_root(edge.peaks, checkpoint)
        if Edge(0, (), ()).extended(entries)[0].levels[:1] != edge.levels[:1] and partial:
            raise DigestMismatch(
                f"{self._reader.where}: its last entries are not those of its last tile; restore "
                "the log from a copy"
            )
        return edge
