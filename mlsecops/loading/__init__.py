"""Verified loading and scanning of model files.

    path → `snapshot` (`snapshot_tiers`): bytes that cannot change
         → `mlsecops.signing`: verified against the signed Manifest
         → `artifact` (files of the model) → `detection` (format of each)
         → `scanner` → `formats` (`containers`, `pickle_vm`, `sandbox`) → Findings → `verdict`
         → `readers` or `holding` → `loaded`: LoadedModel or HeldModel

`scan` stops at the Verdict; `SecureLoader` (`loader`) goes to the end, on the same bytes. `limits`
bound every parser, `recheck` repeats the checks while a model is in use, `telemetry` reports them.
`convert` gets tensors out of a refused pickle.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.loading.limits import Limits as Limits
    from mlsecops.loading.loaded import HeldModel as HeldModel
    from mlsecops.loading.loaded import LoadedModel as LoadedModel
    from mlsecops.loading.loader import SecureLoader as SecureLoader
    from mlsecops.loading.recheck import Watch as Watch
    from mlsecops.loading.scanner import scan as scan
    from mlsecops.loading.scanner import scan_each as scan_each
    from mlsecops.loading.scanner import scan_stream as scan_stream
    from mlsecops.loading.verdict import Unchecked as Unchecked
    from mlsecops.loading.verdict import Verdict as Verdict
else:
    __all__, __getattr__, __dir__ = lazy_face()
