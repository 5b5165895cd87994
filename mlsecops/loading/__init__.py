"""From bytes that nobody vouches for yet to a model in memory.

A path becomes a Snapshot that cannot change (``snapshot``); its digest is held against a signed
Manifest (:mod:`mlsecops.signing`); ``formats`` tells what it is by content; that format's scanner
(``pickle_file`` over ``pickles``, ``keras_file`` over ``hdf5``, ``safetensors_file``,
``numpy_file``, ``companions``) gives findings within ``limits``; and ``decode`` lets the framework
read the very same bytes (``loader``). ``scan`` stops at the Verdict. ``watch`` asks again for as
long as the model is used, and ``telemetry`` tells of all of it.
"""

from mlsecops.loading.limits import Limits
from mlsecops.loading.loader import LoadedModel, SecureLoader
from mlsecops.loading.scanner import scan, scan_each
from mlsecops.loading.verdict import Unchecked, Verdict
from mlsecops.loading.watch import Watch

__all__ = [
    "Limits",
    "LoadedModel",
    "SecureLoader",
    "Unchecked",
    "Verdict",
    "Watch",
    "scan",
    "scan_each",
]
