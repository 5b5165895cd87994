"""Append-only signed event log.

event (dict) → canonical JSON → leaf of an RFC 6962 Merkle tree + row in SQLite (`log`)
(`database`, confined: whoever can write the file is not trusted)
root → signed Checkpoint (`checkpoint`), in the same transaction
`AuditLog.verify`: rows → rebuilt tree → signed and pinned checkpoints (`pin`) → checkpoint to pin
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.audit.access_control import AccessControl as AccessControl
    from mlsecops.audit.checkpoint import Checkpoint as Checkpoint
    from mlsecops.audit.checkpoint import LogKey as LogKey
    from mlsecops.audit.checkpoint import LogSigner as LogSigner
    from mlsecops.audit.log import AuditLog as AuditLog
    from mlsecops.audit.log import Tail as Tail
else:
    __all__, __getattr__, __dir__ = lazy_face()
