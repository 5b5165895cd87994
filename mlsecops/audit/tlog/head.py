"""Head of a log: the newest checkpoint that a writer committed, with its entries.

checkpoint and entries ↔ bytes

One conditional put of the head decides which writer comes next. Tiles, cosignatures and the
checkpoint follow from it; whoever finds them missing writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mlsecops.audit.checkpoint import Checkpoint
from mlsecops.audit.tlog.tiles import decode_bundle, encode_bundle
from mlsecops.errors import MalformedBundle

__all__ = ["MOST_HEAD_BYTES", "Head"]

MOST_HEAD_BYTES: Final = 8 << 20  # bytes; chosen: one request, 128 entries of the longest kind
_END: Final = b"\n\x00"


@dataclass(frozen=True, slots=True)
class Head:
    """A committed checkpoint and the entries that it added.

    Attributes:
        checkpoint: Signed by the operator, without cosignatures.
        entries: The last entries of its log, which were new.
    """

    checkpoint: Checkpoint
    entries: tuple[bytes, ...]

    @property
    def start(self) -> int:
        """Size of the log before the entries."""
        return self.checkpoint.size - len(self.entries)

    def to_bytes(self) -> bytes:
        """Stored form: the note, a zero byte, an entry bundle."""
        return self.checkpoint.note.encode() + _END[1:] + encode_bundle(self.entries)

    @classmethod
    def parse(cls, data: bytes, *, where: str) -> Head:
        """Read the stored form; its signature is not checked.

        Raises:
            MalformedBundle: It is no head.
            DigestMismatch: Its entries are cut off.
        """
        note, found, rest = data.partition(_END)
        try:
            text = note.decode() + "\n"
        except UnicodeDecodeError as error:
            raise MalformedBundle(f"{where}: it is no text") from error
        if not found:
            raise MalformedBundle(f"{where}: expected a checkpoint and entries")
        head = cls(Checkpoint.parse(text), tuple(decode_bundle(rest, where=where)))
        if head.start < 0:
            raise MalformedBundle(f"{where}: it has more entries than the log")
        return head
