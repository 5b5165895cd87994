"""What happened, in an order that cannot be rewritten unseen.

An event (a dict) becomes canonical JSON bytes, the bytes become a leaf of an RFC 6962 Merkle tree
and a row of an append-only SQLite table, and the new root is signed as a `Checkpoint` in the same
transaction. `AuditLog.verify` rebuilds the tree from the rows, compares it with the signed
checkpoint and with a pinned older one, and gives back the checkpoint to pin next.
"""

from mlsecops.audit.checkpoint import Checkpoint, LogKey, LogSigner
from mlsecops.audit.log import AuditLog, Tail

__all__ = ["AuditLog", "Checkpoint", "LogKey", "LogSigner", "Tail"]
