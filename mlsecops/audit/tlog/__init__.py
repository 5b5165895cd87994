"""Transparency log in an object store, in the format of C2SP tlog-tiles.

entry → `edge` → entry bundles and tiles → `writer` → signed, witnessed checkpoint
checkpoint → `reader` (keys, pin, quorum) → new entries → compact range → the signed root
tiles → `tree` → proofs; checkpoint and proof → `witness` → cosignature

Source: c2sp.org: tlog-tiles, tlog-checkpoint, tlog-cosignature and tlog-witness.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.audit.tlog.log import TileLog as TileLog
    from mlsecops.audit.tlog.tree import TileTree as TileTree
    from mlsecops.audit.tlog.witness import Witness as Witness
else:
    __all__, __getattr__, __dir__ = lazy_face()
