"""From bytes that nobody vouches for yet to a model in memory.

A path becomes a Snapshot that cannot change (`snapshot` over `tiers`); its digest is held
against a signed Manifest (`mlsecops.signing`); `layout` says which files are the model,
`formats` what each is by content; that format's scanner (one `…_file` each, `pickles`,
`hdf5` and `wire` below them, `companions` for what lies beside) gives findings within
`limits`, HDF5's in a process that may die (`apart`); and `decode` lets the framework read the
very same bytes (`loader`), to which `SecureLoader.hold` leads other readers. `scan` stops at
the Verdict. `watch` asks again for as long as the model is used, and `telemetry` tells of all
of it. `quarantine` gets tensors out of a pickle that is refused.
"""

from mlsecops.loading.limits import Limits
from mlsecops.loading.loaded import HeldModel, LoadedModel
from mlsecops.loading.loader import SecureLoader
from mlsecops.loading.recheck import Watch
from mlsecops.loading.scanner import scan, scan_each
from mlsecops.loading.verdict import Unchecked, Verdict

__all__ = [
    "HeldModel",
    "Limits",
    "LoadedModel",
    "SecureLoader",
    "Unchecked",
    "Verdict",
    "Watch",
    "scan",
    "scan_each",
]
