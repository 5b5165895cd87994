"""Migration of a registry's log from SQLite, once.

log.sqlite, verified → the same entries in tiles, under the same name → the same root
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mlsecops._choices import path_of
from mlsecops.audit import AuditLog, Checkpoint, LogKey
from mlsecops.audit.database import reading
from mlsecops.audit.objects import FolderStore
from mlsecops.audit.tlog import TileLog
from mlsecops.errors import RegistryError
from mlsecops.registry.event_log import HEAD, OLD_LOG, PREFIX
from mlsecops.registry.log_access import operators
from mlsecops.registry.storage_errors import storage_errors
from mlsecops.signing import Signer, TrustPolicy

__all__ = ["migrate_log"]

_KEPT: Final = f"{OLD_LOG}.migrated"


def migrate_log(
    location: str | os.PathLike[str],
    *,
    signer: Signer,
    policy: TrustPolicy,
    log_keys: Iterable[LogKey] | None = None,
    pinned: Checkpoint | str | os.PathLike[str] | None = None,
) -> Checkpoint:
    """Write the log of an earlier release as tiles; the old file is kept under another name.

    The entries, and so the root, stay the same: a checkpoint that was pinned holds. Nothing is
    visible before everything is written; a call that was killed can be repeated.

    Args:
        location: The registry's folder; no other process writes it meanwhile.
        signer: The log's key.
        policy: Trust policy for models, whose keys the old log may be signed by.
        log_keys: Public keys of the log's operators, as for `Registry`.
        pinned: A checkpoint that the old log must extend.

    Returns:
        The checkpoint of the new log.

    Raises:
        RegistryError: There is no old log, or it cannot be read or written.
        VerificationError: The old log was changed, or is not the pinned one.
        UsageError: An entry is longer than 65,535 bytes.
    """
    folder = path_of("location", location)
    keys = operators(policy) if log_keys is None else tuple(log_keys)
    source = folder / OLD_LOG
    with storage_errors(str(folder)):
        if not source.exists():
            raise RegistryError(
                f"{folder}: expected {OLD_LOG} of an earlier release, found none; there is nothing "
                "to migrate"
            )
        old = AuditLog(source, signer=signer, keys=keys, pinned=pinned)
        checkpoint = old.verify()
        log = TileLog(
            FolderStore(folder),
            prefix=PREFIX,
            head=HEAD,
            signer=signer,
            keys=keys,
            origin=checkpoint.origin,
        )
        if not log.exists():
            with reading(source) as file:
                log.begin_with(file.bodies(0, checkpoint.size))
        new = log.verify(checkpoint)  # it has the old entries, under the old root
        source.rename(Path(folder, _KEPT))
    return new
