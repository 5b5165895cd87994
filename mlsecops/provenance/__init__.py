"""Digests, manifests and lineage of artifacts.

    path → `files` → `digest`: Digest → `manifest`: Manifest of `entry` values
    data set → `dataset` → `content` → Manifest
    Manifest → `exports` (sha256sums, Croissant)
    training run → `lineage` (`environment`) → `statement`: Statement → signing
    Statements → `graph`: Lineage, `openlineage`: events

`merkle` has the tree arithmetic of append-only logs.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.provenance.dataset import hash_dataset as hash_dataset
    from mlsecops.provenance.digest import Digest as Digest
    from mlsecops.provenance.digest import Isolation as Isolation
    from mlsecops.provenance.entry import Diff as Diff
    from mlsecops.provenance.entry import Entry as Entry
    from mlsecops.provenance.files.stat_cache import StatCache as StatCache
    from mlsecops.provenance.files.tree import DEFAULT_IGNORE as DEFAULT_IGNORE
    from mlsecops.provenance.files.tree import SIGNATURE_NAME as SIGNATURE_NAME
    from mlsecops.provenance.graph import Lineage as Lineage
    from mlsecops.provenance.lineage import TrainingRun as TrainingRun
    from mlsecops.provenance.lineage import current_run as current_run
    from mlsecops.provenance.lineage import tracked as tracked
    from mlsecops.provenance.lineage import training_run as training_run
    from mlsecops.provenance.manifest import Manifest as Manifest
    from mlsecops.provenance.manifest import hash_path as hash_path
    from mlsecops.provenance.statement import Statement as Statement
else:
    __all__, __getattr__, __dir__ = lazy_face()
