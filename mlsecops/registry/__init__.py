"""Model registry over a signed event log.

    signed folder → `store` → `listing` → `blobs` (write-once, by digest)
    publish, promote, quarantine, rollback → `registry` → `event_log` → transparency log
    verified log → `state`: versions, serving version, quarantined digests
    resolve → folder rebuilt from blobs in the reader's cache, verified each time

The verified log (`mlsecops.audit.tlog`) alone decides what is published, approved, serving or
quarantined.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.registry.cache import prune_cache as prune_cache
    from mlsecops.registry.events import Event as Event
    from mlsecops.registry.events import Version as Version
    from mlsecops.registry.registry import Registry as Registry
else:
    __all__, __getattr__, __dir__ = lazy_face()
