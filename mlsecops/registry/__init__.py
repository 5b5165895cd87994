"""Which versions of a model exist, which one serves, and which must not be used.

A signed folder is copied into write-once content-addressed blobs (`blobs`, `listing`), verified as
copied, and recorded as an event of a signed log (`registry`). The log alone says what is published,
approved, serving or quarantined (`state`): a verified log is the registry's truth. Folders that
`Registry.resolve` gives are rebuilt from the blobs under `cache/` and verified each time.
"""

from mlsecops.registry.registry import Registry
from mlsecops.registry.state import Event, Version

__all__ = ["Event", "Registry", "Version"]
